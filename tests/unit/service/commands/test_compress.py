"""``secateur compress`` as a user meets it."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.cli import main
from service.commands.compress import dataset_uri
from service.demo import MODEL_PATH
from tests.unit.service.compression.runs import some_digits

QUICK = ("--target-macs", "0.4", "--epochs", "2", "--batch-size", "32")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and a data set; temporary files go into one beside it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.onnx").write_bytes(MODEL_PATH.read_bytes())
    np.savez(work / "data.npz", **some_digits())  # type: ignore[arg-type]
    return work


def compress(folder: Path, *more: str, data: str = "data.npz", output: str = "out.onnx") -> int:
    where = ("--data", str(folder / data), "-o", str(folder / output))
    return main(["compress", str(folder / "model.onnx"), *where, *(more or QUICK)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_behind(folder: Path) -> list[str]:
    """Our own temporary files; libraries make caches of their own."""
    return [name for name in names(folder.parent / "temporary") if "secateur" in name]


def test_model_report_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, *QUICK, "--report", str(folder / "report")) == 0
    out, err = capsys.readouterr()
    assert "MACs" in out
    assert "proof: passed" in out
    assert "train: " in err
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    assert names(folder) == ["data.npz", "model.onnx", "out.onnx", "report"]
    expected = ["proof.json", "report.html", "report.json", "solution.json", "space.json"]
    assert names(folder / "report") == expected
    assert left_behind(folder) == []


def test_further_formats_lie_beside_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(folder, *QUICK, "--exports", "ort,bundle") == 0
    assert f"written {folder / 'out.onnx'} and {folder / 'out.ort'}" in capsys.readouterr().out
    assert names(folder) == ["data.npz", "model.onnx", "out.bundle.zip", "out.onnx", "out.ort"]
    assert left_behind(folder) == []
    assert compress(folder, *QUICK, "--exports", "ort,onnx") == 2
    assert "exports is a list of float16" in capsys.readouterr().err


def test_machines_get_one_json_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, *QUICK, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == str(folder / "out.onnx")
    assert result["ratios"]["macs"] <= 0.4
    assert result["configuration"]["epochs"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--target-macs", "0.001"), 3, "cannot be reached"),
        (("--target-macs", "1.5"), 2, "target_macs"),
        ((), 2, "exactly one of"),
        (("--target-macs", "0.5", "--target-params", "0.5"), 2, "exactly one of"),
        (("--target-macs", "0.5", "--optimizer", "lion"), 2, "sgd, adam, adamw"),
        (("--target-macs", "0.5", "--kinds", "neuron"), 2, "kinds is a list"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    given = arguments or ("--seed", "1")
    assert compress(folder, *given, "--report", str(folder / "report")) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last
    assert names(folder) == ["data.npz", "model.onnx"]
    assert left_behind(folder) == []


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("model.onnx", "choose another output"),
        ("data.npz", "choose another output"),
        ("missing/out.onnx", "does not exist"),
        (".", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], output: str, text: str
) -> None:
    assert compress(folder, output=output) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_a_report_folder_that_is_a_file_is_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(folder, *QUICK, "--report", str(folder / "data.npz")) == 2
    assert "cannot write" in capsys.readouterr().err


def test_missing_data_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(folder, data="other.npz") == 2
    assert "other.npz is no file" in capsys.readouterr().err


def test_a_bad_model_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.onnx").write_bytes(MODEL_PATH.read_bytes()[:1000])
    assert compress(folder) == 2
    assert "ends early" in capsys.readouterr().err
    assert names(folder) == ["data.npz", "model.onnx"]


def test_addresses_stay_and_paths_become_addresses(tmp_path: Path) -> None:
    assert dataset_uri("https://example.org/a.npz") == "https://example.org/a.npz"
    (tmp_path / "a b.npz").touch()
    assert dataset_uri(str(tmp_path / "a b.npz")) == (tmp_path / "a b.npz").as_uri()


def test_the_report_never_overwrites_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--report", str(folder / "report"))
    assert compress(folder, *QUICK, *where, output="report/report.json") == 2
    assert "also a file of the report" in capsys.readouterr().err


def test_a_device_is_no_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(folder / "pipe")
    assert compress(folder, output="pipe") == 2
    assert "no regular file" in capsys.readouterr().err
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    temporary = folder.parent / "temporary"
    where = ("--data", str(folder / "data.npz"), "-o", str(folder / "out.onnx"))
    slow = ("--target-macs", "0.4", "--epochs", "5000", "--batch-size", "32")
    code = "import sys; from service.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "compress", str(folder / "model.onnx"), *where, *slow],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        while not process.stderr.readline().startswith("train: "):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.stderr.close()
        process.wait()
    assert names(folder) == ["data.npz", "model.onnx"]
    assert left_behind(folder) == []


def test_weights_in_another_file_are_taken_along(folder: Path) -> None:
    model = onnx.load(MODEL_PATH)
    (folder / "model.onnx").unlink()
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert compress(folder) == 0
    (folder / "weights.bin").unlink()
    assert compress(folder) == 2
