"""The checkpoints of a run in several processes: written and read by the first one, for all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from optimizer.checkpoint import Checkpoint, CheckpointStore, Rejected, ignore_fault
from optimizer.trainer.processes import Processes


class SharedCheckpoints:
    """A ``CheckpointStore`` of the first process, as all processes see it.

    The folder need not be there for the others; what it holds is sent to them.
    """

    def __init__(
        self,
        folder: Path,
        processes: Processes,
        *,
        identity: Mapping[str, Any],
        fault: Callable[[str], None] = ignore_fault,
    ) -> None:
        """Open or create ``folder`` in the first process.

        Raises:
            DisagreementError: The processes are not of one run.
        """
        self._folder = folder
        self._processes = processes
        self._store: CheckpointStore | None = None
        if processes.is_first:
            self._store = CheckpointStore(folder, identity=identity, fault=fault)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
    ) -> Checkpoint:
        """Write a checkpoint; returns in all processes once it is there.

        Raises:
            InsufficientStorageError: In the first process; in the others ``ProcessLostError``.
        """
        saved = Checkpoint(step=step, tensors=tensors, values=values, path=self._folder, sha256="")

        def write() -> None:
            nonlocal saved
            assert self._store is not None
            saved = self._store.save(step, tensors, values)

        self._processes.by_first(write)
        return saved

    def load_newest(self) -> tuple[Checkpoint | None, tuple[Rejected, ...]]:
        """As ``CheckpointStore.load_newest``; what was passed over is told to the first only."""
        found, rejected = self._store.load_newest() if self._store is not None else (None, ())
        if self._processes.is_alone:
            return found, rejected
        about: dict[str, Any] | None = None
        if found is not None:
            about = {"step": found.step, "values": found.values}
        about = self._processes.from_first(about)
        if about is None:
            return None, rejected
        blob = b"" if found is None else save(dict(found.tensors))
        tensors = load(self._processes.bytes_from_first(blob))
        if found is None:
            found = Checkpoint(tensors=tensors, path=self._folder, sha256="", **about)
        return found, rejected
