"""``secateur export``: a model in another format, checked against the float model.

Everything that loads onnx, torch or ONNX Runtime is imported when the command runs, so that
``--help`` is quick. The file appears only when all checks have passed.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graph_analysis.errors import InputError
from service.commands.compress import dataset_uri
from service.commands.options import InputShapes, Json, input_shapes_of
from service.commands.signals import ended_by_signals
from service.export_names import BUNDLE, FORMATS, INT8, MOST_DROP

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A float32 ONNX file.")]
Form = Annotated[str, typer.Option("--to", help=f"One of {', '.join(FORMATS)}.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Where it goes; for a bundle a new folder, or .zip.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Data set (NPZ: a path, file:// or http(s) address) to calibrate and judge on; int8 "
        "needs it.",
    ),
]
MostDrop = Annotated[
    float,
    typer.Option(
        "--max-export-drop",
        min=0.0,
        max=1.0,
        help="Largest loss that is handed out: of accuracy, or of agreement with MODEL; "
        "0.01 is one point.",
    ),
]
Reports = Annotated[
    list[Path] | None,
    typer.Option("--report", help="For a bundle: a file of the report, or the folder of one."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the random samples.")]
_REPORTS = ("report.json", "report.html")
_FIXED = frozenset({"README.txt", "client.py", "config.pbtxt", "1"})


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="export")(export)


def export(
    model: Model,
    form: Form,
    output: Output,
    *,
    data: Data = None,
    max_export_drop: MostDrop = MOST_DROP,
    report: Reports = None,
    input_shape: InputShapes = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write MODEL in another format: float16, INT8, INT8 weights, ORT's own, a serving bundle."""
    _check(model, form, output, report)
    shapes = input_shapes_of(input_shape or ())
    from service.compression.formats.making import ExportWish, make_export
    from service.compression.formats.reading import read_float_model

    wish = ExportWish(
        form=form,
        most_drop=max_export_drop,
        reports=_read(report or ()),
        shapes=shapes,
        seed=seed,
    )
    loaded, content = read_float_model(model)
    notes: list[str] = []
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        judged = None
        if data is not None:
            from service.compression.formats.samples import judged_data
            from service.datasets import DatasetPolicy, load_dataset

            dataset = load_dataset(dataset_uri(data), DatasetPolicy(roots=(Path("/"),)))
            judged = judged_data(
                loaded, dataset, report=lambda line: notes.append(str(line.get("message", "")))
            )
        found = make_export(model, content, output, wish, Path(folder), data=judged)
    summary = {"output": str(output), **found.to_dict(), "notes": [note for note in notes if note]}
    typer.echo(json.dumps(summary) if as_json else summary_text(summary))


def _check(model: Path, form: str, output: Path, reports: Sequence[Path] | None) -> None:
    """What can be refused before anything is read."""
    if form not in FORMATS:
        message = f"--to is one of {', '.join(FORMATS)}, got {form!r}"
        raise InputError(message, param="to")
    if reports and form != BUNDLE:
        message = f"--report does nothing with --to {form}; it belongs to a bundle"
        raise InputError(message, param="report")
    if output.resolve() == model.resolve():
        message = f"{output} is read by this command; choose another output"
        raise InputError(message, param="output")
    if not output.absolute().parent.is_dir():
        message = f"output {output} is in a folder that does not exist"
        raise InputError(message, code="output-not-writable", param="output")
    if form == BUNDLE and output.suffix != ".zip" and output.exists():
        message = f"{output} is there already; name a new folder, or an archive (.zip)"
        raise InputError(message, code="output-not-writable", param="output")
    from exporters.files import check_writable

    check_writable((output,))


def _read(paths: Sequence[Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in paths:
        files = [path / name for name in _REPORTS if (path / name).is_file()]
        for file in files if path.is_dir() else [path]:
            if file.name in _FIXED or file.name in found:
                message = f"--report {file} would replace another file of the bundle; rename it"
                raise InputError(message, param="report")
            found[file.name] = file.read_bytes()
        if path.is_dir() and not files:
            message = f"--report {path} holds none of {', '.join(_REPORTS)}"
            raise InputError(message, param="report")
    return found


def summary_text(summary: Mapping[str, Any]) -> str:
    """A few lines for a terminal."""
    before, after = summary["bytes"]["before"], summary["bytes"]["after"]
    lines = [f"bytes      {before:>16,d} -> {after:>16,d}   {after / before:.3f}"]
    for entry in summary["differences"]:
        worst, share = entry["max_difference"], entry["relative"]
        shown = "shapes differ" if worst is None else f"{worst:.3g}"
        shown += "" if share is None else f" ({share:.2g} of the largest value)"
        same = "" if entry["top1"] is None else f", same first choice in {entry['top1']:.2%}"
        is_outside = summary["format"] == INT8 and entry["source"] == "random"
        lines.append(
            f"compared   largest difference {shown}{same}; {entry['samples']} "
            f"{entry['source']} samples" + (", outside the calibrated ranges" * is_outside)
        )
    quality = summary["quality"]
    if quality is not None:
        lines.append(
            f"{quality['measure']:<10} {quality['before']:.4f} -> {quality['after']:.4f} "
            f"on the {summary['compared_on']} samples"
        )
    lines += [f"note       {note}" for note in summary["notes"]]
    return "\n".join([*lines, f"written    {summary['output']}"])
