"""The job engine on DBOS Transact; the only module that imports dbos.

1. The API submits, cancels and asks through ``DBOSClient``; only a worker process launches DBOS,
   after it has taken its executor lock: two processes with one executor id run a job twice.
2. The serializer is JSON: the default pickles into the database.
3. The application version is pinned: the default is a hash over the source, and every release
   would strand the queued jobs. It is raised only when the order of the steps changes.
4. ``resume_workflows`` also revives what was cancelled, and without the queue's name a job would
   go to an internal queue outside the one-job limit. Hence the product's own columns decide what
   is resumed, and the name is always passed.
5. What a step returns or raises is final, so outcomes are returned and exceptions are bugs; a step
   that is preempted records nothing and runs again when the job is resumed.
6. A job that was stopped must end by DBOS's own exception, else it would count as completed.
7. Steps are async and preemptible: sync ones cannot be stopped.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from dbos import error as dbos_error

from service.engine.port import EngineStatus, JobWork

_APPLICATION = "secateur"
_VERSION = "wf-1"
_QUEUE = "gpu"
_WORKFLOW = "compress"
# A cancel that comes while a finished step is being recorded is seen as lost ownership.
_STOPPED = (dbos_error.DBOSWorkflowCancelledError, dbos_error.DBOSWorkflowConflictIDError)
_STATUS = {
    "DELAYED": EngineStatus.QUEUED,
    "ENQUEUED": EngineStatus.QUEUED,
    "PENDING": EngineStatus.RUNNING,
    "CANCELLED": EngineStatus.STOPPED,
    "SUCCESS": EngineStatus.ENDED,
    "ERROR": EngineStatus.ENDED,
}


class DbosEngine:
    """The port's methods, on the product's own database.

    Args:
        database: The engine that the product's tables are in; it stays the caller's.
        poll_interval: Seconds between two looks of a worker into the queue.
    """

    def __init__(self, database: sa.Engine, *, poll_interval: float = 0.5) -> None:
        self._database = database
        self._poll_interval = poll_interval
        # Without these two a lost database blocks the request instead of answering 503.
        self._client = DBOSClient(
            system_database_engine=database,
            serializer=DBOSPortableJSONSerializer(),
            application_name=_APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def submit(self, connection: sa.Connection, job_id: str, *, tag: int) -> None:
        """See the port."""
        self._client.enqueue_in_transaction(
            connection,
            {
                "queue_name": _QUEUE,
                "workflow_name": _WORKFLOW,
                "workflow_id": job_id,
                "app_version": _VERSION,
                "priority": tag,
            },
            job_id,
        )

    def cancel(self, job_id: str) -> None:
        """See the port."""
        if self.status(job_id) is not EngineStatus.UNKNOWN:
            self._client.cancel_workflow(job_id)

    def resume(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        if job_ids:
            self._client.resume_workflows(list(job_ids), queue_name=_QUEUE)

    def status(self, job_id: str) -> EngineStatus:
        """See the port."""
        found = self._client.list_workflows(
            workflow_ids=[job_id], load_input=False, load_output=False
        )
        return _STATUS[found[0].status] if found else EngineStatus.UNKNOWN

    def held(self) -> Mapping[str, Sequence[str]]:
        """See the port."""
        pending = self._client.list_workflows(
            status="PENDING", name=_WORKFLOW, load_input=False, load_output=False
        )
        jobs_of: dict[str, list[str]] = {}
        for workflow in pending:
            jobs_of.setdefault(workflow.executor_id or "", []).append(workflow.workflow_id)
        return jobs_of

    def forget(self, job_id: str) -> None:
        """See the port."""
        self._client.delete_workflows([job_id])

    async def run_worker(
        self, executor_id: str, work: JobWork, until: Callable[[], Awaitable[None]]
    ) -> None:
        """See the port. DBOS adopts the running event loop, so jobs run in this thread."""
        config = DBOSConfig(
            name=_APPLICATION,
            system_database_engine=self._database,
            system_database_url=str(self._database.url),
            executor_id=executor_id,
            application_version=_VERSION,
            serializer=DBOSPortableJSONSerializer(),
            run_migrations=False,
            log_level="WARNING",
        )
        DBOS(config=config)
        _use_our_log()
        _register(work)
        DBOS.listen_queues([_QUEUE])
        DBOS.launch()
        await DBOS.register_queue_async(
            _QUEUE, worker_concurrency=1, polling_interval_sec=self._poll_interval
        )
        await until()


def migrate_engine(url: str) -> None:
    """Create or upgrade DBOS's tables; repeating it changes nothing, and no job is taken."""
    DBOS.migrate(url)


def stop_dbos() -> None:
    """Forget the launched DBOS of this process; for tests that run a worker in their own."""
    DBOS.destroy(destroy_registry=True)


def _register(work: JobWork) -> None:
    @DBOS.step(name="stage", preemptible=True)
    async def stage(job_id: str, name: str) -> bool:
        return await work.run_stage(job_id, name)

    @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
    async def compress(job_id: str) -> None:
        try:
            if not await work.begin(job_id):
                return
            for name in work.stages:
                if not await stage(job_id, name):
                    return
        except _STOPPED:
            await work.stopped(job_id)
            raise


_WORDS_OF_CANCELS = (
    "was cancelled during execution",
    "task cancelled for",
    "is no longer owned by this execution",
)


class _NotCancels(logging.Filter):
    """Drop what DBOS says, in part as errors, when a job is cancelled or a worker drains."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, dbos_error.DBOSAwaitedWorkflowCancelledError):
            return False
        text = record.getMessage()
        return not any(words in text for words in _WORDS_OF_CANCELS)


def _use_our_log() -> None:
    """DBOS writes text to a handler of its own; our root logger writes JSON."""
    logger = logging.getLogger("dbos")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.addFilter(_NotCancels())
    logger.propagate = True
