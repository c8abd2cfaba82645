"""The proof in a child: the same figures, and an end that is told for every way to fail."""

import json
import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.figures import GateFigure, Proof
from exporters.masked import mask
from exporters.proof import prove
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.solution import Solution
from graph_analysis.solving import solve
from graph_analysis.testing import HARD_CASES, GraphBuilder
from service import proving
from service.proof_child import short
from service.proving import prove_apart
from service.sandbox import Outcome, SandboxLimits, SandboxResult

LIMITS = SandboxLimits(wall_seconds=60, cpu_seconds=60, memory_bytes=8 << 30)


class Case:
    """A model, cut."""

    def __init__(self, name: str = "residual_add") -> None:
        self.analysis: Analysis = analyze(load_model(HARD_CASES[name]().SerializeToString()))
        self.solution: Solution = solve(self.analysis, target_ratio=0.5)
        self.masked = mask(self.analysis, self.solution)
        self.cut = shrink(self.analysis, self.solution)
        self.settings = {
            "original": self.analysis.loaded.model,
            "samples": [{"x": np.ones((2, 3, 16, 16), np.float32)}],
            "seed": 3,
            "shapes": self.analysis.effects(Solution.of(self.analysis.space, {})).shapes,
            "keep": self.analysis.effects(self.solution).keep,
        }


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def spoiled(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto.FromString(model.SerializeToString())
    tensor = next(one for one in result.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(tensor)[::-1]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return result


def test_the_child_finds_what_this_process_finds(case: Case) -> None:
    apart = prove_apart(case.masked, case.cut, **case.settings)
    here = prove(case.masked, case.cut, **case.settings)
    assert apart == here
    assert apart.inner_tensors > 3
    assert apart.real_samples == 2


def test_a_failure_comes_back_with_its_figures(case: Case) -> None:
    with pytest.raises(ProofFailedError, match="failed at G3: 'gemm_12' differs") as caught:
        prove_apart(case.masked, spoiled(case.cut), **case.settings)
    with pytest.raises(ProofFailedError) as expected:
        prove(case.masked, spoiled(case.cut), **case.settings)
    assert str(caught.value) == str(expected.value)
    assert caught.value.proof == expected.value.proof
    assert caught.value.param == expected.value.param
    assert caught.value.proof.mismatch is not None


def endless() -> onnx.ModelProto:
    """A loop over more rounds than anybody waits for."""
    graph = GraphBuilder("endless")
    x = graph.input(("N", 4))
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["c"], ["c_out"]),
         onnx.helper.make_node("Sin", ["v"], ["v_out"])],
        "body",
        [onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
         onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
         onnx.helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, None)],
        [onnx.helper.make_tensor_value_info("c_out", onnx.TensorProto.BOOL, []),
         onnx.helper.make_tensor_value_info("v_out", onnx.TensorProto.FLOAT, None)],
    )  # fmt: skip
    rounds = graph.constant(np.int64(1 << 40))
    graph.output(graph.node("Loop", rounds, "", x, body=body), ("N", 4))
    return graph.build()


def greedy() -> onnx.ModelProto:
    """Spreads its input over 64 GiB."""
    graph = GraphBuilder("greedy")
    x = graph.input(("N", 4))
    wide = graph.node("Expand", graph.reshape(x, [-1, 4, 1]), graph.constant([1, 1, 1 << 32]))
    graph.output(graph.node("ReduceMax", wide, axes=[2], keepdims=0), ("N", 4))
    return graph.build()


@pytest.mark.parametrize(
    "build, seconds, told",
    [(endless, 5, "longer than the 5 s"), (greedy, 60, r"does not run|more than the 4\.0 GiB")],
)
def test_what_takes_too_much_fails_the_proof(
    build: Callable[[], onnx.ModelProto], seconds: int, told: str
) -> None:
    limits = SandboxLimits(wall_seconds=seconds, cpu_seconds=seconds, memory_bytes=4 << 30)
    model = build()
    began = time.monotonic()
    with pytest.raises(ProofFailedError, match=told) as caught:
        prove_apart(model, model, original=model, limits=limits)
    assert time.monotonic() - began < seconds + 20
    assert caught.value.exit_code == 4
    assert not caught.value.proof.passed


@pytest.mark.parametrize(
    "outcome, told",
    [
        (Outcome.CRASHED, "ONNX Runtime crashed"),
        (Outcome.TIMED_OUT, "longer than the 60 s"),
        (Outcome.OUT_OF_MEMORY, r"more than the 8\.0 GiB"),
        (Outcome.ANSWERED, "ONNX Runtime crashed"),
    ],
)
def test_a_child_without_an_answer_fails_the_proof(
    case: Case, outcome: Outcome, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SandboxResult(outcome=outcome, answer={}, stderr="")
    monkeypatch.setattr(proving, "run_task", lambda *_, **__: ended)
    with pytest.raises(ProofFailedError, match=told):
        prove_apart(case.masked, case.cut, original=case.masked, limits=LIMITS)


def test_a_child_that_cannot_start_is_our_fault(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> SandboxResult:
        raise OSError(12, "no memory")

    monkeypatch.setattr(proving, "run_task", refuse)
    with pytest.raises(OSError, match="no memory"):
        prove_apart(case.masked, case.cut, original=case.masked)


def test_the_caller_gives_signs_of_life(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_BEAT_SECONDS", 0.01)
    beats: list[float] = []
    prove_apart(case.masked, case.cut, alive=lambda: beats.append(1), **case.settings)
    assert len(beats) > 5


def test_very_many_figures_are_shortened_to_the_worst_and_the_last() -> None:
    figures = [
        GateFigure(gate="G3", level="off", batch=1, source="random", output=f"output {number}",
                   max_difference=number * 1e-6, scale=1.0, limit=1.0, passed=True)
        for number in range(999)
    ]  # fmt: skip
    proof = Proof(passed=False, figures=(*figures[::-1], figures[0]))
    data = short(proof)
    assert len(json.dumps(data)) < 48 * 1024
    again = Proof.from_dict(data)
    assert again.max_difference == proof.max_difference
    assert again.figures[-1] == figures[0]
    assert "figures of 959 further comparisons are left out" in again.notes
    assert Proof.from_dict(short(Proof(passed=True))) == Proof(passed=True)


def test_long_notes_are_shortened_where_there_are_no_figures() -> None:
    data = short(Proof(passed=False, notes=["long " * 1000] * 100))
    assert data["figures"] == []
    assert len(json.dumps(data)) < 48 * 1024
