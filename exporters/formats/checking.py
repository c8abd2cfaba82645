"""How far an exported file is from the float model: both run in ONNX Runtime on the same samples.

Nothing is stored but figures: batches go through both one after the other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.comparison import ACROSS_LEVELS, HALF, Tolerance, is_float
from exporters.errors import FormatError
from exporters.samples import (
    InputSpec,
    bound_shapes,
    has_free_batch,
    input_specs,
    random_feeds,
    variations,
)
from exporters.sessions import ALL, Feeds, open_session, run

Array = npt.NDArray[Any]
_RANDOM_BATCHES = 3
_BATCH = 8
_TIE = 1e-3
FLOAT16 = HALF
EXACT = ACROSS_LEVELS


@dataclass(frozen=True, kw_only=True)
class FormatFigures:
    """One comparison of an exported file with the float model.

    Attributes:
        source: ``real`` or ``random`` samples.
        samples: How many.
        max_difference: Largest absolute difference of a float output; infinite where shapes differ.
        output: The output that it is found in.
        scale: Largest magnitude of the float model's own values in that output.
        relative: The largest difference as a share of the scale of its output, over all outputs.
        rms: Root mean square of the differences over that of the values, of the worst output.
        top1: Share of rows of the first output of scores that agree on their largest entry, or
            choose one that the float model scores within a thousandth of the largest value of it
            (a tie); None without such an output.
        changed: Share of elements of integer and boolean outputs that differ; None without any.
        is_finite: Whether every value is finite that is finite in the float model.
    """

    source: str
    samples: int
    max_difference: float = 0.0
    output: str = ""
    scale: float = 0.0
    relative: float = 0.0
    rms: float = 0.0
    top1: float | None = None
    changed: float | None = None
    is_finite: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As JSON-compatible values; an infinite figure is None."""
        return {
            name: None if isinstance(value, float) and value == inf else value
            for name, value in asdict(self).items()
        }

    @property
    def agreement(self) -> float:
        """How much of the float model is kept, 0 to 1: of its choices, else of its values."""
        if self.top1 is not None:
            return self.top1
        kept = 1.0 - (self.changed or 0.0)
        return max(0.0, min(kept, 1.0 - self.rms))


def check_format(
    model: onnx.ModelProto,
    exported: onnx.ModelProto | bytes,
    *,
    inputs: Mapping[str, Array] | None = None,
    batch_size: int = 32,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    threads: int = 1,
) -> tuple[FormatFigures, ...]:
    """Run both on random samples and, if given, on real ones; figures of each.

    Args:
        model: The float model.
        exported: What was made of it: a model, or the bytes of a file in any format.
        inputs: Real samples by input name; the first axis counts them.
        batch_size: Samples per run; a model with a fixed batch axis runs at that.
        shapes: Shapes per input that are known to work; bind free axes but the batch.
        seed: Of the random samples.
        threads: Given to ONNX Runtime.

    Raises:
        FormatError: The exported file does not load or run, or is not finite.
    """
    try:
        candidate = open_session(exported, level=ALL, threads=threads)
    except Exception as error:
        message = f"ONNX Runtime does not load the exported file: {' '.join(str(error).split())}"
        raise FormatError(message) from error
    reference = open_session(model, level=ALL, threads=threads)
    specs = input_specs(model)
    known = dict(shapes or {})
    if inputs:
        known |= {name: values.shape for name, values in inputs.items()}
    found = [_measured("random", _random(reference, specs, known, seed), reference, candidate)]
    if inputs:
        batches = real_batches(specs, inputs, batch_size)
        found.append(_measured("real", batches, reference, candidate))
    for figures in found:
        if not figures.is_finite:
            message = (
                f"output {figures.output!r} of the exported file is not finite on {figures.source} "
                "samples where the float model is"
            )
            raise FormatError(message, param=figures.output)
    return tuple(figures for figures in found if figures.samples)


def check_exact(figures: Iterable[FormatFigures], tolerance: Tolerance) -> None:
    """Refuse a file that differs by more than rounding.

    Raises:
        FormatError: Names the output, the difference and the limit.
    """
    for entry in figures:
        limit = tolerance.relative
        if not entry.relative <= limit or (entry.changed or 0.0) > limit:
            message = (
                f"the exported file differs in output {entry.output!r} by {entry.relative:.2g} of "
                f"its largest value on {entry.source} samples; allowed is {limit:g}"
            )
            raise FormatError(message, param=entry.output)


def real_batches(
    specs: Sequence[InputSpec], inputs: Mapping[str, Array], batch_size: int
) -> Iterator[Feeds]:
    """Samples in the types that the model takes, batch by batch; a fixed batch is filled up."""
    fixed = 0 if has_free_batch(specs) else _fixed_batch(specs)
    step = fixed or batch_size
    count = min(len(values) for values in inputs.values())
    for start in range(0, count, step):
        feeds = {
            spec.name: inputs[spec.name][start : start + step].astype(spec.dtype, copy=False)
            for spec in specs
        }
        if fixed > min(step, count - start):
            feeds = {name: np.resize(v, (fixed, *v.shape[1:])) for name, v in feeds.items()}
        yield feeds


def _fixed_batch(specs: Sequence[InputSpec]) -> int:
    return next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0]), 1)


def _random(
    session: Any, specs: Sequence[InputSpec], known: Mapping[str, Sequence[int]], seed: int
) -> Iterator[Feeds]:
    """Random batches; where the float model does not run on them, or is not finite, others."""
    rng = np.random.default_rng(seed)
    bound = bound_shapes(specs, batch=_BATCH, known=known)
    for _ in range(_RANDOM_BATCHES):
        for feeds in variations(random_feeds(specs, bound, rng), rng):
            try:
                outputs = run(session, feeds)
            except Exception:  # noqa: BLE001  values or sizes that the model was not made for
                continue
            if all(
                np.isfinite(v.astype(np.float64)).all() for v in outputs.values() if is_float(v)
            ):
                yield feeds
                break


class _Sums:
    """What is known of one output so far."""

    def __init__(self) -> None:
        self.worst = self.scale = self.error = self.power = 0.0
        self.rows = self.agreeing = self.elements = self.changed = 0
        self.is_finite = True

    def add(self, expected: Array, found: Array) -> None:
        if expected.shape != found.shape:
            self.worst = self.error = inf
            self.elements += max(1, expected.size)
            self.changed += max(1, expected.size)
            return
        if not is_float(expected):
            self.elements += expected.size
            self.changed += int(np.sum(expected != found))
            return
        a, b = expected.astype(np.float64), found.astype(np.float64)
        finite = np.isfinite(a)
        self.is_finite &= bool(np.isfinite(b[finite]).all())
        gap = np.abs(np.where(finite & np.isfinite(b), a - b, 0.0))
        a = np.where(finite, a, 0.0)
        self.worst = max(self.worst, float(gap.max(initial=0.0)))
        self.scale = max(self.scale, float(np.abs(a).max(initial=0.0)))
        self.error += float(np.square(gap).sum())
        self.power += float(np.square(a).sum())
        if expected.ndim in (2, 3) and expected.shape[-1] > 1:
            self._add_choices(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))

    def _add_choices(self, expected: Array, found: Array) -> None:
        """Whose largest entries agree; a tie in the float model may go either way."""
        chosen = np.take_along_axis(expected, found.argmax(axis=1)[:, None], axis=1)[:, 0]
        limit = _TIE * float(np.abs(expected).max(initial=0.0))
        self.rows += len(expected)
        self.agreeing += int(np.sum(chosen >= expected.max(axis=1) - limit))

    @property
    def relative(self) -> float:
        return _share(self.worst, self.scale)

    @property
    def rms(self) -> float:
        return _share(sqrt(self.error), sqrt(self.power))


def _share(part: float, whole: float) -> float:
    if not part:
        return 0.0
    return part / whole if whole else inf


def _measured(
    source: str, batches: Iterable[Feeds], reference: Any, candidate: Any
) -> FormatFigures:
    sums: dict[str, _Sums] = {}
    samples = 0
    for feeds in batches:
        expected = run(reference, feeds)
        try:
            found = run(candidate, feeds)
        except Exception as error:
            message = f"the exported file does not run: {' '.join(str(error).split())[:300]}"
            raise FormatError(message) from error
        samples += max((len(v) for v in feeds.values() if v.ndim), default=1)
        for name, values in expected.items():
            sums.setdefault(name, _Sums()).add(values, found[name])
    return _figures(source, samples, sums)


def _figures(source: str, samples: int, sums: Mapping[str, _Sums]) -> FormatFigures:
    if not sums:
        return FormatFigures(source=source, samples=samples)
    broken = [name for name, entry in sums.items() if not entry.is_finite]
    name = broken[0] if broken else max(sums, key=lambda key: sums[key].relative)
    rows = next(((e.agreeing, e.rows) for e in sums.values() if e.rows), None)
    whole = [entry for entry in sums.values() if entry.elements]
    elements = sum(entry.elements for entry in whole)
    return FormatFigures(
        source=source,
        samples=samples,
        max_difference=sums[name].worst,
        output=name,
        scale=sums[name].scale,
        relative=max(entry.relative for entry in sums.values()),
        rms=max(entry.rms for entry in sums.values()),
        top1=rows[0] / rows[1] if rows else None,
        changed=sum(entry.changed for entry in whole) / elements if whole else None,
        is_finite=not broken,
    )
