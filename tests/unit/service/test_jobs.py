"""Values of the domain."""

from service.jobs import TERMINAL, JobStatus, new_id


def test_three_states_are_terminal() -> None:
    assert {status for status in JobStatus if status.is_terminal} == TERMINAL
    assert {"succeeded", "failed", "cancelled"} == TERMINAL


def test_ids_are_fresh_and_prefixed() -> None:
    ids = {new_id("job") for _ in range(100)}
    assert len(ids) == 100
    assert all(name.startswith("job_") and len(name) == 30 for name in ids)
