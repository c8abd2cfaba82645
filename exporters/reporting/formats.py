"""Further formats that were made of the compressed file, or why one was not."""

from collections.abc import Mapping
from typing import Any

from exporters.reporting.markup import ARROW, NONE, row, section, share, size, table, text

_CAPTION = (
    "Each was made of the proved file and compared with it. Difference: the largest of any output, "
    "as a share of the largest value there."
)
_TITLES = ("format", "size", "left", "difference", "judged by", "before and after")


def formats(report: Mapping[str, Any]) -> str:
    """A line per format that was asked for; nothing if none was."""
    entries = report.get("exports", ())
    if not entries:
        return ""
    rows = [_refused(entry) if "refused" in entry else _made(entry) for entry in entries]
    return section("formats", "Further formats", table(_CAPTION, _TITLES, rows, (1, 2, 3)))


def _made(entry: Mapping[str, Any]) -> str:
    before, after = entry["bytes"]["before"], entry["bytes"]["after"]
    found = [each["relative"] for each in entry["differences"]]
    worst = max((value for value in found if value is not None), default=None)
    quality = entry["quality"]
    judged = NONE if quality is None else text(quality["measure"])
    values = NONE
    if quality is not None and quality["after"] is not None:
        values = f"{_value(quality['before'])} {ARROW} {_value(quality['after'])}"
    difference = NONE if worst is None else f"{worst:.2g}"
    left = share(after / before if before else None)
    cells = [text(entry["format"]), size(after), left, difference, judged, values]
    return row(cells, right=(1, 2, 3))


def _refused(entry: Mapping[str, Any]) -> str:
    why = f"not made: {text(entry['refused'], 500)}"
    return row([text(entry["format"]), NONE, NONE, NONE, why, NONE], right=(1, 2, 3))


def _value(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"
