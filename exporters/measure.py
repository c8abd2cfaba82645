"""Figures of a model file that only running it can tell: latency, accuracy; and its size.

MACs and parameters are counted, not measured: that is the business of ``graph_analysis``.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from exporters.comparison import is_float
from exporters.samples import InputSpec, bound_shapes, has_free_batch, input_specs, random_feeds
from exporters.sessions import ALL, Feeds, open_session, run
from graph_analysis.errors import InputError
from graph_analysis.external_data import external_tensors, stored_bytes

_PERCENTILES = (50, 95)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time of one run of a model, in milliseconds.

    Attributes:
        p50_ms: Median.
        p95_ms: 95th percentile.
        runs: Timed runs, the warm-up not among them.
        batch: Samples per run.
        threads: Threads given to ONNX Runtime.
    """

    p50_ms: float
    p95_ms: float
    runs: int
    batch: int
    threads: int


def latencies(
    models: Mapping[str, onnx.ModelProto],
    *,
    batch: int = 1,
    threads: int = 1,
    rounds: int = 50,
    warm_up: int = 5,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seconds: float | None = None,
    alive: Callable[[], None] | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Latency]:
    """Median latency of several models, measured in turns so that drift of the machine cancels.

    Each round runs every model once; who goes first moves on with every round.

    Args:
        models: By the name they are reported under.
        batch: Samples per run; a model with a fixed batch axis runs at that.
        threads: For each session.
        rounds: Timed runs per model.
        warm_up: Runs before them.
        shapes: Shapes per input that are known to work; bind free axes but the batch.
        seconds: No further round begins after so long, warm-up included; one is timed at least.
        alive: Called after every run.
        clock: Nanoseconds, monotonic.
    """
    runners: dict[str, tuple[onnxruntime.InferenceSession, Feeds, int]] = {}
    for name, model in models.items():
        specs = input_specs(model)
        bound = bound_shapes(specs, batch=batch, known=shapes)
        feeds = random_feeds(specs, bound, np.random.default_rng(0))
        length = batch if has_free_batch(specs) else _fixed_batch(specs)
        runners[name] = open_session(model, level=ALL, threads=threads), feeds, length
    times: dict[str, list[int]] = {name: [] for name in models}
    order = list(models)
    began = 0 if seconds is None else clock()
    for turn in range(-warm_up, rounds):
        is_late = seconds is not None and clock() - began > seconds * 1e9
        if is_late and (turn > 0 or turn < -1):  # one warm-up and one timed round there must be
            if turn > 0:
                break
            continue
        for name in order:
            session, feeds, _ = runners[name]
            start = clock()
            session.run(None, dict(feeds))
            elapsed = clock() - start
            if turn >= 0:
                times[name].append(elapsed)
            if alive is not None:
                alive()
        order = order[1:] + order[:1]
    return {name: _latency(times[name], batch=runners[name][2], threads=threads) for name in models}


def _latency(nanoseconds: Sequence[int], *, batch: int, threads: int) -> Latency:
    p50, p95 = np.percentile(nanoseconds, _PERCENTILES) / 1e6
    return Latency(
        p50_ms=float(p50), p95_ms=float(p95), runs=len(nanoseconds), batch=batch, threads=threads
    )


def _fixed_batch(specs: Sequence[InputSpec]) -> int:
    return next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0]), 1)


def file_bytes(model: onnx.ModelProto | Path) -> int:
    """Size of the file and of its weights in other files, or of what a model in memory makes."""
    if not isinstance(model, Path):
        return int(model.ByteSize())
    elsewhere = external_tensors(onnx.load(model, load_external_data=False))
    return model.stat().st_size + sum(stored_bytes(tensor) for tensor in elsewhere)


def accuracy(
    model: onnx.ModelProto,
    inputs: Mapping[str, npt.NDArray[Any]],
    labels: npt.NDArray[Any],
    *,
    batch_size: int = 64,
    threads: int = 1,
    alive: Callable[[], None] | None = None,
) -> float:
    """Share of labels that the model's first choice meets (0..1), in ONNX Runtime.

    Args:
        model: A classifier; scores are the first float output, classes its last axis.
        inputs: Samples by input name; the key "" stands for the model's only input. Values are cast
            to the type the model takes.
        labels: Class numbers: one per sample, or one per position where scores have more axes.
        batch_size: Samples per run; a model with a fixed batch axis runs at that.
        threads: Given to ONNX Runtime.
        alive: Called after every run.

    Raises:
        InputError: Inputs or labels do not fit the model.
    """
    right = total = 0
    for scores, start in _scores(model, inputs, batch_size=batch_size, threads=threads):
        expected = labels[start : start + len(scores)]
        chosen = scores.argmax(axis=-1)
        if chosen.shape != expected.shape:
            message = (
                f"the model scores {list(chosen.shape[1:]) or 'one choice'} per sample, "
                f"the labels hold {list(expected.shape[1:]) or 'one number'}"
            )
            raise InputError(message, code="dataset-shape-mismatch", param="labels")
        right += int(np.sum(chosen == expected))
        if alive is not None:
            alive()
        total += expected.size
    if not total:
        msg = "no samples to measure accuracy on"
        raise InputError(msg, code="dataset-shape-mismatch")
    return right / total


def _scores(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]], *, batch_size: int, threads: int
) -> Iterator[tuple[npt.NDArray[Any], int]]:
    """Scores batch by batch, with the number of the first sample in each."""
    for outputs, start, size in runs(model, inputs, batch_size=batch_size, threads=threads):
        scores = next((v for v in outputs.values() if is_float(v) and v.ndim >= 2), None)
        if scores is None or scores.shape[-1] < 2:
            message = "the model has no float output with one score per class"
            raise InputError(message, code="dataset-shape-mismatch")
        yield scores[:size], start


def runs(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]], *, batch_size: int, threads: int
) -> Iterator[tuple[dict[str, npt.NDArray[Any]], int, int]]:
    """All outputs batch by batch, with the number of the first sample and how many there are.

    Where the model fixes its batch, the last outputs can be longer than that.

    Raises:
        InputError: Inputs do not fit the model.
    """
    specs = input_specs(model)
    arrays = _named(specs, inputs)
    session = open_session(model, level=ALL, threads=threads)
    count = min(len(values) for values in arrays.values())
    fixed = 0 if has_free_batch(specs) else _fixed_batch(specs)
    step = fixed or batch_size
    for start in range(0, count, step):
        feeds = {name: values[start : start + step] for name, values in arrays.items()}
        size = min(step, count - start)
        if fixed > size:  # the last samples again, to fill a batch that cannot be shorter
            feeds = {name: np.resize(v, (fixed, *v.shape[1:])) for name, v in feeds.items()}
        try:
            outputs = run(session, feeds)
        except Exception as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            message = (
                f"the model does not run on samples {start} to {start + size - 1} ({shapes}); "
                "check sizes, and that indices lie inside their tables"
            )
            raise InputError(message, code="dataset-shape-mismatch") from error
        yield outputs, start, size


def _named(
    specs: Sequence[InputSpec], inputs: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    if set(inputs) == {""} and len(specs) == 1:
        inputs = {specs[0].name: inputs[""]}
    missing = [spec.name for spec in specs if spec.name not in inputs]
    if missing:
        message = f"no samples for input {missing[0]!r}; there are some for {sorted(inputs)}"
        raise InputError(message, code="dataset-shape-mismatch", param=missing[0])
    return {spec.name: inputs[spec.name].astype(spec.dtype, copy=False) for spec in specs}
