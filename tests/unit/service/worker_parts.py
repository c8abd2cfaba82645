"""What the worker's tests share: a data folder with a database, a store, a tiny data set."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from service.engine.memory_engine import MemoryEngine
from service.job_store import JobStore
from service.jobs import JobSpec, ModelReference
from service.run_store import RunStore
from service.settings import Settings
from service.storage import ArtifactStore, content_key, sha256_of
from service.testing import temporary_database

OWNER = "own_a"
FAKE = "service.testing.fake_compression"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything around a job runner, with the job engine in memory."""

    folder: Path
    settings: Settings
    database: sa.Engine
    engine: MemoryEngine
    store: JobStore
    runs: RunStore
    artifacts: ArtifactStore

    def submit(self, **script: object) -> str:
        """A job whose fake compression does what ``script`` says; its id."""
        model = self.folder / "script.json"
        model.write_text(json.dumps(script))
        digest = sha256_of(model)
        file = self.artifacts.put_file(model, content_key(OWNER, digest))
        return self.store.create(OWNER, self.spec(file.key, digest)).job.id

    def spec(self, key: str, sha256: str) -> JobSpec:
        """A job on the tiny data set."""
        return JobSpec(
            model=ModelReference(name="net.onnx", key=key, sha256=sha256, bytes=1),
            dataset_uri=(self.folder / "sets" / "set.npz").as_uri(),
            target={"macs": 0.5},
            recipe={"epochs": 2},
        )

    @property
    def trace(self) -> Path:
        """Where the fake writes the training steps that it executes."""
        return self.folder / "trace"

    def steps(self) -> list[int]:
        """The training steps that were executed, in order."""
        if not self.trace.exists():
            return []
        return [int(line.split()[0]) for line in self.trace.read_text().splitlines()]


def quick_settings(folder: Path, **changes: object) -> Settings:
    """Settings with short pauses, below one folder."""
    values: dict[str, object] = {
        "data_dir": folder / "data",
        "dataset_roots": (folder / "sets",),
        "compression": FAKE,
        "worker_id": "worker-a",
        "poll_interval": 0.1,
        "sweep_interval": 0.1,
        "stop_grace": 2.0,
    }
    return Settings(**{**values, **changes})


def write_dataset(folder: Path) -> None:
    """A data set that nobody looks into."""
    (folder / "sets").mkdir(exist_ok=True)
    np.savez(
        folder / "sets" / "set.npz",
        x_train=np.zeros((4, 2), np.float32),
        y_train=np.zeros(4, np.int64),
    )


@contextmanager
def worker_parts(folder: Path, **changes: object) -> Iterator[Parts]:
    """All parts below ``folder``."""
    settings = quick_settings(folder, **changes)
    write_dataset(folder)
    settings.data_dir.mkdir()
    database = temporary_database(settings.data_dir)
    engine = MemoryEngine()
    try:
        yield Parts(
            folder=folder,
            settings=settings,
            database=database,
            engine=engine,
            store=JobStore(database, engine),
            runs=RunStore(database, max_attempts=settings.max_attempts),
            artifacts=ArtifactStore(settings.store_url),
        )
    finally:
        database.dispose()
