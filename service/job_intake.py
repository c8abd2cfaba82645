"""Where jobs begin and end: an upload becomes one accepted job, or leaves nothing behind.

A submission is checked from cheap to expensive: settings, first bytes, address of the data, the
sandboxed gate; then the file is stored and the job's row written. Files and rows change together
under one lock, because a model that two jobs share must not go while the second is being made.
"""

from service.form_parts import ReceivedForm
from service.gate import Gate
from service.job_requests import draft_job
from service.job_store import JobStore
from service.jobs import Created, IdempotencyClaim
from service.storage import ArtifactStore


def submit_job(
    form: ReceivedForm,
    *,
    owner: str,
    key: str | None,
    store: JobStore,
    artifacts: ArtifactStore,
    gate: Gate,
) -> Created:
    """Check a form and create its job; blocks, so it belongs into a worker thread.

    Args:
        form: All parts; its file is removed by the caller in any case.
        owner: Who sent it.
        key: The Idempotency-Key, if there is one.
        store: Where jobs are.
        artifacts: Where the model goes.
        gate: What checks the model and the address of the data.

    Raises:
        InputError: The request is refused; nothing was stored.
        IdempotencyKeyReusedError: The same key came with another request.
    """
    draft = draft_job(form)
    gate.check_magic(draft.file.first_bytes, draft.file.size)
    gate.check_uri(draft.dataset_uri)
    gate.admit(draft.file.path)
    spec = draft.spec(owner)
    claim = None if key is None else IdempotencyClaim(key=key, body_sha256=draft.digest)
    with artifacts.exclusive:
        known = artifacts.exists(spec.model.key)
        artifacts.adopt_file(draft.file.path, spec.model.key)
        try:
            return store.create(owner, spec, idempotency=claim)
        except BaseException:
            if not known:
                artifacts.delete(spec.model.key)
            raise


def delete_job(owner: str, job_id: str, *, store: JobStore, artifacts: ArtifactStore) -> None:
    """Remove a finished job, and the files that no other job needs.

    Raises:
        NotFoundError: There is no such job.
        ConflictError: It has not finished.
    """
    with artifacts.exclusive:
        for key in store.delete(owner, job_id):
            artifacts.delete(key)
