"""``secateur compress`` in processes that torchrun started: all of them train, one does the rest.

The first process reads, checks, cuts, proves, writes and prints. The others wait until the job is
prepared, train along in silence, and end as it does.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph_analysis.errors import InputError, SecateurError
from service.compression import Report, RunDirectory, run_stage
from service.recipe import Recipe

if TYPE_CHECKING:
    from optimizer.trainer.processes import Processes

_CHUNK = 64 << 20  # bytes of a file that are sent at once


def is_one_of_many() -> bool:
    """Whether torchrun started this process together with others; loads no torch."""
    return os.environ.get("WORLD_SIZE", "1").strip() not in ("", "0", "1")


def is_helper() -> bool:
    """Whether another one of them writes and prints."""
    return is_one_of_many() and os.environ.get("RANK", "0").strip() != "0"


def train_together(
    prepare: Callable[[], None], run: RunDirectory, recipe: Recipe, *, report: Report
) -> bool:
    """Let the first process prepare the job, and all of them train.

    Args:
        prepare: Fills the first process' run folder with all that training needs.
        run: The run folder; that of other processes is empty, and used only if they cannot see the
            first one's.
        recipe: The job's settings.
        report: Takes the lines of the first process.

    Returns:
        Whether this is the first process, which goes on with the trained weights.

    Raises:
        InputError: The target is a measured time.
        SystemExit: In the other processes, where preparing failed: the first one's exit code.
        SecateurError: As ``prepare`` and the stage ``train``.
    """
    if recipe.target[0] == "latency":  # training would refuse it, when all has been measured
        message = (
            "target_latency is measured, and processes side by side disturb each other's "
            "measurements; use one process, or another target"
        )
        raise InputError(message, param="target_latency")
    from optimizer.trainer.preparing import device_of
    from optimizer.trainer.process_group import from_environment

    on_gpu = device_of(recipe.device).type == "cuda"
    with from_environment(on_gpu=on_gpu) as processes:
        patient = processes.patient()  # reading and checking may take long
        _by_first(patient, prepare)
        seen = _seen_by_all(patient, run)
        told = report if processes.is_first else _ignore
        run_stage("train", seen, recipe, report=told, should_stop=_never)
    return processes.is_first


def _by_first(processes: "Processes", action: Callable[[], None]) -> None:
    """Run ``action`` in the first process; the others end with its exit code where it fails."""
    failure: Exception | None = None
    if processes.is_first:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - raised below, once the others know
            failure = error
    code = 0 if failure is None else _exit_code(failure)
    code = processes.from_first(code)
    if failure is not None:
        raise failure
    if code:
        raise SystemExit(code)


def _exit_code(failure: Exception) -> int:
    """As ``service.cli.main`` would have it."""
    if isinstance(failure, SecateurError):
        return failure.exit_code
    return 2 if isinstance(failure, OSError) else 1


def _seen_by_all(processes: "Processes", own: RunDirectory) -> RunDirectory:
    """The first process' run folder where all see it, else one of this process with copies."""
    first = RunDirectory(Path(processes.from_first(str(own.path))))
    sees = first.baseline.is_file()
    if processes.all(sees):
        return first
    for name in ("model", "dataset", "baseline"):
        source, target = getattr(first, name), getattr(own, name)
        _send(processes, source, target)
    return own


def _send(processes: "Processes", source: Path, target: Path) -> None:
    """Copy a file of the first process to ``target`` in all others."""
    size = processes.from_first(source.stat().st_size if processes.is_first else 0)
    if processes.is_first:
        with source.open("rb") as file:
            for _ in range(0, size, _CHUNK):
                processes.bytes_from_first(file.read(_CHUNK))
        return
    with target.open("wb") as file:
        for _ in range(0, size, _CHUNK):
            file.write(processes.bytes_from_first(b""))


def _ignore(_line: Mapping[str, Any]) -> None:
    """The first process reports."""


def _never() -> bool:
    return False
