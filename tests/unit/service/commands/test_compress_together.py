"""``torchrun -m service.cli compress``: two processes train one network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.demo import MODEL_PATH
from tests.unit.service.compression.runs import some_digits

ROOT = Path(__file__).parents[4]
QUICK = ("--target-macs", "0.4", "--epochs", "2", "--batch-size", "32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(MODEL_PATH.read_bytes())
    np.savez(tmp_path / "data.npz", **some_digits())  # type: ignore[arg-type]
    return tmp_path


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in two processes, on a free port."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    command = ("--nproc-per-node", "2", "-m", "service.cli", "compress", "model.onnx")
    where = ("--data", "data.npz", "-o", "out.onnx")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["TMPDIR"] = str(folder)
    return subprocess.run(
        [*launcher, *command, *where, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_two_processes_compress_a_model(folder: Path) -> None:
    done = torchrun(folder, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()  # one process prints
    result = json.loads(line)
    assert result["ratios"]["macs"] <= 0.4
    assert result["training_summary"]["processes"] == 2
    shown = [line for line in done.stderr.splitlines() if line.startswith(("train:", "verify:"))]
    assert any(line.startswith("train: converged") for line in shown)
    assert len(shown) == len(set(shown))  # one process tells
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    assert not list(folder.glob("secateur-*"))
