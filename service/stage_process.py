"""The process that runs one stage of a job: ``python -m service.stage_process``.

A child of the worker, in a session of its own. It reads and writes below one run folder, and tells
the worker what happens by lines on its stdout (``stage_lines``). It touches neither database nor
store.

Exit codes: 0 done; 75 stopped on request, to be run again; 2 bad input; 3 the target cannot be
reached; 4 the proof failed; 1 our own fault. Before 1 to 4 the last line is ``failed``.
"""

import argparse
import errno
import hashlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from graph_analysis.errors import SecateurError
from service.datasets.loading import pin_dataset
from service.datasets.policy import DatasetPolicy
from service.faults import arm, fault
from service.parent_death import die_with_parent
from service.stage_lines import LineWriter

EXIT_STOPPED = 75
MODEL_FILE = "model.onnx"
DATASET_FILE = "dataset.npz"
REQUEST_FILE = "request.json"
LOG_FILE = "stage.log"
_DETAILS = {
    "internal": "an internal error",
    "insufficient-storage": "the service's disk is full; try again later",
    "out-of-memory": "the job needs more memory than the worker has; use a smaller batch size",
}
_NOT_RESULTS = ("checkpoints", MODEL_FILE, REQUEST_FILE, LOG_FILE)


@dataclass
class StopFlag:
    """Whether the worker has asked this process to stop, and whether the stage has noticed.

    A stage that returns after it was told to stop may have left its work unfinished, so it will be
    run again; one that never asked has done all of it.
    """

    is_set: bool = False
    was_seen: bool = False

    def __call__(self) -> bool:
        """What a stage calls between its steps."""
        self.was_seen = self.was_seen or self.is_set
        return self.is_set

    def install(self) -> None:
        """Set the flag at the first SIGTERM; the second ends the process."""
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_set:
            os._exit(EXIT_STOPPED)
        self.is_set = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; the exit code."""
    options = _parse(arguments)
    die_with_parent(options.parent, signal.SIGKILL)
    writer = LineWriter(_take_stdout())
    stop = StopFlag()
    stop.install()
    arm(os.environ.get("SECATEUR_FAULT", ""))
    try:
        run_stage(options.stage, options.run, options.compression, writer, stop)
    except SecateurError as error:
        return _failed(writer, error)
    except Exception as error:  # noqa: BLE001 - whatever it is: the worker decides what comes next
        traceback.print_exc()
        code = _code_of(error)
        writer.report({"kind": "failed", "code": code, "detail": _DETAILS[code], "param": None})
        return 1
    if stop.was_seen:
        return EXIT_STOPPED
    writer.report({"kind": "result", "stage": options.stage, "files": hash_files(options.run)})
    return 0


def run_stage(
    stage: str, folder: Path, compression: str, writer: LineWriter, stop: StopFlag
) -> None:
    """Load the module with the stages, and run one of them in the run folder."""
    fault(stage)
    request = json.loads((folder / REQUEST_FILE).read_text())
    if stage == "prepare":
        _pin_dataset(request["dataset"], folder, writer)
    module: Any = importlib.import_module(compression)
    module.run_stage(
        stage,
        module.RunDirectory(folder),
        module.Recipe.parse(request["recipe"]),
        report=writer.report,
        should_stop=stop,
    )
    writer.flush()


def _pin_dataset(dataset: Mapping[str, Any], folder: Path, writer: LineWriter) -> None:
    fetching: dict[str, Any] = {"kind": "progress", "stage": "prepare", "phase": "fetching data"}
    fetching.update(step=0, total=0, fraction=0.0)
    roots = tuple(Path(root) for root in dataset["roots"])
    pin_dataset(
        dataset["uri"],
        DatasetPolicy(roots=roots),
        folder / DATASET_FILE,
        expected_sha256=dataset["sha256"],
        alive=lambda: writer.report(fetching),
    )
    fault("fetch.done")


def _code_of(error: BaseException | None) -> str:
    """What an exception that nobody raised on purpose means for the job."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "insufficient-storage"
        is_torch = isinstance(error, RuntimeError) and (
            type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
        )
        if isinstance(error, MemoryError) or is_torch:
            return "out-of-memory"
        error = error.__cause__
    return "internal"


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that stages have left in a run folder, by path relative to it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in _NOT_RESULTS:
            with path.open("rb") as file:
                found[str(name)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service.stage_process")
    parser.add_argument("--stage", required=True)
    parser.add_argument("--job", required=True)  # tells strays apart in a process list
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--parent", required=True, type=int)
    parser.add_argument("--compression", default="service.compression")
    return parser.parse_args(arguments)


def _take_stdout() -> int:
    """Keep the original stdout for lines, and point fd 1 to stderr: libraries print there."""
    sys.stdout.flush()
    lines = os.dup(1)
    os.dup2(2, 1)
    return lines


def _failed(writer: LineWriter, error: SecateurError) -> int:
    line: dict[str, object] = {
        "kind": "failed",
        "code": error.code,
        "detail": str(error),
        "param": error.param,
    }
    for name in ("limit", "actual", "reachable_ratio"):
        if getattr(error, name, None) is not None:
            line[name] = getattr(error, name)
    if error.code == "internal":
        traceback.print_exc()
    writer.report(line)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
