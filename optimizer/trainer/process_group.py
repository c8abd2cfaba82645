"""Processes that find each other: those that torchrun started, or a group that is there already.

``train`` uses the default group if there is one, whoever made it.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from optimizer.errors import InputError
from optimizer.trainer.processes import ALONE, Processes

TIMEOUT = 600.0  # seconds that a process waits for the others within a step
_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def current() -> Processes:
    """The processes of the default group, if there is one; else this process alone."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return ALONE
    rank = dist.get_rank()
    gpus = max(1, torch.cuda.device_count())
    local_rank = int(os.environ.get("LOCAL_RANK", rank % gpus))
    talk = dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    return Processes(rank=rank, size=dist.get_world_size(), local_rank=local_rank, talk=talk)


@contextlib.contextmanager
def from_environment(*, on_gpu: bool, timeout: float = TIMEOUT) -> Iterator[Processes]:
    """Make a group of the processes that torchrun started, as long as the block lasts.

    Args:
        on_gpu: Whether they are to train on GPUs (NCCL) or on the CPU (gloo).
        timeout: Seconds until a process that does not answer is given up.

    Raises:
        InputError: torchrun's variables are not all there.
    """
    if os.environ.get("WORLD_SIZE", "1").strip() in ("", "0", "1"):
        yield ALONE
        return
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        message = (
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {', '.join(missing)} is not set; start "
            "several processes with torchrun, or unset WORLD_SIZE for one"
        )
        raise InputError(message, param=missing[0])
    if on_gpu and torch.cuda.device_count():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=timeout))
    try:
        processes = current()
        yield processes
        dist.barrier(processes.talk)  # nobody leaves while another still waits for a message
    finally:
        dist.destroy_process_group()
