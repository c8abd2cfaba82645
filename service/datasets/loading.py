"""From an address to a data set: pin the bytes in a file of our own, then read that file.

A job's second attempt must train on the same bytes, so the pinned file is kept and its digest
recorded; where the file is gone, what is fetched again has to have the same digest.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from service.datasets.dataset import Dataset, dataset_of
from service.datasets.fetch import Fetched, fetch, nothing
from service.datasets.files import copy_below
from service.datasets.npz import has_end_record, read_npz
from service.datasets.policy import DatasetLimits, DatasetPolicy
from service.datasets.uris import check_uri
from service.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class PinnedDataset:
    """A data set's bytes in a file that nobody else changes.

    Attributes:
        path: The file.
        bytes: Its size.
        sha256: Its digest in hexadecimal.
    """

    path: Path
    bytes: int
    sha256: str


def pin_dataset(
    uri: str,
    policy: DatasetPolicy,
    target: Path,
    *,
    expected_sha256: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    alive: Callable[[], None] = nothing,
) -> PinnedDataset:
    """Bring the bytes behind an address into ``target``, once.

    Args:
        uri: ``file://``, ``http://`` or ``https://`` address.
        policy: Permissions and limits.
        target: File to write. If it exists and has the expected digest, nothing is fetched.
        expected_sha256: Digest recorded by an earlier attempt.
        clock: Monotonic seconds.
        sleep: Waits between tries.
        alive: Called before every try and after every piece of the file.

    Raises:
        DatasetError: The address is refused, fetching fails, or the bytes are others than those of
            the earlier attempt (``dataset-changed``).
    """
    if expected_sha256 is not None and target.is_file():
        found = _digest(target)
        if found.sha256 == expected_sha256:
            return PinnedDataset(path=target, bytes=found.bytes, sha256=found.sha256)
    checked = check_uri(uri, roots=policy.roots, network=policy.network)
    partial = target.with_name(target.name + ".part")
    if checked.scheme == "file":
        limit = policy.limits.file_bytes
        fetched = copy_below(Path(checked.text), policy.roots, partial, limit=limit, alive=alive)
    else:
        fetched = fetch(
            checked,
            partial,
            policy,
            is_complete=has_end_record,
            clock=clock,
            sleep=sleep,
            alive=alive,
        )
    if expected_sha256 not in (None, fetched.sha256):
        partial.unlink()
        message = (
            "the data set is not the one that the first attempt read; submit a new job to train on "
            "the new data"
        )
        raise DatasetError(message, code="dataset-changed", param="dataset")
    partial.replace(target)
    return PinnedDataset(path=target, bytes=fetched.bytes, sha256=fetched.sha256)


def read_dataset(path: Path, limits: DatasetLimits | None = None) -> Dataset:
    """Read a pinned file.

    Raises:
        DatasetError: The file is not a data set, breaks a limit, or its arrays have unknown names.
    """
    arrays = read_npz(path, limits or DatasetLimits())
    return dataset_of(arrays, sha256=_digest(path).sha256)


def load_dataset(uri: str, policy: DatasetPolicy) -> Dataset:
    """Read a data set that need not outlive this process.

    Raises:
        DatasetError: As :func:`pin_dataset` and :func:`read_dataset`.
    """
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        pinned = pin_dataset(uri, policy, Path(folder) / "dataset.npz")
        return read_dataset(pinned.path, policy.limits)


def _digest(path: Path) -> Fetched:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Fetched(bytes=path.stat().st_size, sha256=digest)
