"""The proof, and all that is needed to do the job again."""

import json
from collections.abc import Mapping
from typing import Any

from exporters.reporting.markup import NONE, folded, name, row, section, table, text

Report = Mapping[str, Any]
_FIGURES, _NOTES = 200, 50
_LEGEND = (
    "Largest difference of any element. G3: the file equals the masked original, optimisations "
    "off. G4: the same with ONNX Runtime's optimisations on, and on against off. G6: a batch "
    "equals its samples one by one."
)


def proof(report: Report) -> str:
    """What was compared, and how far apart it was."""
    found = report["proof"]
    figures = found["figures"]
    facts = [
        f"{found['samples']:,} samples, {found['real_samples']:,} of them from the data set",
        f"largest difference {_number(found['max_difference'])}",
    ]
    if found.get("batch_sizes"):
        facts.append(f"batches of {', '.join(map(str, found['batch_sizes']))}")
    if found.get("inner_tensors"):
        facts.append(f"{found['inner_tensors']:,} tensors inside the network compared as well")
    if found.get("top1_agreement") is not None:
        facts.append(f"the same first choice for {100 * found['top1_agreement']:.1f} %")
    notes = "".join(f"<li>{text(note, 500)}</li>" for note in found["notes"][:_NOTES])
    return section(
        "proof",
        "Proof",
        f"<p>{verdict(report)}</p><p>{text('; '.join(facts))}.</p>",
        f"<ul>{notes}</ul>" if notes else "",
        folded(f"all {len(figures):,} comparisons", _figures(figures)),
    )


def verdict(report: Report) -> str:
    """Whether the proof passed, as a badge."""
    if report["proof"]["passed"]:
        return '<span class="badge good">proof passed</span>'
    return '<span class="badge bad">proof FAILED</span>'


def _figures(figures: list[Mapping[str, Any]]) -> str:
    shown = figures[:_FIGURES]
    rows = (
        row(
            [
                text(entry["gate"]),
                text(entry["level"]),
                f"{entry['batch']}",
                text(entry["source"]),
                name(entry["output"]),
                _number(entry["max_difference"]),
                _number(entry["limit"]),
                "passed" if entry["passed"] else '<strong class="bad">failed</strong>',
            ],
            right=(2, 5, 6),
            kind="" if entry["passed"] else "erased",
        )
        for entry in shown
    )
    titles = ("gate", "optimisations", "batch", "inputs", "output", "difference", "limit", "")
    made = table(_LEGEND, titles, rows, (2, 5, 6))
    more = len(figures) - len(shown)
    rest = f'<p class="quiet">{more:,} more are in report.json.</p>' if more else ""
    return f'<div class="tall">{made}</div>{rest}'


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def again(report: Report) -> str:
    """Command, settings, seed, versions, digests."""
    command = report["command"]
    about = report["about"]
    ends = [
        row([text(kind), name(end["name"]), text(_shape(end["shape"]), 200)])
        for kind in ("inputs", "outputs")
        for end in about.get(kind, ())[:50]
    ]
    return section(
        "again",
        "Doing it again",
        f"<pre>{text(command)}</pre>" if command else "",
        "<h3>Model</h3>" + table(_origin(about), ("", "name", "shape"), ends) if ends else "",
        "<h3>Files</h3>" + _pairs("SHA-256", report["hashes"]),
        "<h3>Versions</h3>" + _pairs("of libraries", report["versions"]),
        folded("all settings", _pairs(f"seed {report['seed']}", report["configuration"])),
        folded("all figures of training", _pairs("as a whole", report["training_summary"])),
    )


def _origin(about: Mapping[str, Any]) -> str:
    parts = [f"opset {about['opset']}"] if about.get("opset") else []
    parts += [f"made by {about['producer']}"] if about.get("producer") else []
    return text(", ".join(parts) or "as the file describes it", 300)


def _shape(shape: list[int | None]) -> str:
    return f" {chr(0xD7)} ".join("free" if length is None else str(length) for length in shape)


def _pairs(caption: str, values: Mapping[str, Any]) -> str:
    if not values:
        return '<p class="quiet">none recorded</p>'
    rows = (row([text(key, 120), f"<code>{_value(value)}</code>"]) for key, value in values.items())
    return table(text(caption), ("what", "value"), rows)


def _value(value: object) -> str:
    if value is None:
        return NONE
    return text(value if isinstance(value, str) else json.dumps(value), 400)
