"""Every model at 30, 50 and 70 % of its MACs: solved by magnitude, cut, proved, a row each.

    python -m benchmarks.cut_corpus --corpus FOLDER --out benchmarks/results/cut_corpus.json
    python -m benchmarks.cut_corpus --table benchmarks/results/cut_corpus.json

Models are the files of FOLDER (``.onnx``), the hard cases, and the light models of the onnx
package, as they are (most of their weights are made while they run: those cannot be set to 0) and
with weights stored; the files once with any width and once with widths that are multiples of 8, as
a job has them. ``--latency`` times original and cut file in turns as well. Each model has a
process of its own, which is ended after ``--seconds``. A run that was stopped goes on where it was;
``--again`` repeats the rows of the models named. Exit code 1 if a proof failed or something broke.

A verdict is ``proved``, ``unreachable`` (the target; what is reachable is proved instead and its
share stands in the row), ``refused`` (the original cannot be judged: it does not run, or says
nothing) or ``FAILED``. What the file lost beside what was cut (``benchmarks.lost``) is a failure.
"""

import argparse
import fnmatch
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.light import with_weights
from benchmarks.lost import lost
from exporters.errors import ProofFailedError
from exporters.masked import mask
from exporters.measure import latencies
from exporters.proof import prove
from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.sessions import OFF, open_session, run
from exporters.surgeon import shrink
from graph_analysis.errors import SecateurError, TargetUnreachableError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import USUAL_MULTIPLE, Analysis, AnalysisOptions, analyze
from graph_analysis.solution import Solution
from graph_analysis.solving import solve
from graph_analysis.testing import HARD_CASES

TARGETS = (0.3, 0.5, 0.7)
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_ROUNDS, _LATENCY_SECONDS = 20, 4.0
_FAILURES = ("FAILED", "timed out")
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a model is from, its name, how to have it, and what kept widths are a multiple of."""

    group: str
    name: str
    build: Callable[[], onnx.ModelProto]
    multiple: int = 1


def sources(corpus: Path | None) -> Iterator[Source]:
    """Every model, small files first."""
    for name, build in HARD_CASES.items():
        yield Source("hard cases", name, build)
    for path in _by_size(LIGHT):
        plain = partial(onnx.load, path)
        yield Source("light", path.stem, plain)
        stored = f"{path.stem}+weights"
        yield Source("light, weights stored", stored, partial(_with_weights, path))
    for path in _by_size(corpus) if corpus else ():
        yield Source("corpus", path.stem, partial(onnx.load, path))
        usual = f"corpus, multiples of {USUAL_MULTIPLE}"
        name = f"{path.stem}@{USUAL_MULTIPLE}"
        yield Source(usual, name, partial(onnx.load, path), USUAL_MULTIPLE)


def _with_weights(path: Path) -> onnx.ModelProto:
    return with_weights(onnx.load(path))


def _by_size(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_size)


def rows_of(source: Source, *, latency: bool) -> Iterator[Row]:
    """A row per target."""
    model = source.build()
    options = AnalysisOptions(multiple=source.multiple)
    try:
        analysis = analyze(load_model(model.SerializeToString()), options=options)
    except SecateurError as error:
        yield {"verdict": "refused", "why": _line(error)}
        return
    why = _unfit(analysis)
    for target in TARGETS:
        start = time.monotonic()
        row: Row = {"target": target}
        try:
            row.update(_row(model, analysis, target, latency=latency))
        except Exception as error:  # one row each, whatever goes wrong
            refused = isinstance(error, ProofFailedError) and why
            row.update(verdict="refused" if refused else "FAILED", why=why or _line(error))
            row["detail"] = _line(error)
        yield row | {"seconds": round(time.monotonic() - start, 2)}


def latencies_of(source: Source) -> Iterator[Row]:
    """The part of a source's rows that is measured; None where a target cannot be reached."""
    model = source.build()
    options = AnalysisOptions(multiple=source.multiple)
    analysis = analyze(load_model(model.SerializeToString()), options=options)
    shapes = analysis.effects(Solution.of(analysis.space, {})).shapes
    for target in TARGETS:
        try:
            solution = solve(analysis, target_ratio=target, quantity="macs", saliency="magnitude")
        except TargetUnreachableError:
            yield {"target": target, "latency_left": None}
            continue
        left = _latency_left(model, shrink(analysis, solution), shapes)
        yield {"target": target, "latency_left": left}


def _row(model: onnx.ModelProto, analysis: Analysis, target: float, *, latency: bool) -> Row:
    row: Row = {"verdict": "proved"}
    try:
        solution = solve(analysis, target_ratio=target, quantity="macs", saliency="magnitude")
    except TargetUnreachableError as error:
        row = {"verdict": "unreachable", "why": _line(error), "reachable": error.reachable_ratio}
        if not 0 < error.reachable_ratio < 1:
            return row
        share = min(1.0, error.reachable_ratio * (1 + 1e-9) + 1e-12)
        solution = solve(analysis, target_ratio=share, quantity="macs", saliency="magnitude")
    cut = shrink(analysis, solution)
    whole = Solution.of(analysis.space, {})
    proof = prove(
        mask(analysis, solution),
        cut,
        original=analysis.loaded.model,
        shapes=analysis.effects(whole).shapes,
        keep=analysis.effects(solution).keep,
    )
    row["macs_left"] = round(analysis.macs(solution) / max(1, analysis.macs(whole)), 4)
    row["bytes_left"] = round(cut.ByteSize() / model.ByteSize(), 4)
    worst = [f for f in proof.figures if f.gate == "G3"]
    row["largest_difference"] = max((f.max_difference for f in worst), default=0.0)
    row["of_scale"] = max((f.max_difference / f.scale for f in worst if f.scale), default=0.0)
    row["inner_tensors"] = proof.inner_tensors
    row["notes"] = list(proof.notes)
    row["lost"] = lost(model, cut)
    if row["lost"]:
        row.update(verdict="FAILED", why=f"lost: {'; '.join(row['lost'][:3])}")
    if latency:
        row["latency_left"] = _latency_left(model, cut, analysis.effects(whole).shapes)
    return row


def _latency_left(
    model: onnx.ModelProto, cut: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]
) -> float:
    """Median processor time of a run of the cut file by that of the original, in turns.

    On one thread; by the wall clock a busy machine would make long runs longer than short ones.
    """
    found = latencies(
        {"before": model, "after": cut},
        rounds=_ROUNDS,
        shapes=shapes,
        seconds=_LATENCY_SECONDS,
        clock=time.process_time_ns,
    )
    return round(found["after"].p50_ms / found["before"].p50_ms, 3)


def _unfit(analysis: Analysis) -> str:
    """Why the original itself cannot be judged; empty if it can."""
    model = analysis.loaded.model
    try:
        specs = input_specs(model)
        known = analysis.effects(Solution.of(analysis.space, {})).shapes
        feeds = random_feeds(specs, bound_shapes(specs, batch=1, known=known),
                             np.random.default_rng(0))  # fmt: skip
        run(open_session(model, level=OFF), feeds)
    except Exception as error:  # the runtime raises a type per failure
        return f"ONNX Runtime does not run the original: {_line(error)}"
    return ""


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]


def in_child(name: str, arguments: Sequence[str], seconds: float) -> list[Row]:
    """The rows of one model, from a process that is ended after ``seconds``."""
    command = [sys.executable, "-m", "benchmarks.cut_corpus", "--one", name, *arguments]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False
        )
        text, rest = ended.stdout, f"exit code {ended.returncode}: {ended.stderr[-300:]}"
    except subprocess.TimeoutExpired as error:
        text, rest = (error.stdout or b"").decode(), f"not done after {seconds:g} s"
    rows: list[Row] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    if len(rows) < len(TARGETS) and not (rows and "target" not in rows[-1]):
        verdict = "timed out" if rest.startswith("not done") else "FAILED"
        rows.append({"target": TARGETS[len(rows)], "verdict": verdict, "why": rest})
    return rows


def table(rows: Sequence[Row]) -> str:
    """What a result file says, in Markdown: a line per source and target."""
    lines = [
        "| models | target | rows | proved | unreachable | refused | failed | median of MACs left"
        " | of bytes left | of latency left | largest difference, of scale |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for source in dict.fromkeys(row["source"] for row in rows):
        for target in TARGETS:
            some = [r for r in rows if r["source"] == source and r.get("target") == target]
            count = {v: sum(r["verdict"] == v for r in some) for v in
                     ("proved", "unreachable", "refused", *_FAILURES)}  # fmt: skip
            figures = [_median(some, key) for key in ("macs_left", "bytes_left", "latency_left")]
            worst = max((r["of_scale"] for r in some if "of_scale" in r), default=0.0)
            lines.append(
                f"| {source} | {target:g} | {len(some)} | {count['proved']} | "
                f"{count['unreachable']} | {count['refused']} | "
                f"{count['FAILED'] + count['timed out']} | {' | '.join(figures)} | {worst:.1e} |"
            )
    return "\n".join(lines)


def _median(rows: Sequence[Row], key: str) -> str:
    proved = [row for row in rows if row["verdict"] == "proved"]
    values = [row[key] for row in proved if row.get(key) is not None]
    return f"{statistics.median(values):.2f}" if values else ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--again", help="pattern of names whose rows are made anew")
    parser.add_argument("--seconds", type=float, default=600.0, help="per model")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--latency-only", action="store_true", help="of rows that are there")
    parser.add_argument("--one", help="print the rows of this model, in this process")
    parser.add_argument("--table", type=Path, help="print a result file as a table")
    return parser.parse_args()


def _measure_again(options: argparse.Namespace, found: list[Row], arguments: Sequence[str]) -> None:
    """Measure the latency of rows that are there."""
    for name in dict.fromkeys(row["model"] for row in found):
        if not fnmatch.fnmatch(name, options.only):
            continue
        new = {row["target"]: row for row in in_child(name, arguments, options.seconds)}
        for row in found:
            if row["model"] == name and row["verdict"] == "proved":
                row["latency_left"] = new.get(row["target"], {}).get("latency_left")
                sys.stdout.write(f"{name:36} {row['target']} {row['latency_left']}\n")
        sys.stdout.flush()
        _write(options.out, found)


def _write(out: Path | None, rows: Sequence[Row]) -> None:
    if out:
        text = ",\n".join(json.dumps(row) for row in rows)
        out.write_text(f"[\n{text}\n]\n")


def main() -> int:
    """Run, write after every model, print."""
    options = _arguments()
    if options.table:
        sys.stdout.write(table(json.loads(options.table.read_text())) + "\n")
        return 0
    if options.one:
        one = next(one for one in sources(options.corpus) if one.name == options.one)
        made = latencies_of(one) if options.latency_only else rows_of(one, latency=options.latency)
        for row in made:
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
        return 0
    found: list[Row] = []
    if options.out and options.out.exists():
        found = json.loads(options.out.read_text())
    if options.again:
        found = [row for row in found if not fnmatch.fnmatch(row["model"], options.again)]
    arguments = ["--latency"] * options.latency + ["--latency-only"] * options.latency_only
    arguments += ["--corpus", str(options.corpus)] if options.corpus else []
    if options.latency_only:
        _measure_again(options, found, arguments)
        return 0
    done = {row["model"] for row in found}
    for source in sources(options.corpus):
        name = source.name
        if name in done or not fnmatch.fnmatch(name, options.only):
            continue
        rows = in_child(name, arguments, options.seconds)
        found += [{"source": source.group, "model": name, **row} for row in rows]
        for row in rows:
            sys.stdout.write(f"{name:36} {row.get('target', ''):>4} {row['verdict']:12} "
                             f"{row.get('macs_left', '')} {row.get('latency_left', '')} "
                             f"{row.get('why', '')[:200]}\n")  # fmt: skip
            sys.stdout.flush()
        _write(options.out, found)
    return int(any(row["verdict"] in _FAILURES for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
