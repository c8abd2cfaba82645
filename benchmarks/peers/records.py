"""Rows of the results file, one per run, and the table of means that they make."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
KEY = ("data", "network", "method", "ratio", "seed")


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes a run one of its own."""
    return tuple(row[name] for name in KEY)


def rows_of(path: Path) -> list[Row]:
    """All rows of the file; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def append(path: Path, row: Row) -> None:
    """Add ``row`` at the end of the file; one write, so that two processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def spread_of(values: Sequence[float]) -> float:
    """Standard deviation of the sample; 0 for one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str], dict[str, dict[float, list[Row]]]]:
    """(data, network) -> method -> ratio asked -> rows."""
    found: dict[tuple[str, str], dict[str, dict[float, list[Row]]]] = {}
    for row in rows:
        by_method = found.setdefault((row["data"], row["network"]), {})
        by_method.setdefault(row["method"], {}).setdefault(row["ratio"], []).append(row)
    return found


def table(rows: Sequence[Row]) -> str:
    """Markdown: per network and data set a line per method, accuracies in %.

    Mean and standard deviation of three seeds, or of as many as stand in brackets.
    """
    lines: list[str] = []
    for (data, network), by_method in sorted(grouped(rows).items()):
        ratios = sorted({row["ratio"] for row in rows}, reverse=True)
        ratios = [ratio for ratio in ratios if ratio < 1]
        original = next(iter(by_method.get("original", {}).get(1.0, [])), None)
        whole = f" ({100 * original['accuracy']:.2f} %)" if original else ""
        lines += [
            "",
            f"| {network}, {data}{whole} | " + " | ".join(_name(r) for r in ratios) + " |",
        ]
        lines.append("|---" * (len(ratios) + 1) + "|")
        for method, by_ratio in sorted(by_method.items()):
            if method == "original":
                continue
            cells = [_cell(by_ratio.get(ratio, [])) for ratio in ratios]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def _name(ratio: float) -> str:
    return f"{1 / ratio:g}x"


def _cell(rows: Sequence[Row]) -> str:
    right = [100 * row["accuracy"] for row in rows if row["accuracy"] is not None]
    if not right:
        return "fails" if rows else ""
    if len(right) == 1:
        return f"{right[0]:.2f} (1)"
    seeds = "" if len(right) == 3 else f" ({len(right)})"
    return f"{statistics.fmean(right):.2f} ± {spread_of(right):.2f}{seeds}"
