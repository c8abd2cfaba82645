"""Checkpoints: tensors in safetensors, the rest in a JSON manifest with digests, never pickle.

A checkpoint is two files, ``step-N.safetensors`` and ``step-N.json``; it exists once the manifest
does. Both are written to a temporary, synced, renamed, and the folder synced. What is in them is
the trainer's business.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from optimizer.errors import SecateurError

SCHEMA = "secateur/checkpoint/1"
KEPT = 2
_PREFIX = "step-"
_TEMPORARY = ".tmp"


class InsufficientStorageError(SecateurError):
    """The disk is full, and freeing the older checkpoint did not help; the newest one is intact."""

    default_code = "insufficient-storage"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One checkpoint as read or written.

    Attributes:
        step: Steps that were done.
        tensors: Name to tensor, on the CPU.
        values: JSON-compatible values.
        path: The manifest.
        sha256: Digest of the tensor file.
    """

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A checkpoint that is there but cannot be used.

    Attributes:
        path: Its manifest or tensor file.
        code: ``checkpoint-rejected`` (damaged) or ``checkpoint-incompatible`` (of another version
            or another job).
        reason: Why, as a clause.
    """

    path: Path
    code: str
    reason: str


class _UnusableError(Exception):
    def __init__(self, reason: str, *, code: str = "checkpoint-rejected") -> None:
        super().__init__(reason)
        self.code = code


def ignore_fault(name: str) -> None:
    """The failpoint hook that does nothing; tests and ``FAULT`` pass another."""


class CheckpointStore:
    """The checkpoints of one run in one folder; the newest two are kept."""

    def __init__(
        self,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        fault: Callable[[str], None] = ignore_fault,
    ) -> None:
        """Open or create ``folder``; temporaries that a killed process left are removed.

        Args:
            folder: Holds nothing else.
            identity: What a run must share to go on from a checkpoint; JSON-compatible.
            fault: Called at ``ckpt.tmp`` and ``ckpt.rename``.
        """
        self._folder = folder
        self._identity = json.loads(json.dumps(identity))
        self._fault = fault
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(f"*{_TEMPORARY}"):
            left_over.unlink()

    def save(
        self, step: int, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
    ) -> Checkpoint:
        """Write a checkpoint; when this returns it survives a power cut.

        Args:
            step: Steps done so far.
            tensors: On any device; copied.
            values: JSON-compatible; floats come back exactly.

        Raises:
            InsufficientStorageError: The disk is full, also after the older checkpoint was deleted.
        """
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        blob = save({name: tensor.clone() for name, tensor in own.items()})
        digest = hashlib.sha256(blob).hexdigest()
        body = {
            "schema": SCHEMA,
            "identity": self._identity,
            "step": step,
            "tensors": f"{_PREFIX}{step:09d}.safetensors",
            "sha256": digest,
            "values": values,
        }
        text = json.dumps({"body": body, "digest": _digest(body)})
        path = self._folder / f"{_PREFIX}{step:09d}.json"
        try:
            self._write_both(path, blob, text.encode())
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._prune(keep=1)
            self._retry(path, blob, text.encode())
        self._prune(keep=KEPT)
        return Checkpoint(step=step, tensors=own, values=values, path=path, sha256=digest)

    def load_newest(self) -> tuple[Checkpoint | None, tuple[Rejected, ...]]:
        """Read the newest checkpoint that is whole and belongs to this run.

        Returns:
            The checkpoint, or None to start at step 0; and those that had to be passed over.
        """
        rejected: list[Rejected] = []
        for path in self._manifests():
            try:
                return self._read(path), tuple(rejected)
            except _UnusableError as error:
                rejected.append(Rejected(path=path, code=error.code, reason=str(error)))
        return None, tuple(rejected)

    def _manifests(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*.json"), reverse=True)

    def _read(self, path: Path) -> Checkpoint:
        body = _verified_body(path)
        if body.get("schema") != SCHEMA:
            reason = f"it has schema {body.get('schema')!r}, this version reads {SCHEMA!r}"
            raise _UnusableError(reason, code="checkpoint-incompatible")
        if body["identity"] != self._identity:
            reason = "it was made with other settings, another model or other data"
            raise _UnusableError(reason, code="checkpoint-incompatible")
        try:
            blob = (self._folder / body["tensors"]).read_bytes()
        except OSError as error:
            reason = f"its tensor file cannot be read ({error.strerror})"
            raise _UnusableError(reason) from error
        if hashlib.sha256(blob).hexdigest() != body["sha256"]:
            reason = "its tensor file does not match its SHA-256"
            raise _UnusableError(reason)
        try:
            tensors = load(blob)
        except SafetensorError as error:
            reason = f"its tensor file is malformed ({error})"
            raise _UnusableError(reason) from error
        return Checkpoint(
            step=body["step"],
            tensors=tensors,
            values=body["values"],
            path=path,
            sha256=body["sha256"],
        )

    def _write_both(self, path: Path, blob: bytes, text: bytes) -> None:
        self._write(path.with_suffix(".safetensors"), blob)
        self._write(path, text)
        self._fault("ckpt.rename")
        _sync_folder(self._folder)

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + _TEMPORARY)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._fault("ckpt.tmp")
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _retry(self, path: Path, blob: bytes, text: bytes) -> None:
        try:
            self._write_both(path, blob, text)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            message = f"the disk is full: a checkpoint needs {len(blob) + len(text)} bytes; free it"
            raise InsufficientStorageError(message) from error

    def _prune(self, *, keep: int) -> None:
        """Delete all but the newest ``keep`` checkpoints, and tensors without a manifest."""
        manifests = self._manifests()
        for path in manifests[keep:]:
            path.unlink(missing_ok=True)
        stems = {path.stem for path in manifests[:keep]}
        for tensors in self._folder.glob(f"{_PREFIX}*.safetensors"):
            if tensors.stem not in stems:
                tensors.unlink(missing_ok=True)


def _verified_body(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        body, digest = manifest["body"], manifest["digest"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = "its manifest cannot be read"
        raise _UnusableError(reason) from error
    if not isinstance(body, dict) or _digest(body) != digest:
        reason = "its manifest does not match its own digest"
        raise _UnusableError(reason)
    return body


def _digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON; reading and writing it again changes nothing."""
    canonical = json.dumps(json.loads(json.dumps(body)), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
