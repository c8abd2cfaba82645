"""One side of ``benchmarks.import``: a process that converts models and tries to train them.

Argument: ``ours`` or ``onnx2torch``; the latter runs in an environment of its own, so nothing of
this repository is imported for it. Each line of standard input is the path of a model; its inputs
and the outputs that ONNX Runtime gave lie beside it (``.npz``). The answer is one line of JSON.
"""

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS = 15
PATIENCE = 8.0  # seconds of timed steps


def convert_ours(path: Path) -> tuple[torch.nn.Module, list[str]]:
    """The module, and the inputs in the order in which it takes them."""
    from graph_analysis.loading import load_model
    from optimizer.bridge.module import import_model

    imported = import_model(load_model(path).model)
    return imported.module, list(imported.input_names)


def convert_theirs(path: Path) -> tuple[torch.nn.Module, list[str]]:
    """The same by onnx2torch."""
    import onnx
    import onnx2torch

    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [info.name for info in model.graph.input if info.name not in weights]
    return onnx2torch.convert(model), names


def examine(convert: Callable[[Path], tuple[torch.nn.Module, list[str]]], path: Path) -> Any:
    """Convert, compare, take one gradient, time some steps."""
    found: dict[str, Any] = {"converted": False, "right": False, "note": ""}
    try:
        module, names = convert(path)
        found["converted"] = True
        with np.load(path.with_suffix(".npz")) as arrays:
            inputs = [torch.from_numpy(arrays[f"in:{name}"].copy()) for name in names]
            expected = [arrays[key] for key in arrays.files if key.startswith("out:")]
        with torch.no_grad():
            outputs = list(tensors(module.eval()(*inputs)))
        found["difference"] = max(map(distance, expected, outputs), default=0.0)
        found["right"] = len(outputs) == len(expected) and found["difference"] <= 1e-4
        found.update(trained(module, inputs))
    except Exception as error:
        found["note"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return found


def distance(expected: np.ndarray, output: torch.Tensor) -> float:
    """Largest difference by the largest magnitude; of integers the share that differs."""
    actual = output.detach().cpu().numpy()
    if actual.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind in "iub":
        return float(np.mean(actual != expected)) if expected.size else 0.0
    wide, other = expected.astype(np.float64), actual.astype(np.float64)
    both = np.isfinite(wide) & np.isfinite(other)
    if not np.array_equal(wide[~both], other[~both], equal_nan=True):
        return float("inf")
    scale = float(np.abs(wide[both]).max(initial=0.0)) or 1.0
    return float(np.abs(wide[both] - other[both]).max(initial=0.0)) / scale


def trained(module: torch.nn.Module, inputs: list[torch.Tensor]) -> dict[str, Any]:
    """Parameters with a finite gradient, and milliseconds of forward, backward, SGD.

    In training form; in evaluation form where a normalisation refuses a batch of one.
    """
    parameters = [item for item in module.parameters() if item.is_floating_point()]
    if not parameters:
        return {"weights": 0, "parameters": 0, "note": "it has no parameters"}
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    mode = "train"
    try:
        step(module.train(), inputs, optimizer)
    except ValueError:
        mode = "eval"
        step(module.eval(), inputs, optimizer)
    reached = [
        item
        for item in parameters
        if item.grad is not None and bool(torch.isfinite(item.grad).all())
    ]
    times: list[float] = []
    step(module, inputs, optimizer)
    while len(times) < STEPS and sum(times) < PATIENCE:
        start = time.perf_counter()
        step(module, inputs, optimizer)
        times.append(time.perf_counter() - start)
    return {
        "weights": len(reached),
        "parameters": sum(item.numel() for item in reached),
        "step_ms": round(1e3 * statistics.median(times), 3),
        "mode": mode,
    }


def step(
    module: torch.nn.Module, inputs: list[torch.Tensor], optimizer: torch.optim.Optimizer
) -> None:
    """One step down a fixed random combination of all float outputs; the rate is 0."""
    optimizer.zero_grad(set_to_none=True)
    outputs = [item for item in tensors(module(*inputs)) if item.requires_grad]
    if not outputs:
        message = "no output depends on a parameter"
        raise RuntimeError(message)
    source = torch.Generator().manual_seed(0)
    parts = [
        (item * torch.randn(item.shape, generator=source).to(item.dtype)).sum().float()
        for item in outputs
    ]
    torch.stack(parts).sum().backward()
    optimizer.step()


def tensors(returned: Any) -> Iterator[torch.Tensor]:
    """All tensors of what a module returned, in order."""
    if isinstance(returned, torch.Tensor):
        yield returned
    elif isinstance(returned, dict):
        yield from tensors(list(returned.values()))
    elif isinstance(returned, tuple | list):
        for item in returned:
            yield from tensors(item)


def main() -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    convert = convert_ours if sys.argv[1] == "ours" else convert_theirs
    for line in sys.stdin:
        answers.write(json.dumps(examine(convert, Path(line.strip()))) + "\n")


if __name__ == "__main__":
    main()
