"""Reports to draw: of a real model with names of one's own, and of any size."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.figures import GateFigure, Proof
from exporters.measure import Latency
from exporters.report import ModelFigures, Surroundings, build_report
from exporters.reporting.segments import describe
from graph_analysis import Analysis, Solution, analyze, load_model
from graph_analysis.svg import outcome_picture
from tests.unit.graph_analysis.placements import column

VOID = {"meta", "br"}


def residual(name: Callable[[str], str]) -> onnx.ModelProto:
    """A stem, a branch that can be erased, a head; every name goes through ``name``."""
    rng = np.random.default_rng(0)
    shapes = {"stem": (8, 16), "up": (16, 24), "down": (24, 16), "head": (16, 4)}
    nodes = [
        helper.make_node("MatMul", [name("x"), name("stem")], [name("h")], name=name("n0")),
        helper.make_node("MatMul", [name("h"), name("up")], [name("a")], name=name("n1")),
        helper.make_node("Relu", [name("a")], [name("b")], name=name("n2")),
        helper.make_node("MatMul", [name("b"), name("down")], [name("c")], name=name("n3")),
        helper.make_node("Add", [name("h"), name("c")], [name("s")], name=name("n4")),
        helper.make_node("MatMul", [name("s"), name("head")], [name("y")], name=name("n5")),
    ]
    graph = helper.make_graph(
        nodes,
        name("graph"),
        [helper.make_tensor_value_info(name("x"), TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info(name("y"), TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name(key))
            for key, shape in shapes.items()
        ],
        doc_string=name("doc"),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.producer_name = name("producer")
    return model


def figures(scale: int, **more: Any) -> ModelFigures:
    latency = tuple(
        Latency(
            p50_ms=scale * batch / t, p95_ms=2.0 * scale * batch, runs=9, batch=batch, threads=t
        )
        for batch in (1, 32)
        for t in (1, 4)
    )
    settings = {"parameters": 100 * scale, "macs": 1000 * scale, "bytes": 400 * scale}
    settings |= {"sha256": f"{scale:x}" * 64, "accuracy": 0.9 + scale / 100, "measure": "accuracy"}
    settings |= {"value": settings["accuracy"], "latency": latency, "peak_memory": scale << 20}
    return ModelFigures(**{**settings, **more})


def history(steps: int = 6) -> list[dict[str, Any]]:
    phases = ["search", "search", "hybrid", *["converged"] * steps]
    return [
        {
            "step": 10 * (number + 1),
            "phase": phases[number],
            "loss": 1 / (number + 1),
            "accuracy": 0.5 + number / 20,
            "measure": "accuracy",
            "value": 0.5 + number / 20,
            "remaining": 0.4,
            "macs": 0.45,
            "lr": 0.01,
        }
        for number in range(steps)
    ]


def summary() -> dict[str, Any]:
    used = {"loss": None, "comparison": "loss", "lr": 0.05}
    return {"steps": 60, "best_step": 50, "original_accuracy": 0.91, "device": "cpu", "used": used}


def proof(name: Callable[[str], str] = str, **more: Any) -> Proof:
    figure = GateFigure(
        gate="G3", level="off", batch=2, source="real", output=name("y"),
        max_difference=1e-7, scale=1.0, limit=1e-5, passed=True,
    )  # fmt: skip
    settings: dict[str, Any] = {"passed": True, "figures": (figure,), "samples": 8}
    return Proof(**settings | {"real_samples": 2, "notes": (name("note"),)} | more)


def erased(analysis: Analysis) -> Solution:
    removed = {group.id: [0] for group in analysis.space.groups if group.kind.value == "operator"}
    trunk = next(g for g in analysis.space.groups if g.kind.value == "channel" and not g.parent)
    return Solution.of(analysis.space, {**removed, trunk.id: range(8)})


def make(name: Callable[[str], str] = str, **more: Any) -> tuple[dict[str, Any], str]:
    """A report of the residual model, and its picture."""
    model = residual(name)
    analysis = analyze(load_model(model.SerializeToString()))
    solution = erased(analysis)
    ends = [{"name": name("x"), "shape": [None, 8]}]
    around = Surroundings(
        about={"graph": name("graph"), "producer": name("producer"), "opset": 18,
               "inputs": ends, "outputs": ends},
        segments=describe(analysis, solution),
        saliency={
            group.id: {"lowest": 0.1, "median": 0.5, "highest": 1.0, "highest_removed": None}
            for group in analysis.space.groups
        },
        hashes={"original model": "a" * 64},
        command=f"secateur compress --protect {name('x')}",
        machine={"processor": name("cpu"), "cores": 4, "load": 1.0},
    )  # fmt: skip
    settings: dict[str, Any] = {
        "space": analysis.space,
        "solution": solution,
        "before": figures(4),
        "after": figures(1),
        "proof": proof(name),
        "configuration": {"target_macs": 0.4, "protect": [name("x")]},
        "seed": 3,
        "history": history(),
        "training": summary(),
        "evaluated_on": "test",
        "surroundings": around,
    }
    report = build_report(**settings | more)
    return report, outcome_picture(analysis, solution, column, title=name("graph"))


class Page(HTMLParser):
    """What is in a page: its tags in order, their attributes, its text, what is linked."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "every tag is closed"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)
