"""Fakes that are part of the product: a store on a throw-away database, a fast compression.

The job engine in memory is ``service.engine.memory_engine``.
"""

from pathlib import Path

import sqlalchemy as sa

from service.database import create_database
from service.engine.memory_engine import MemoryEngine
from service.job_store import JobStore
from service.jobs import JobSpec, ModelReference
from service.run_store import Outcome, RunStore
from service.tables import metadata

__all__ = ["example_spec", "finish_job", "open_store", "temporary_database"]


def temporary_database(folder: Path) -> sa.Engine:
    """An empty database with the product's tables, in a file below ``folder``.

    The caller disposes of it. Durability is switched off: it dies with its folder.
    """
    engine = create_database(f"sqlite:///{folder / 'test.db'}")
    sa.event.listen(engine, "connect", _forget_durability)
    metadata.create_all(engine)
    return engine


def open_store(database: sa.Engine, engine: MemoryEngine | None = None) -> JobStore:
    """A job store over the in-memory job engine."""
    return JobStore(database, engine or MemoryEngine())


def example_spec(**changes: object) -> JobSpec:
    """What a user might ask for."""
    model = ModelReference(name="net.onnx", key="own_a/abc", sha256="abc", bytes=3)
    values = {"model": model, "dataset_uri": "file:///data/set.npz", "target": {"macs": 0.5}}
    return JobSpec(**{**values, **changes})  # type: ignore[arg-type]


def finish_job(database: sa.Engine, job_id: str, outcome: Outcome) -> None:
    """Run a job to its end without a worker."""
    runs = RunStore(database, max_attempts=3)
    begun = runs.begin(job_id, "worker-test")
    assert begun is not None, "the job has not ended"
    runs.finish(job_id, begun.job.fence, outcome)


def _forget_durability(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()
