"""Twenty random solutions of every kind, of every hard case and corpus file: is each cut exact?

::

    python -m tests.sweep.run --results benchmarks/results/solutions.json [--count 20]
        [--corpus FOLDER] [--seconds 3000] [--only NAME] [--solution mixed:0.5:7]

Hard cases come first, then files in the order of their size. Results are written after each model
and models that are in the results already are passed over, so a run that was stopped goes on. What
failed is printed with all that is needed to see it again. Exit code 1 if anything did.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

from graph_analysis.solution import Solution
from graph_analysis.testing import HARD_CASES
from tests.sweep.random_solutions import KINDS, analysis_of, failures_of, plan, random_solution

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"


def models(corpus: Path) -> Iterator[tuple[str, Callable[[], onnx.ModelProto]]]:
    """Name and builder of every model, small ones first."""
    yield from HARD_CASES.items()
    plain = sorted(corpus.glob("*.onnx"), key=lambda path: path.stat().st_size)
    for path in plain:
        yield path.stem, lambda path=path: onnx.load(path)  # type: ignore[misc]
    packed = sorted(corpus.glob("*.onnx.xz"), key=lambda path: path.stat().st_size)
    loader = _loader(corpus / "load.py") if packed and not plain else None
    for path in packed if loader is not None else ():
        yield path.name.removesuffix(".onnx.xz"), lambda path=path: loader(path)  # type: ignore


def _loader(path: Path) -> Callable[[Path], onnx.ModelProto]:
    spec = importlib.util.spec_from_file_location("corpus_load", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Path], onnx.ModelProto] = module.load
    return found


def sweep(
    name: str, model: onnx.ModelProto, count: int, deadline: float
) -> tuple[dict[str, Any], list[str]]:
    """Try ``count`` solutions of every kind that the model has; figures, and what failed."""
    start = time.monotonic()
    analysis = analysis_of(model)
    have = {group.kind for group in analysis.space.groups}
    seen: dict[str, set[str]] = {kinds: set() for kinds in KINDS if set(KINDS[kinds]) & have}
    if "mixed" in seen and len(have) == 1:
        del seen["mixed"]  # the same as the one kind there is
    failures, ratios = [], []
    for kinds, share, seed in plan(count):
        if kinds not in seen or time.monotonic() > deadline:
            continue
        solution = random_solution(analysis, KINDS[kinds], share, seed)
        text = json.dumps(solution.to_json())
        if text in seen[kinds]:
            continue  # a group of one unit has few solutions
        seen[kinds].add(text)
        ratios.append(analysis.parameters(solution) / max(1, analysis.space.model.parameters))
        failures += [
            f"{name} {kinds}:{share}:{seed}: {what}"
            for what in _attempt(analysis, solution, seed)
        ]  # fmt: skip
    figures = {
        "groups": len(analysis.space.groups),
        "solutions": {kinds: len(texts) for kinds, texts in seen.items()},
        "parameters": analysis.space.model.parameters,
        "smallest_share_of_parameters": round(min(ratios), 4) if ratios else None,
        "complete": time.monotonic() <= deadline,
        "seconds": round(time.monotonic() - start, 1),
        "failures": failures,
    }
    return figures, failures


def _attempt(analysis: Any, solution: Solution, seed: int) -> list[str]:
    try:
        return list(failures_of(analysis, solution, seed))
    except Exception as error:  # noqa: BLE001  the surgeon and the runtime raise many types
        return [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--only")
    parser.add_argument("--solution", help="kinds:share:seed, as a failure names it")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    done: dict[str, Any] = {}
    if options.results and options.results.exists():
        done = json.loads(options.results.read_text())
    failed = 0
    for name, build in models(options.corpus):
        if (options.only or name) != name or (name in done and not options.only):
            continue
        if time.monotonic() > deadline:
            _say(f"out of time before {name}")
            break
        if options.solution:
            kinds, share, seed = options.solution.split(":")
            analysis = analysis_of(build())
            solution = random_solution(analysis, KINDS[kinds], float(share), int(seed))
            _say(solution.to_json())
            for what in failures_of(analysis, solution, int(seed)):
                _say(what)
            continue
        figures, failures = sweep(name, build(), options.count, deadline)
        failed += len(failures)
        _say(f"{name}: {sum(figures['solutions'].values())} solutions, {figures['seconds']} s, "
             f"{len(failures)} failures")  # fmt: skip
        for failure in failures:
            _say(f"  {failure}")
        if figures["complete"] and options.results:
            done[name] = figures
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(done, indent=1) + "\n")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
