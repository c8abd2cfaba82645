"""``secateur bench``: size, MACs, parameters and latency of model files side by side.

Latencies are medians of interleaved runs, so that a machine that slows down slows all of them
down. Everything that loads onnx or ONNX Runtime is imported when the command runs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graph_analysis.errors import InputError

Models = Annotated[
    list[Path],
    typer.Argument(exists=True, dir_okay=False, help="ONNX files; the first is the base."),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Samples per run.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Timed runs per model.")]
WarmUp = Annotated[int, typer.Option("--warm-up", min=0, help="Runs before them.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

_COLUMNS = (
    ("parameters", "parameters", ",d"),
    ("MACs", "macs", ",d"),
    ("bytes", "bytes", ",d"),
    ("p50 ms", "p50_ms", ".3f"),
    ("p95 ms", "p95_ms", ".3f"),
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(name="bench")(bench)


def bench(
    models: Models,
    *,
    batch: Batch = 1,
    threads: Threads = 1,
    rounds: Rounds = 50,
    warm_up: WarmUp = 5,
    as_json: Json = False,
) -> None:
    """Compare MODELS: size, MACs, parameters, latency in ONNX Runtime."""
    rows = compare(models, batch=batch, threads=threads, rounds=rounds, warm_up=warm_up)
    if as_json:
        typer.echo(json.dumps({"models": rows}))
    else:
        Console().print(_table(rows, batch=batch, threads=threads))


def compare(
    paths: Sequence[Path], *, batch: int, threads: int, rounds: int, warm_up: int
) -> list[dict[str, Any]]:
    """One entry per model: file, parameters, macs (per sample), bytes, p50_ms, p95_ms, batch.

    Raises:
        ModelError: A file cannot be used.
        InputError: A file is named twice, or ONNX Runtime does not run it.
    """
    from exporters.measure import file_bytes, latencies
    from graph_analysis.loading import load_model
    from graph_analysis.pipeline import analyze
    from graph_analysis.solution import Solution

    analyses = {str(path): analyze(load_model(path)) for path in paths}
    if len(analyses) < len(paths):
        msg = "the same file is named twice"
        raise InputError(msg, param="models")
    first = next(iter(analyses.values()))
    try:
        times = latencies(
            {name: analysis.loaded.model for name, analysis in analyses.items()},
            batch=batch,
            threads=threads,
            rounds=rounds,
            warm_up=warm_up,
            shapes=first.effects(Solution.of(first.space, {})).shapes,
        )
    except Exception as error:
        message = f"ONNX Runtime does not run these models: {' '.join(str(error).split())}"
        raise InputError(message) from error
    return [
        {
            "file": str(path),
            "parameters": analyses[str(path)].space.model.parameters,
            "macs": analyses[str(path)].space.model.macs,
            "bytes": file_bytes(path),
            "p50_ms": times[str(path)].p50_ms,
            "p95_ms": times[str(path)].p95_ms,
            "batch": times[str(path)].batch,
            "threads": threads,
        }
        for path in paths
    ]


def _table(rows: Sequence[dict[str, Any]], *, batch: int, threads: int) -> Table:
    table = Table(caption=f"batch {batch}, {threads} thread(s); in brackets: share of the first")
    table.add_column("model", overflow="fold")
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right")
    base, names = rows[0], [Path(row["file"]).name for row in rows]
    for row, name in zip(rows, names, strict=True):
        cells = []
        for _, key, form in _COLUMNS:
            share = f" ({row[key] / base[key]:.3f})" if row is not base and base[key] else ""
            cells.append(f"{row[key]:{form}}{share}")
        table.add_row(row["file"] if names.count(name) > 1 else name, *cells)
    return table
