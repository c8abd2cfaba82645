"""The same models through our importer and through onnx2torch, side by side.

    python -m benchmarks.import --corpus ../shared/corpus
    python -m benchmarks.import --peer-python PEER/bin/python --out benchmarks/results/import.json

``PEER`` is an environment of its own with torch, torchvision, onnx, onnx2torch, ml_dtypes and
safetensors; both sides run in it, so that both have the same torch. The models: real
exporters' graphs (a folder with ``load.py``), the hard cases of ``graph_analysis.testing``, and the
light models of the onnx package. Each is given random inputs on which ONNX Runtime (optimisations
off) gives finite numbers; both sides get the file, these inputs and its outputs, and have a limit
of time. Right is what differs by at most 1e-4 of an output's largest magnitude. Weights are the
float initializers that training may change, by our own rule; what a side reaches with a finite
gradient is counted in elements. Steps are forward, backward and SGD, medians, one thread.
"""

import argparse
import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from benchmarks.analysis import machine
from exporters.samples import input_specs
from exporters.sessions import OFF, open_session, run
from graph_analysis import load_model
from graph_analysis.testing import HARD_CASES
from optimizer.bridge.roles import trainable_initializers
from service.trainability import candidates, tells

ROOT = Path(__file__).resolve().parents[1]
SIDE = Path(__file__).with_name("import_side.py")
SIDES = ("ours", "onnx2torch")
LIMIT = 120.0  # seconds for one model on one side
BATCH = 4
Build = Callable[[], onnx.ModelProto]


class Side:
    """A process that answers for one model after the other; started again when it dies."""

    def __init__(self, name: str, python: Path) -> None:
        self._command = [str(python), str(SIDE), name]
        self._process: subprocess.Popen[str] | None = None

    def ask(self, path: Path) -> dict[str, Any]:
        """What it says about one model; nothing but a note if it says nothing in time."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], LIMIT)
        line = self._process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        note = "process died" if ready else f"not done after {LIMIT:.0f} s"
        self.end()
        return {"converted": False, "right": False, "note": note}

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def corpus(folder: Path) -> Iterator[tuple[str, Build]]:
    """The models of a folder with a ``load.py``."""
    spec = importlib.util.spec_from_file_location("corpus_load", folder / "load.py")
    if spec is None or spec.loader is None or not (folder / "load.py").exists():
        return
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    for path in sorted(folder.glob("*.onnx.xz")):
        yield path.name.removesuffix(".onnx.xz"), lambda path=path: loader.load(path)


def light() -> Iterator[tuple[str, Build]]:
    """Well-known networks that the onnx package ships without their weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(folder.glob("*.onnx")):
        yield path.stem, lambda path=path: onnx.load(path)


def prepare(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    """Write a model and its arrays.

    Raises:
        Exception: It has no weights to train, or ONNX Runtime does not run it.
    """
    normalised = load_model(model.SerializeToString()).model
    names = trainable_initializers(normalised.graph)
    sizes = [np.prod(item.dims) for item in normalised.graph.initializer if item.name in names]
    session = open_session(model, level=OFF)
    specs = input_specs(model)
    chosen: tuple[Any, Any] | None = None
    for feeds in candidates(specs, BATCH, {}, np.random.default_rng(0)):
        try:
            outputs = run(session, feeds)
        except Exception as error:
            refusal = error
            continue
        if chosen is None or tells(outputs):
            chosen = feeds, outputs
        if tells(outputs):
            break
    if chosen is None:
        raise refusal
    onnx.save(model, path)
    arrays = {f"in:{name}": array for name, array in chosen[0].items()}
    arrays |= {f"out:{name}": array for name, array in chosen[1].items()}
    np.savez(path.with_suffix(".npz"), **arrays)
    nodes = len(model.graph.node)
    return {"nodes": nodes, "weights": len(sizes), "parameters": int(sum(sizes))}


def compared(
    sides: dict[str, Side], sets: dict[str, Iterator[tuple[str, Build]]], *, rounds: int
) -> Iterator[dict[str, Any]]:
    """One row per model."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, models in sets.items():
            for name, build in models:
                path = Path(folder) / "model.onnx"
                row: dict[str, Any] = {"set": kind, "model": name}
                try:
                    row |= prepare(build(), path)
                except Exception as error:
                    row["note"] = f"left out: {' '.join(str(error).split())}"[:200]
                else:
                    for _ in range(rounds):  # in turns: the machine may be busy for a while
                        for side, process in sides.items():
                            row[side] = _quicker(row.get(side), process.ask(path))
                print(told(row), flush=True)
                yield row


def _quicker(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """The answer with the shorter step, the first one if there is none."""
    if before is None or "step_ms" not in before or "step_ms" not in now:
        return before or now
    return min(before, now, key=lambda answer: answer["step_ms"])


def told(row: dict[str, Any]) -> str:
    """A row in one line."""
    parts = [f"{row['set']:>6} {row['model']:<36}", row.get("note", "")]
    for side in SIDES:
        if side in row:
            found = row[side]
            parts.append(
                f"{side}: right {found.get('difference', 1):.1e},"
                f" {found.get('parameters', 0) / max(1, row['parameters']):.3f} of the weights,"
                f" {found.get('step_ms') or float('nan'):.1f} ms"
                if found["right"]
                else f"{side}: {_state(found)} {found['note'][:90]}"
            )
    return "  ".join(part for part in parts if part)


def _state(found: dict[str, Any]) -> str:
    return "wrong" if "difference" in found else "failed"


def summary(rows: list[dict[str, Any]], sides: list[str]) -> dict[str, Any]:
    """Figures by set and side."""
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(row["set"] for row in rows):
        tried = [row for row in rows if row["set"] == kind and "ours" in row]
        weights = sum(row["parameters"] for row in tried)
        found[kind] = {"models": len(tried), "parameters": weights}
        for side in sides:
            mine = [row[side] for row in tried]
            right = [entry for entry in mine if entry["right"]]
            full = [
                row for row in tried
                if row[side]["right"]
                and row[side].get("parameters", 0) >= row["parameters"] > 0
            ]  # fmt: skip
            found[kind][side] = {
                "converted": sum(entry["converted"] for entry in mine),
                "right": len(right),
                "right_and_all_weights_reached": len(full),
                "with_weights": sum(row["parameters"] > 0 for row in tried),
                "parameters_reached": sum(
                    min(row[side].get("parameters", 0), row["parameters"])
                    for row in tried
                    if row[side]["right"]
                ),
                "largest_difference_of_the_right": max(
                    (entry["difference"] for entry in right), default=None
                ),
            }
    if len(sides) > 1:
        found["side_by_side"] = beside(rows)
    return found


def beside(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the peer is behind, and where it is ahead."""
    tried = [row for row in rows if "onnx2torch" in row]
    both = [
        row
        for row in tried
        if all(row[side]["right"] and row[side].get("step_ms") for side in SIDES)
        # a step that trains less does less
        and row["onnx2torch"]["parameters"] >= row["ours"]["parameters"]
        and row["onnx2torch"]["mode"] == row["ours"]["mode"]
    ]
    ratio = {row["model"]: row["ours"]["step_ms"] / row["onnx2torch"]["step_ms"] for row in both}
    return {
        "steps_compared": len(ratio),
        "our_step_by_theirs_median": round(median(ratio.values()), 3) if ratio else None,
        "theirs_faster_by_a_tenth": {
            name: round(value, 3) for name, value in ratio.items() if value > 1.1
        },
        "right_there_only": [
            row["model"] for row in tried if row["onnx2torch"]["right"] and not row["ours"]["right"]
        ],
        "more_weights_there": [
            row["model"]
            for row in tried
            if row["onnx2torch"]["right"]
            and row["onnx2torch"].get("parameters", 0) > row["ours"].get("parameters", 0)
        ],
    }


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--peer-python", type=Path, help="Python with onnx2torch; without: alone")
    parser.add_argument("--only", default="", help="part of the names of the models to take")
    parser.add_argument("--rounds", type=int, default=1, help="turns; the quicker step counts")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    sides = {"ours": Side("ours", options.peer_python or Path(sys.executable))}
    if options.peer_python:
        sides["onnx2torch"] = Side("onnx2torch", options.peer_python)
    sets = {"real": corpus(options.corpus), "hard": iter(HARD_CASES.items()), "light": light()}
    chosen = {
        kind: (entry for entry in models if options.only in entry[0])
        for kind, models in sets.items()
    }
    head = {
        "command": " ".join(["python -m benchmarks.import", *_public(sys.argv[1:])]),
        "machine": machine(),
        "versions": {
            "onnx": version("onnx"),
            "onnxruntime": version("onnxruntime"),
            **(_versions(options.peer_python) if options.peer_python else _own_torch()),
        },
    }
    rows: list[dict[str, Any]] = []
    try:
        for row in compared(sides, chosen, rounds=options.rounds):
            rows.append(row)
            result = {**head, "summary": summary(rows, list(sides)), "models": rows}
            if options.out:  # after each model: the whole takes long
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        for side in sides.values():
            side.end()
    print(json.dumps(summary(rows, list(sides)), indent=1))


def _public(arguments: list[str]) -> list[str]:
    """The command without folders of this machine."""
    return [text if text.startswith("-") else Path(text).name for text in arguments]


def _own_torch() -> dict[str, str]:
    return {"torch": version("torch")}


def _versions(python: Path) -> dict[str, str]:
    code = "from importlib.metadata import version; print(version('onnx2torch'), version('torch'))"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    theirs, torch = done.stdout.split()
    return {"onnx2torch": theirs, "torch": torch}


if __name__ == "__main__":
    main()
