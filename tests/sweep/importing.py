"""Every model there is as a trainable module: equal, trainable, written back.

::

    python -m tests.sweep.importing [--results benchmarks/results/imported.json] [--jobs 1]
        [--only PATTERN] [--folder FOLDER ...] [--limit 300] [--seconds 3000] [--again]

Hard cases, files of the onnx package, networks exported by torch, disguised and converted ones,
then the corpus and further folders. Each model is examined in a process of its own with a time
limit. A table is printed, then every failure; nothing is passed over in silence. Results are
written after each model, and models that are in the results already are not run again unless asked
for. Exit code 1 if anything failed.
"""

import argparse
import fnmatch
import json
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.sweep.imported_model import CHECKS, examine
from tests.sweep.importing_sources import Source, sources

_FORK = multiprocessing.get_context("fork")  # a fresh interpreter would import torch each time


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("--limit", type=float, default=300, help="seconds per model")
    parser.add_argument("--seconds", type=float, default=1e9, help="seconds for all")
    parser.add_argument("--again", action="store_true", help="also what is in the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    deadline = time.monotonic() + options.seconds
    done: dict[str, Any] = {}
    if options.results and options.results.exists():
        done = json.loads(options.results.read_text())
    chosen: dict[str, Any] = {}
    for name, build in sources(options.folder):
        if not fnmatch.fnmatch(name, options.only):
            continue
        if name in done and not options.again:
            chosen[name] = done[name]
            continue
        if time.monotonic() > deadline:
            chosen[name] = {"outcome": "not reached", "failures": ["out of time before it"]}
            continue
        chosen[name] = in_child(build, options.limit)
        _say(_line(name, chosen[name]))
        done[name] = chosen[name]
        if options.results:
            options.results.write_text(json.dumps(done, indent=1) + "\n")
    return _summary(chosen)


def in_child(build: Source, limit: float) -> dict[str, Any]:
    """Examine one model in another process, which is ended after ``limit`` seconds."""
    receiver, sender = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_child, args=(build, sender))
    child.start()
    sender.close()
    found: dict[str, Any] | None = None
    try:
        found = receiver.recv() if receiver.poll(limit) else None
        reason = f"took more than {limit:.0f} s"
    except EOFError:
        child.join(10)
        reason = f"the process ended with code {child.exitcode}"
    child.kill()
    child.join()
    return found or {"outcome": "wrong", "failures": [reason]}


def _child(build: Source, sender: Connection) -> None:
    warnings.simplefilter("ignore")  # exporters warn about themselves
    try:
        model = build()
    except Exception as error:  # noqa: BLE001  exporters raise many types
        reason = f"cannot be made: {type(error).__name__}: {str(error)[:200]}"
        sender.send({"outcome": "out of reach", "reason": reason, "failures": []})
        return
    try:
        sender.send(examine(model))
    except Exception as error:  # noqa: BLE001  the parent reports it
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        sender.send({"outcome": "wrong", "failures": [f"import: {reason}"]})


def _line(name: str, found: dict[str, Any]) -> str:
    failed = {message.split(":")[0] for message in found["failures"]}
    marks = "".join("x" if check in failed else "." for check in CHECKS)
    figures = (
        f"{found['weights_with_gradient']}/{found['weights']} weights, "
        f"{found['max_difference']:.1e}, {len(found['untrained'])} left alone"
        if "weights_with_gradient" in found and "weights" in found
        else found.get("reason", "").split("\n")[0][:160]
    )
    return f"{found['outcome']:12s} {marks} {name:60s} {found.get('seconds', 0):6.1f} s  {figures}"


def _summary(chosen: dict[str, Any]) -> int:
    outcomes = Counter(found["outcome"] for found in chosen.values())
    _say("")
    for name, found in chosen.items():
        for message in found["failures"]:
            _say(f"{name}: {message}")
    for outcome in ("refused", "out of reach"):
        for name, found in chosen.items():
            if found["outcome"] == outcome:
                _say(f"{outcome}: {name}: {found['reason'][:300]}")
    _say(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    return 1 if any(found["failures"] for found in chosen.values()) else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
