"""Work folders of jobs: ``jobs/<id>/run-<fence>``, one per start.

Only the processes of one start write below its folder, so a zombie cannot touch the files of its
successor. A new start takes over what its predecessor has finished: files whose digest is known are
checked and linked, checkpoints are linked as they are (they carry their own digests).
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHECKPOINTS = "checkpoints"
_RUN = re.compile(r"run-(\d+)")
_UNFINISHED = (".tmp", ".part")

StageFiles = Mapping[str, Mapping[str, str]]  # finished stage -> {file it left: SHA-256}


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of one start, and the stages whose files were taken over into it."""

    path: Path
    stages: dict[str, dict[str, str]]


class WorkFolders:
    """All work folders of this host."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, job_id: str, fence: int, stages: StageFiles) -> RunFolder:
        """Make the folder of a start from that of the newest earlier one, and remove the others.

        Args:
            job_id: The job.
            fence: Number of the start.
            stages: The finished stages, in order, and their files.
        """
        home = self._root / job_id
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        earlier = sorted(
            ((number, path) for number, path in _runs(home) if number < fence), reverse=True
        )
        target = home / f"run-{fence}"
        building = home / f"building-{fence}"
        for leftover in (building, target):
            shutil.rmtree(leftover, ignore_errors=True)
        building.mkdir(mode=0o700)
        kept: dict[str, dict[str, str]] = {}
        if earlier:
            kept = _take_over(earlier[0][1], building, stages)
        building.rename(target)
        for _, path in earlier:
            shutil.rmtree(path, ignore_errors=True)
        return RunFolder(path=target, stages=kept)

    def remove(self, job_id: str) -> None:
        """Remove everything of a job; nothing happens if there is nothing."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def jobs(self) -> Sequence[str]:
        """The jobs that have a folder."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if path.is_dir())


def new_files(stages: StageFiles, files: Mapping[str, str]) -> dict[str, str]:
    """What a stage has added or changed, given the files of the stages before it."""
    known: dict[str, str] = {}
    for earlier in stages.values():
        known.update(earlier)
    return {name: digest for name, digest in files.items() if known.get(name) != digest}


def _runs(home: Path) -> list[tuple[int, Path]]:
    found = [(_RUN.fullmatch(path.name), path) for path in home.iterdir()]
    return [(int(match.group(1)), path) for match, path in found if match]


def _take_over(source: Path, target: Path, stages: StageFiles) -> dict[str, dict[str, str]]:
    """Link what is sound; the stages, from the first on, all of whose files are.

    A file that a later stage has changed is expected as that one left it.
    """
    expected: dict[str, str] = {}
    for files in stages.values():
        expected.update(files)
    sound = {name for name, digest in expected.items() if _digest(source / name) == digest}
    kept: dict[str, dict[str, str]] = {}
    for stage, files in stages.items():
        if not sound.issuperset(files):
            break
        kept[stage] = dict(files)
    for files in kept.values():
        for name in files:
            _link(source / name, target / name)
    checkpoints = source / CHECKPOINTS
    for path in sorted(checkpoints.rglob("*")) if checkpoints.is_dir() else ():
        if path.is_file() and not path.name.endswith(_UNFINISHED):
            with suppress(FileNotFoundError):  # a zombie still prunes its old checkpoints
                _link(path, target / path.relative_to(source))
    return kept


def _link(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
