"""The proof's task in the sandboxed child: read models and inputs, prove, return the figures.

The only module of the proof that the sandbox loads by name: ONNX Runtime runs here and nowhere
else, so that a graph on which it crashes, hangs, or asks for all memory ends this process alone.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from exporters.errors import ProofFailedError
from exporters.figures import Proof
from exporters.proof import prove

_MOST_BYTES = 48 * 1024  # of the answer; the pipe takes a little more
_FIGURES_LEFT = 40


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Prove what lies in ``payload["folder"]``.

    Returns ``proof``, and where it failed ``message`` and ``param`` as well.
    """
    folder = Path(payload["folder"])
    masked, cut, original = (onnx.load(folder / f"{n}.onnx") for n in ("masked", "cut", "original"))
    inputs = onnx.load_from_string((folder / "inputs.pb").read_bytes()).graph
    samples: list[dict[str, Any]] = [{} for _ in range(payload["samples"])]
    keep: dict[str, dict[int, Any]] = defaultdict(dict)
    for tensor in inputs.initializer:
        kind, number, name = tensor.name.split("/", 2)
        values = numpy_helper.to_array(tensor)
        if kind == "sample":
            samples[int(number)][name] = values
        else:
            keep[name][int(number)] = values
    try:
        proof = prove(
            masked,
            cut,
            original=original,
            samples=samples,
            seed=payload["seed"],
            shapes=payload["shapes"],
            keep=keep if payload["has_keep"] else None,
        )
    except ProofFailedError as error:
        return {"proof": short(error.proof), "message": str(error)[:4096], "param": error.param}
    return {"proof": short(proof)}


def short(proof: Proof) -> dict[str, Any]:
    """``proof`` as data that fits into an answer: of very many figures the worst and the last."""
    data = proof.to_dict()
    if len(json.dumps(data)) <= _MOST_BYTES:
        return data
    others, last = data["figures"][:-1], data["figures"][-1:]
    others.sort(key=_closeness, reverse=True)
    left_out = len(others[_FIGURES_LEFT:])
    data["figures"] = others[:_FIGURES_LEFT] + last
    data["notes"] = [note[:400] for note in data["notes"][:_FIGURES_LEFT]]
    if left_out:
        data["notes"].append(f"figures of {left_out} further comparisons are left out")
    return data


def _closeness(figure: Mapping[str, Any]) -> float:
    """How close to its limit a comparison came; of equal outputs 0."""
    difference, limit = figure["max_difference"], figure["limit"]
    if difference is None or limit is None:
        return float("inf")
    return float(difference / limit) if limit else float(difference > 0)
