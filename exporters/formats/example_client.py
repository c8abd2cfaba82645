"""Run the model beside this file: python client.py SAMPLES.npz OUTPUTS.npz [train|val|test].

Samples are prepared as in training: each array is taken by its name (x_test, or x_test:INPUT for
several inputs) and cast to the type of the input, nothing else.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MODEL = Path(__file__).parent / "1" / "model.onnx"
TYPES = {"float": "float32", "double": "float64"}  # all others are called as numpy calls them
BATCH = 32


def prepare(session: Any, data: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The arrays of one split by input name, in the types that the model takes."""
    feeds = {}
    for entry in session.get_inputs():
        kind = entry.type.removeprefix("tensor(").removesuffix(")")
        own = f"x_{split}:{entry.name}"
        feeds[entry.name] = data[own if own in data else f"x_{split}"].astype(TYPES.get(kind, kind))
    return feeds


def predict(session: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """All outputs for all samples; a batch that the file fixes is filled up with repeated ones."""
    fixed = next((e.shape[0] for e in session.get_inputs() if e.shape), None)
    step = fixed if isinstance(fixed, int) else BATCH
    found: dict[str, list[Any]] = {entry.name: [] for entry in session.get_outputs()}
    count = len(next(iter(feeds.values())))
    for start in range(0, count, step):
        size = min(step, count - start)
        rows = {name: values[start : start + step] for name, values in feeds.items()}
        if step == fixed:
            rows = {name: np.resize(v, (step, *v.shape[1:])) for name, v in rows.items()}
        for name, values in zip(found, session.run(list(found), rows), strict=True):
            found[name].append(values[:size])
    return {name: np.concatenate(parts) for name, parts in found.items()}


if __name__ == "__main__":
    samples, outputs, *rest = sys.argv[1:]
    runtime = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    with np.load(samples) as arrays:
        results = predict(runtime, prepare(runtime, arrays, rest[0] if rest else "test"))
    np.savez(outputs, **results)
    for name, values in results.items():
        sys.stdout.write(f"{name} {list(values.shape)}\n")
