"""What the command line does in several processes besides training."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service import many_processes
from service.cli import main
from tests.unit.optimizer.trainer.process_runs import Pair, a_pair
from tests.unit.service import together_runs as runs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with a_pair(tmp_path_factory.mktemp("pair")) as started:
        yield started


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [("target", "TargetUnreachableError", 3), ("os", "OSError", 2), ("other", "KeyError", 1)],
)
def test_all_end_with_the_exit_code_of_the_first(
    pair: Pair, kind: str, error: str, code: int
) -> None:
    first, second = pair.do(runs.first_fails, kind)
    assert first.kind == error
    assert second.text == f"exit {code}"


@pytest.mark.parametrize("shared", [True, False])
def test_a_folder_that_others_do_not_see_is_sent(pair: Pair, tmp_path: Path, shared: bool) -> None:
    first, second = pair.do(runs.seen_folder, tmp_path, shared=shared)
    assert first[1] == second[1] == bytes(range(10))
    assert (first[0] == second[0]) is shared


@pytest.mark.parametrize(
    ("size", "rank", "several", "helper"),
    [
        (None, None, False, False),
        ("1", "0", False, False),
        ("", "0", False, False),
        ("2", "0", True, False),
        ("2", "1", True, True),
    ],
)
def test_torchrun_says_who_prints(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: str | None,
    rank: str | None,
    several: bool,
    helper: bool,
) -> None:
    for name, value in (("WORLD_SIZE", size), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert many_processes.is_one_of_many() is several
    assert many_processes.is_helper() is helper
    code = main(["compress", __file__, "--data", __file__, "-o", "out.onnx", "--target-macs", "7"])
    assert code == 2
    assert bool(capsys.readouterr().err) is not helper


def test_a_measured_time_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    files = [__file__, "--data", __file__, "-o", str(tmp_path / "out.onnx")]
    assert main(["compress", *files, "--target-latency", "0.5"]) == 2
    assert "target_latency is measured" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
