"""What the tests of ``service.many_processes`` let two processes do."""

import os
from pathlib import Path

import torch.distributed as dist

from graph_analysis.errors import TargetUnreachableError
from optimizer.trainer.process_group import current
from service import many_processes
from service.compression import RunDirectory


def first_fails(kind: str) -> None:
    """Fail in the first process while the other one waits."""

    def fail() -> None:
        if kind == "target":
            message = "cannot be reached"
            raise TargetUnreachableError(message, reachable_ratio=0.5)
        message = "unexpected"
        raise (OSError if kind == "os" else KeyError)(message)

    try:
        many_processes._by_first(current().patient(), fail)
    except SystemExit as end:
        message = f"exit {end.code}"
        raise RuntimeError(message) from end


def seen_folder(folder: Path, *, shared: bool) -> tuple[str, bytes]:
    """The run folder that a process reads from, and what its data set holds.

    Args:
        folder: Empty.
        shared: Whether both see the first one's run folder; else each has a disk of its own.
    """
    rank = dist.get_rank()
    home = folder / str(rank)
    home.mkdir()
    own = RunDirectory(home if shared else Path("run"))
    before = Path.cwd()
    os.chdir(home)
    try:
        own.path.mkdir(exist_ok=True)
        if rank == 0:
            own.model.write_bytes(b"model")
            own.dataset.write_bytes(bytes(range(10)))
            own.baseline.write_bytes(b"")
        dist.barrier()
        many_processes._CHUNK = 4
        seen = many_processes._seen_by_all(current(), own)
        return str(seen.path.absolute()), seen.dataset.read_bytes()
    finally:
        os.chdir(before)
