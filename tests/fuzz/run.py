"""Damage models and see that only clean results and clean errors come out.

::

    python -m tests.fuzz.run --count 20000 --seed 0 [--workers 2] [--out fuzz-failures]
    python -m tests.fuzz.run --only 1234 --seed 0      one case again, with its traceback

Failures are written to ``--out``; with ``--reduce`` the first of each kind is made smaller. Exit
code 1 if there is any.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tests.fuzz.bounded import Outcome, run_bounded
from tests.fuzz.cases import make_case
from tests.fuzz.reducing import reduced
from tests.fuzz.seeds import seed_models


def data_of(models: Mapping[str, bytes], seed: int, number: int) -> bytes:
    """The bytes of a case."""
    return make_case(models, number, seed).data


def outcomes(models: Mapping[str, bytes], seed: int, numbers: range) -> Iterator[Outcome]:
    """Judge the cases of a range."""
    yield from run_bounded(numbers, partial(data_of, models, seed))


def _work(
    models: Mapping[str, bytes],
    seed: int,
    numbers: range,
    results: "multiprocessing.Queue[Outcome]",
) -> None:
    for outcome in outcomes(models, seed, numbers):
        results.put(outcome)


def _parallel(
    models: Mapping[str, bytes], seed: int, numbers: range, workers: int
) -> Iterator[Outcome]:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[Outcome] = context.Queue()
    parts = [numbers[worker::workers] for worker in range(workers)]
    # not daemons: each has a child of its own
    processes = [context.Process(target=_work, args=(models, seed, p, results)) for p in parts]
    for process in processes:
        process.start()
    for _ in numbers:
        yield results.get(timeout=600)
    for process in processes:
        process.join()


def main() -> int:
    """Run the cases, print the counts, write the failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int)
    parser.add_argument("--reduce", action="store_true", help="make the models that fail smaller")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    models = seed_models()
    numbers = range(options.first, options.first + options.count)
    if options.only is not None:
        numbers = range(options.only, options.only + 1)
    counts: Counter[str] = Counter()
    failures: dict[str, list[Outcome]] = {}
    start, slowest = time.monotonic(), (0.0, 0)
    for outcome in _parallel(models, options.seed, numbers, min(options.workers, len(numbers))):
        counts[outcome.verdict.kind] += 1
        slowest = max(slowest, (outcome.seconds, outcome.number))
        if outcome.verdict.is_failure:
            failures.setdefault(outcome.verdict.kind, []).append(outcome)
        if counts.total() % 1000 == 0:
            _say(f"{counts.total()} cases, {time.monotonic() - start:.0f} s")
    for kind, count in counts.most_common():
        _say(f"{count:7} {kind}")
    _say(f"{counts.total()} cases in {time.monotonic() - start:.0f} s; "
         f"the slowest took {slowest[0]:.2f} s (case {slowest[1]})")  # fmt: skip
    for kind, found in failures.items():
        _write(models, options, kind, found)
    return 1 if failures else 0


def _write(
    models: Mapping[str, bytes], options: argparse.Namespace, kind: str, found: list[Outcome]
) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    first = min(found, key=lambda outcome: outcome.number)
    case = make_case(models, first.number, options.seed)
    name = f"seed{options.seed}-case{case.number}"
    smaller = reduced(case.data, kind) if options.reduce else case.data
    (options.out / f"{name}.onnx").write_bytes(smaller)
    text = f"{kind}\n{case.model}: {', '.join(case.damage)}\n{first.verdict.detail}\n"
    (options.out / f"{name}.txt").write_text(text)
    numbers = ", ".join(str(outcome.number) for outcome in found[:5])
    _say(f"\nFAILURE {text}{len(found)} cases ({numbers}); "
         f"{len(case.data)} bytes reduced to {len(smaller)}: {name}.onnx")  # fmt: skip


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
