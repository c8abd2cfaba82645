"""The further formats of a job, made of its proved model in the stage ``verify``.

A format that cannot be had, or that loses too much, does not fail the job: it is said, with its
reason, in the job's history and in the report.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporters.errors import FormatError
from graph_analysis.errors import InputError
from service.compression.errors import QualityGateError
from service.compression.formats.making import ExportWish, make_export
from service.compression.formats.reading import read_float_model
from service.compression.formats.samples import JudgedData
from service.compression.labelling import LabelUse
from service.compression.reporting import Phases, Report, say
from service.compression.run_directory import RunDirectory
from service.compression.subject import Subject
from service.export_names import BUNDLE, beside

_REPORTS = ("report.json", "report.html")


def make_formats(
    run: RunDirectory, subject: Subject, use: LabelUse, phases: Phases, report: Report
) -> list[dict[str, Any]]:
    """Make all formats that the recipe asks for but the bundle, which holds the report.

    Args:
        run: Where ``compressed.onnx`` is; the formats are left beside it.
        subject: The original and its data.
        use: What the labels are.
        phases: Told that the stage is alive.
        report: Told what could not be had.

    Returns:
        An entry per format for the report: its figures, or ``refused`` with the reason.
    """
    wanted = [form for form in subject.recipe.exports if form != BUNDLE]
    return _made(run, subject, use, phases, report, wanted) if wanted else []


def make_bundle(
    run: RunDirectory, subject: Subject, use: LabelUse, phases: Phases, report: Report
) -> None:
    """Make the bundle, if the recipe asks for it; the report is written already."""
    if BUNDLE in subject.recipe.exports:
        _made(run, subject, use, phases, report, [BUNDLE])


def _made(
    run: RunDirectory,
    subject: Subject,
    use: LabelUse,
    phases: Phases,
    report: Report,
    wanted: Sequence[str],
) -> list[dict[str, Any]]:
    loaded, model = read_float_model(run.compressed)
    data = JudgedData(subject=replace(subject, loaded=loaded), use=use, alive=phases.alive)
    shapes, entries = subject.shapes, []
    reports = {name: run.path / name for name in _REPORTS}
    for form, output in beside(run.compressed, wanted).items():
        phases.alive()
        output.unlink(missing_ok=True)  # of an earlier attempt
        wish = ExportWish(
            form=form,
            most_drop=subject.recipe.max_export_drop,
            reports={
                n: p.read_bytes() for n, p in reports.items() if form == BUNDLE and p.is_file()
            },
            shapes=shapes,
            seed=subject.recipe.seed,
            name="compressed",
        )
        try:
            with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
                found = make_export(run.compressed, model, output, wish, Path(folder), data=data)
        except (InputError, FormatError, QualityGateError) as error:
            entries.append({"format": form, "refused": str(error)})
            say(report, "export-refused", str(error), {"format": form})
            continue
        entries.append({**found.to_dict(), "file": output.name})
        message = f"{form}: {found.bytes_after:,} bytes"
        say(report, "exported", message, {"format": form, "bytes": found.bytes_after})
    return entries
