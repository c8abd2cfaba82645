"""The serving bundle runs where it was unpacked, with its own client, and gives the same."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters.formats import bundle_files, write_bundle
from exporters.formats.serving import bundle_name
from exporters.sessions import open_session, run
from graph_analysis.errors import InputError
from tests.unit.exporters.formats.networks import convolutions, images, perceptron


def unpacked(model: onnx.ModelProto, folder: Path) -> Path:
    write_bundle(bundle_files(model.SerializeToString(), "net"), "net", folder / "net.zip")
    with zipfile.ZipFile(folder / "net.zip") as archive:
        archive.extractall(folder)
    return folder / "net"


def answers(bundle: Path, arrays: dict[str, np.ndarray], *more: str) -> dict[str, np.ndarray]:
    """What the bundle's client makes of samples, in a process that does not know this product."""
    folder = bundle.parent
    np.savez(folder / "samples.npz", **arrays)
    command = [
        sys.executable,
        "-I",
        bundle / "client.py",
        folder / "samples.npz",
        folder / "out.npz",
    ]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as found:
        return dict(found)


def test_the_client_prepares_samples_as_training_does(tmp_path: Path) -> None:
    model = convolutions()
    pixels = np.random.default_rng(1).integers(0, 255, (70, 3, 12, 12)).astype(np.uint8)
    found = answers(unpacked(model, tmp_path), {"x_test": pixels, "y_test": np.zeros(70)})
    expected = run(open_session(model), {"x": pixels.astype(np.float32)})
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-3)


def test_a_fixed_batch_and_another_split(tmp_path: Path) -> None:
    model = convolutions(batch=4)
    found = answers(unpacked(model, tmp_path), {"x_val": images(10), "x_train": images(3)}, "val")
    (scores,) = found.values()
    assert len(scores) == 10
    last = run(open_session(model), {"x": images(10)[[8, 9, 8, 9]]})
    np.testing.assert_allclose(scores[8:], next(iter(last.values()))[:2], rtol=1e-4, atol=1e-5)


def test_several_inputs_go_by_their_names(tmp_path: Path) -> None:
    model = perceptron()
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((5, 64)) for name in ("x", "y")}  # float64 in the file
    found = answers(unpacked(model, tmp_path), {f"x_test:{n}": v for n, v in feeds.items()})
    expected = run(open_session(model), {n: v.astype(np.float32) for n, v in feeds.items()})
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)


def test_the_model_is_byte_for_byte_and_the_archive_always_the_same(tmp_path: Path) -> None:
    data = convolutions().SerializeToString()
    files = bundle_files(data, "net", reports={"report.json": b"{}"})
    assert files["1/model.onnx"] == data
    assert files["report.json"] == b"{}"
    assert b"report.json" in files["README.txt"]
    assert b"x: FP32 [any, 3, 12, 12]" in files["README.txt"]
    for name in ("a.zip", "b.zip"):
        write_bundle(files, "net", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    files = bundle_files(convolutions().SerializeToString(), "net")
    write_bundle(files, "net", tmp_path / "net")
    assert {
        p.relative_to(tmp_path / "net").as_posix() for p in (tmp_path / "net").rglob("*.*")
    } == {
        "README.txt",
        "client.py",
        "config.pbtxt",
        "1/model.onnx",
    }
    with pytest.raises(InputError, match="is there already"):
        write_bundle(files, "net", tmp_path / "net")
    with pytest.raises(InputError, match="cannot write"):
        write_bundle(files, "net", tmp_path / "missing" / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_names_of_folders() -> None:
    assert bundle_name(Path("a/b c.zip")) == "b-c"
    assert bundle_name(Path("v1.2")) == "v1.2"
    assert bundle_name(Path("...")) == "model"
