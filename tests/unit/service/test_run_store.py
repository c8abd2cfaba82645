"""The worker's side of the jobs: fence, attempts, and the end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.job_store import JobStore
from service.jobs import TERMINAL, JobStatus, StoredArtifact, Wanted
from service.run_store import FencedError, Outcome, RunStore, Verdict
from service.testing import example_spec

A = "own_a"


@pytest.fixture
def job_id(store: JobStore) -> str:
    return store.create(A, example_spec()).job.id


def test_every_start_has_a_new_fence_and_is_charged(runs: RunStore, job_id: str) -> None:
    starts = [runs.begin(job_id, "worker-a") for _ in range(4)]
    assert all(start is not None for start in starts)
    seen = [(s.job.fence, s.job.attempt, s.verdict) for s in starts if s is not None]
    assert seen == [
        (1, 1, Verdict.RUN),
        (2, 2, Verdict.RUN),
        (3, 3, Verdict.RUN),
        (4, 3, Verdict.GIVE_UP),
    ]


def test_a_start_after_a_hand_back_is_free(runs: RunStore, store: JobStore, job_id: str) -> None:
    for fence in (1, 2, 3, 4, 5):
        begun = runs.begin(job_id, "worker-a")
        assert begun is not None
        assert (begun.job.fence, begun.job.attempt, begun.verdict) == (fence, 1, Verdict.RUN)
        runs.set_stage(job_id, fence, JobStatus.RUNNING)
        runs.hand_back(job_id, fence)
        assert store.get(A, job_id).status is JobStatus.QUEUED


def test_a_zombie_can_write_nothing(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    runs.begin(job_id, "worker-b")
    writes = [
        lambda: runs.set_stage(job_id, 1, JobStatus.RUNNING),
        lambda: runs.record(job_id, 1, [("progress", {"fraction": 0.5})]),
        lambda: runs.finish_stage(job_id, 1, {"prepare": {}}),
        lambda: runs.retry(job_id, 1, "internal"),
        lambda: runs.hand_back(job_id, 1),
        lambda: runs.finish(job_id, 1, Outcome(status=JobStatus.SUCCEEDED)),
    ]
    before = store.get(A, job_id), store.events(A, job_id)
    for write in writes:
        with pytest.raises(FencedError):
            write()
    assert (store.get(A, job_id), store.events(A, job_id)) == before


def test_what_a_stage_reports(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    lines = [
        ("progress", {"fraction": 0.1}),
        ("resumed", {"step": 40}),
        ("checkpoint", {"step": 50}),
        ("progress", {"fraction": 0.2, "stage": "train"}),
    ]
    runs.record(job_id, 1, lines)
    job = store.get(A, job_id)
    assert job.progress == {"fraction": 0.2, "stage": "train"}
    assert job.resumed_from_step == 40
    events = store.events(A, job_id)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert [(event.kind, event.data) for event in events[2:]] == lines


def test_the_status_is_published_once(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    for _ in range(2):
        runs.set_stage(job_id, 1, JobStatus.RUNNING)
    seen = [event.data["status"] for event in store.events(A, job_id)]
    assert seen == ["queued", "preparing", "running"]


def test_finished_stages_are_given_to_the_next_start(runs: RunStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    runs.finish_stage(job_id, 1, {"prepare": {"space.json": "ab"}})
    begun = runs.retry(job_id, 1, "worker-stalled")
    assert begun.stages == {"prepare": {"space.json": "ab"}}
    assert begun.faults == ["worker-stalled"]
    assert (begun.job.fence, begun.job.attempt, begun.verdict) == (2, 2, Verdict.RUN)
    again = runs.retry(job_id, 2, "internal")
    assert again.faults == ["worker-stalled", "internal"]
    assert runs.retry(job_id, 3, "internal").verdict is Verdict.GIVE_UP


def test_the_end_is_recorded_once(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    model = StoredArtifact(name="model", key="k", sha256="s", bytes=1, media_type="a/b")
    outcome = Outcome(status=JobStatus.SUCCEEDED, result={"ratios": {}}, artifacts=[model])
    assert runs.finish(job_id, 1, outcome) is JobStatus.SUCCEEDED
    with pytest.raises(FencedError):
        runs.finish(job_id, 1, Outcome(status=JobStatus.FAILED))
    assert runs.begin(job_id, "worker-b") is None
    job = store.get(A, job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.finished_at is not None
    assert store.artifacts(A, job_id) == [model]


def test_a_failure_says_why(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    error = {"code": "dataset-labels", "detail": "row 3", "param": "y_train"}
    runs.finish(job_id, 1, Outcome(status=JobStatus.FAILED, error=error))
    assert store.get(A, job_id).error == error
    assert store.events(A, job_id)[-1].data == {"status": "failed", "error": error}


def test_a_cancel_wins_over_the_success_that_races_with_it(
    runs: RunStore, store: JobStore, job_id: str
) -> None:
    runs.begin(job_id, "worker-a")
    store.request_cancel(A, job_id)
    model = StoredArtifact(name="model", key="k", sha256="s", bytes=1, media_type="a/b")
    outcome = Outcome(status=JobStatus.SUCCEEDED, result={"x": 1}, artifacts=[model])
    assert (
        store.get(A, job_id).status is JobStatus.CANCELLED
        or runs.finish(job_id, 1, outcome) is JobStatus.CANCELLED
    )
    assert store.get(A, job_id).status is JobStatus.CANCELLED
    assert store.get(A, job_id).result is None


def running(runs: RunStore, store: JobStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    runs.set_stage(job_id, 1, JobStatus.RUNNING)
    store.request_cancel(A, job_id)


def test_a_job_that_is_being_cancelled(runs: RunStore, store: JobStore, job_id: str) -> None:
    running(runs, store, job_id)
    assert runs.wanted(job_id) is Wanted.CANCEL
    assert runs.to_cancel() == [(job_id, "worker-a")]
    assert runs.to_resume([job_id]) == frozenset()
    runs.set_stage(job_id, 1, JobStatus.EXPORTING)
    runs.hand_back(job_id, 1)
    assert store.get(A, job_id).status is JobStatus.CANCELLING
    begun = runs.begin(job_id, "worker-a")
    assert begun is not None
    assert begun.verdict is Verdict.CANCEL


def test_an_abandoned_cancel_is_ended_once(runs: RunStore, store: JobStore, job_id: str) -> None:
    running(runs, store, job_id)
    assert not runs.cancel_abandoned(job_id, "worker-b")
    assert runs.cancel_abandoned(job_id, "worker-a")
    assert not runs.cancel_abandoned(job_id, "worker-a")
    assert store.get(A, job_id).status is JobStatus.CANCELLED
    with pytest.raises(FencedError):
        runs.record(job_id, 1, [("event", {})])


def test_a_job_that_nobody_cancelled_is_not_ended(runs: RunStore, job_id: str) -> None:
    runs.begin(job_id, "worker-a")
    assert not runs.cancel_abandoned(job_id, "worker-a")
    assert runs.wanted(job_id) is Wanted.RUN
    assert runs.wanted("job_gone") is Wanted.CANCEL


def test_which_jobs_are_active(runs: RunStore, store: JobStore, job_id: str) -> None:
    other = store.create(A, example_spec()).job.id
    store.request_cancel(A, other)
    assert runs.active_among([job_id, other, "job_gone"]) == {job_id}
    assert runs.to_resume([job_id, other, "job_gone"]) == {job_id, other}


WRITES = {
    "finish": lambda runs, job, fence: runs.finish(job, fence, Outcome(status=JobStatus.SUCCEEDED)),
    "fail": lambda runs, job, fence: runs.finish(
        job, fence, Outcome(status=JobStatus.FAILED, error={})
    ),
    "hand_back": lambda runs, job, fence: runs.hand_back(job, fence),
    "record": lambda runs, job, fence: runs.record(job, fence, [("event", {})]),
    "stage": lambda runs, job, fence: runs.set_stage(job, fence, JobStatus.RUNNING),
}
STEPS = st.sampled_from(["begin", "begin", "retry", "cancel", *WRITES])


class History:
    """One job, two workers, and what must hold after every step."""

    def __init__(self, runs: RunStore, store: JobStore) -> None:
        self.runs, self.store = runs, store
        self.job_id = store.create(A, example_spec()).job.id
        self.fences = [0, 0]  # the last fence that each worker was given
        self.end: JobStatus | None = None

    def step(self, name: str, worker: int) -> None:
        fence, newest = self.fences[worker], max(self.fences)
        if name == "begin":
            begun = self.runs.begin(self.job_id, f"worker-{worker}")
            assert (begun is None) == (self.end is not None)
            self.fences[worker] = newest if begun is None else begun.job.fence
            assert begun is None or begun.job.fence == newest + 1
        elif name == "cancel":
            if self.end is None:
                self.store.request_cancel(A, self.job_id)
        else:
            self.write(name, worker, is_newest=fence == newest)

    def write(self, name: str, worker: int, *, is_newest: bool) -> None:
        fence = self.fences[worker]
        try:
            if name == "retry":
                self.fences[worker] = self.runs.retry(self.job_id, fence, "internal").job.fence
            else:
                WRITES[name](self.runs, self.job_id, fence)
        except FencedError:
            assert self.end is not None or not is_newest
        else:
            assert is_newest
            assert self.end is None

    def check(self) -> None:
        job = self.store.get(A, self.job_id)
        assert self.end is None or job.status is self.end, "what has ended never changes"
        self.end = job.status if job.status in TERMINAL else None
        assert job.attempt <= 3


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 1)), max_size=25))
def test_any_history_has_one_live_start_and_one_end(
    runs: RunStore, store: JobStore, steps: list[tuple[str, int]]
) -> None:
    history = History(runs, store)
    for name, worker in steps:
        history.step(name, worker)
        history.check()
    seqs = [event.seq for event in store.events(A, history.job_id, limit=1000)]
    assert seqs == list(range(1, len(seqs) + 1))
