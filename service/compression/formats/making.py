"""One export: made, written, read again, compared with the float model, and judged.

What is handed out has run in ONNX Runtime on random samples and, where there is data, on real ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from exporters.files import copy_files
from exporters.formats import (
    FormatFigures,
    bundle_files,
    check_exact,
    check_format,
    to_float16,
    to_int8,
    to_int8_weights,
    to_ort,
    write_bundle,
)
from exporters.formats.checking import EXACT
from exporters.formats.checking import FLOAT16 as FLOAT16_LIMIT
from exporters.formats.refusing import check_size
from exporters.formats.serving import bundle_name
from exporters.measure import file_bytes
from graph_analysis.errors import InputError
from service.compression.errors import QualityGateError
from service.compression.formats.samples import JudgedData
from service.compression.machine import num_cpus
from service.export_names import BUNDLE, FLOAT16, INT8, INT8_WEIGHTS, LOSSY, MOST_DROP, ORT

_ROUNDING = 1e-9  # a drop of 0.01 is 0.010000000000000009
_ERRORS = ("rmse", "mae")


@dataclass(frozen=True, kw_only=True)
class ExportWish:
    """What is asked for.

    Attributes:
        form: One of ``service.export_names.FORMATS``.
        most_drop: Largest loss that is handed out (0..1): of accuracy (or F1), of an error as a
            share of itself, or without labels of the agreement with the float model.
        reports: Files for a bundle, by name.
        shapes: Shapes per input that are known to work.
        seed: Of the random samples.
        name: Of a bundle's folder; that of the output without.
    """

    form: str
    most_drop: float = MOST_DROP
    reports: Mapping[str, bytes] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int]] | None = None
    seed: int = 0
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """What came of it.

    Attributes:
        form: The format.
        bytes_before: Size of the float model's file.
        bytes_after: Size of what was written.
        figures: Comparisons with the float model.
        compared_on: Split that the real samples of them come from, if any.
        quality: ``measure``, ``before``, ``after`` and ``drop``; None where nothing was judged.
    """

    form: str
    bytes_before: int
    bytes_after: int
    figures: tuple[FormatFigures, ...]
    compared_on: str | None = None
    quality: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-compatible values."""
        return {
            "format": self.form,
            "bytes": {"before": self.bytes_before, "after": self.bytes_after},
            "differences": [figures.to_dict() for figures in self.figures],
            "compared_on": self.compared_on,
            "quality": None if self.quality is None else dict(self.quality),
        }


def make_export(
    source: Path,
    model: onnx.ModelProto,
    output: Path,
    wish: ExportWish,
    folder: Path,
    *,
    data: JudgedData | None = None,
) -> Export:
    """Make ``output`` of a float model; it appears only when all checks have passed.

    Args:
        source: The float model's file.
        model: Its content, data of other files taken in.
        output: Where the export goes.
        wish: What is asked for.
        folder: A temporary folder of the caller's.
        data: To calibrate, compare and judge on; INT8 needs it.

    Raises:
        InputError: ``export-unsupported``: the format cannot be had for this model.
        FormatError: What was made does not run, or is another network.
        QualityGateError: It loses more than ``wish.most_drop``.
    """
    if wish.form == BUNDLE:
        return _make_bundle(source, model, output, wish, data)
    written = folder / f"export{output.suffix or '.onnx'}"
    written.write_bytes(_converter(wish.form, model, data)())
    exported = written.read_bytes()
    compared = data.compared if data is not None else (None, None)
    figures = check_format(
        model,
        exported,
        inputs=compared[1],
        shapes=wish.shapes,
        seed=wish.seed,
        threads=num_cpus(),
    )
    if wish.form == ORT:
        check_exact(figures, EXACT)
    elif wish.form == FLOAT16:
        check_exact(figures, FLOAT16_LIMIT)
    quality = None
    if wish.form in LOSSY and data is not None:
        quality = _quality(model, onnx.load_from_string(exported), data, figures)
        _check_quality(wish, quality)
    copy_files({output: written})
    return Export(
        form=wish.form,
        bytes_before=file_bytes(source),
        bytes_after=len(exported),
        figures=figures,
        compared_on=compared[0],
        quality=quality,
    )


def _converter(form: str, model: onnx.ModelProto, data: JudgedData | None) -> Callable[[], bytes]:
    if form == INT8:
        if data is None:
            message = "INT8 needs samples to measure the ranges of activations on: give --data"
            raise InputError(message, code="dataset-unavailable", param="data")
        batches = data.calibration
        return lambda: to_int8(model, batches).SerializeToString()
    if form == FLOAT16:
        return lambda: to_float16(model).SerializeToString()
    if form == INT8_WEIGHTS:
        return lambda: to_int8_weights(model).SerializeToString()
    return lambda: to_ort(model)


def _make_bundle(
    source: Path,
    model: onnx.ModelProto,
    output: Path,
    wish: ExportWish,
    judged: JudgedData | None,
) -> Export:
    """The file as it came, unless its weights lie in others."""
    check_size(model, "serving bundle")
    raw = source.read_bytes()
    data = raw if len(raw) >= model.ByteSize() else model.SerializeToString()
    name = wish.name or bundle_name(output)
    split, samples = judged.compared if judged is not None else (None, None)
    files = bundle_files(data, name, reports=wish.reports, shapes=wish.shapes, samples=samples)
    figures = check_format(
        model, files["1/model.onnx"], inputs=samples, shapes=wish.shapes, seed=wish.seed
    )
    check_exact(figures, EXACT)
    write_bundle(files, name, output)
    return Export(
        form=BUNDLE,
        bytes_before=file_bytes(source),
        bytes_after=output.stat().st_size if output.is_file() else sum(map(len, files.values())),
        figures=figures,
        compared_on=split,
    )


def _quality(
    model: onnx.ModelProto,
    exported: onnx.ModelProto,
    data: JudgedData,
    figures: Sequence[FormatFigures],
) -> dict[str, Any]:
    before = data.quality(model)
    if before["value"] is None:
        agreement = figures[-1].agreement
        return {"measure": "agreement", "before": 1.0, "after": agreement, "drop": 1.0 - agreement}
    after = data.quality(exported)["value"]
    drop = before["value"] - after
    if before["measure"] in _ERRORS:
        drop = (after - before["value"]) / before["value"] if before["value"] else after
    return {
        "measure": before["measure"],
        "before": before["value"],
        "after": after,
        "drop": drop,
    }


def _check_quality(wish: ExportWish, quality: Mapping[str, Any]) -> None:
    if quality["drop"] <= wish.most_drop + _ROUNDING:
        return
    message = (
        f"{wish.form} loses too much: {quality['measure']} goes from {quality['before']:.4f} to "
        f"{quality['after']:.4f}, a loss of {quality['drop']:.4f}; allowed is {wish.most_drop:g} "
        "(max_export_drop)"
    )
    raise QualityGateError(message, param="max_export_drop")
