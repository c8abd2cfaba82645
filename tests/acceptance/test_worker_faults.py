"""Workers that are killed, doubled, drained and cancelled, on the real job engine."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs import JobStatus
from tests.acceptance.worker_host import WorkerHost, wait, worker_host
from tests.unit.service.worker_parts import OWNER

STEPS = 12
WORKER_PHASES = ["claim", "put.mid", "put.done", "finish.tx"]
STAGE_PHASES = [
    "prepare",
    "fetch.done",
    "train.step",
    "ckpt.tmp",
    "ckpt.rename",
    "export",
    "verify",
]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[WorkerHost]:
    with worker_host(tmp_path) as host:
        yield host


def digest(host: WorkerHost, job_id: str) -> str:
    return host.parts.store.artifact(OWNER, job_id, "model").sha256


def stages_of(job_id: str) -> list[int]:
    """Process ids whose command line names the job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if job_id.encode() in words:
            found.append(int(path.parent.name))
    return found


def test_a_killed_worker_resumes_from_the_last_checkpoint(host: WorkerHost) -> None:
    reference = host.submit(steps=STEPS)
    job_id = host.submit(steps=STEPS, delay=0.1)
    first = host.start()
    wait(lambda: host.job(reference).is_terminal)
    host.wait_for_steps(STEPS + 4)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    wait(lambda: not stages_of(job_id))
    assert host.job(job_id).status is JobStatus.RUNNING
    host.start()
    job = host.wait_for_end(job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert (job.attempt, job.fence) == (2, 2)
    assert job.resumed_from_step is not None
    assert job.resumed_from_step >= 3
    steps = host.parts.steps()[STEPS:]
    assert sorted(set(steps)) == list(range(STEPS))
    assert len(steps) <= STEPS + 1, "at most the step after the last checkpoint is repeated"
    assert digest(host, job_id) == digest(host, reference)


def test_a_peer_takes_over_and_a_twin_is_refused(host: WorkerHost) -> None:
    job_id = host.submit(steps=10_000, delay=0.05)
    first = host.start("worker-a")
    host.wait_for_steps(2)
    assert host.start("worker-a").wait() == 75
    host.start("worker-b")
    first.kill()
    wait(lambda: host.job(job_id).attempt == 2)
    before = len(host.parts.steps())
    host.wait_for_steps(before + 2)
    steps = host.parts.steps()
    assert len(steps) <= len(set(steps)) + 1, "it went on where the first had stopped"
    assert host.parts.engine.held() == {"worker-b": [job_id]}
    host.parts.store.request_cancel(OWNER, job_id)
    assert host.wait_for_end(job_id).status is JobStatus.CANCELLED


def test_a_cancel_leaves_no_process_and_no_file(host: WorkerHost) -> None:
    job_id = host.submit(steps=10_000, delay=0.05)
    host.start()
    host.wait_for_steps(3)
    assert stages_of(job_id)
    assert host.parts.store.request_cancel(OWNER, job_id)[1]
    assert host.wait_for_end(job_id).status is JobStatus.CANCELLED
    assert not stages_of(job_id)
    after = host.submit(steps=1)
    assert host.wait_for_end(after).status is JobStatus.SUCCEEDED, "the worker goes on"


def test_a_drained_worker_hands_back_free_of_charge(host: WorkerHost) -> None:
    job_id = host.submit(steps=STEPS, delay=0.1)
    first = host.start()
    host.wait_for_steps(3)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    job = host.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 1)
    host.start("worker-b")
    job = host.wait_for_end(job_id)
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.attempt == 1
    assert host.parts.steps() == list(range(STEPS))


def killed(host: WorkerHost, phase: str) -> None:
    """Kill at one point of the first attempt; the second must give what any other job gives."""
    disturbed, reference = host.submit(steps=3), host.submit(steps=3)
    worker = host.start(fault=f"{phase}:kill9@1")
    if phase in STAGE_PHASES:
        # Every child has the failpoint; the next attempt shall run without it.
        wait(lambda: host.job(disturbed).attempt >= 2)
        worker.kill()
    assert worker.wait() == -signal.SIGKILL
    host.start()
    job = host.wait_for_end(disturbed)
    assert job.status is JobStatus.SUCCEEDED, job.error
    host.wait_for_end(reference)
    assert digest(host, disturbed) == digest(host, reference)
    seqs = [event.seq for event in host.parts.store.events(OWNER, disturbed, limit=1000)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_kill_between_storing_and_recording(host: WorkerHost) -> None:
    killed(host, "put.done")


@pytest.mark.slow
@pytest.mark.parametrize("phase", [*WORKER_PHASES, *STAGE_PHASES])
def test_a_kill_in_every_phase(host: WorkerHost, phase: str) -> None:
    killed(host, phase)


def test_three_lost_workers_are_enough(host: WorkerHost) -> None:
    job_id = host.submit(steps=3)
    for _ in range(3):
        assert host.start("worker-a", fault="claim:kill9@1").wait() == -signal.SIGKILL
    host.start("worker-a")
    job = host.wait_for_end(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["code"], job.attempt) == ("worker-lost", 3)
