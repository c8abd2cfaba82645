"""The benchmark of the paper's rows: its readers, its labels, and one small row from end to end."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import paper, paper_data
from benchmarks.paper_data import READERS, MissingDataError, Split
from benchmarks.paper_rows import ROWS
from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.exporting import exported
from graph_analysis import AnalysisOptions, analyze, load_model, solve
from optimizer.config import TrainConfig


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def write_fashion_mnist(folder: Path, count: int) -> dict[str, np.ndarray]:
    """Images with a class each, the first split packed."""
    (folder / "fashion-mnist").mkdir()
    rng, images = np.random.default_rng(0), {}
    for prefix in ("train", "t10k"):
        images[prefix] = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images[prefix]), ("labels-idx1", labels)):
            path = folder / "fashion-mnist" / f"{prefix}-{name}-ubyte"
            if prefix == "train":
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))
    return images


def test_fashion_mnist_is_padded_and_stays_in_order(tmp_path: Path) -> None:
    images = write_fashion_mnist(tmp_path, 20)
    found = paper_data.fashion_mnist(tmp_path)
    assert found["train"].images.shape == (20, 1, 32, 32)
    assert (found["train"].images[:, 0, 2:-2, 2:-2] == images["train"]).all()
    assert not found["test"].images[:, :, :2].any()
    assert found["test"].labels.tolist() == [n % 10 for n in range(20)]


def test_stl10_is_read_column_by_column_and_averaged(tmp_path: Path) -> None:
    (tmp_path / "stl10_binary").mkdir()
    image = np.zeros((3, 96, 96), np.uint8)
    image[1, 0:3, 90:93] = 90  # row 0, column 30 of the small one
    for split in ("train", "test"):
        (tmp_path / "stl10_binary" / f"{split}_X.bin").write_bytes(
            np.ascontiguousarray(image.transpose(0, 2, 1)).tobytes()
        )
        (tmp_path / "stl10_binary" / f"{split}_y.bin").write_bytes(bytes([10]))
    found = paper_data.stl10(tmp_path)["train"]
    assert np.argwhere(found.images).tolist() == [[0, 1, 0, 30]]
    assert found.images[0, 1, 0, 30] == 90
    assert found.labels.tolist() == [9]


def test_svhn_is_read_and_its_class_10_is_0(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    (tmp_path / "svhn").mkdir()
    x = np.zeros((32, 32, 3, 2), np.uint8)
    x[1, 2, 0, 1] = 7
    for split in ("train", "test"):
        scipy_io.savemat(
            tmp_path / "svhn" / f"{split}_32x32.mat", {"X": x, "y": np.array([[10], [3]])}
        )
    found = paper_data.svhn(tmp_path)["test"]
    assert np.argwhere(found.images).tolist() == [[1, 0, 1, 2]]
    assert found.labels.tolist() == [0, 3]


@pytest.mark.parametrize("name", READERS)
def test_missing_data_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError) as caught:
        READERS[name][1](tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["paper", "stacked_unets", "--data", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        paper.main()
    assert caught.value.code == 2
    assert "train_32x32.mat is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_network_and_legal_settings(name: str) -> None:
    row = ROWS[name]
    assert row.network in NETWORKS
    assert row.data in READERS
    config = paper.settings_of(row, paper.Scale(), 0, "cpu")
    assert isinstance(config, TrainConfig)
    assert config.epochs == row.epochs


@pytest.mark.parametrize("name", [n for n, r in ROWS.items() if r.network != "darts_8"])
def test_every_target_can_be_reached_with_what_may_go(name: str) -> None:
    row = ROWS[name]
    network = NETWORKS[row.network]
    loaded = load_model(exported(network.build(), network.image).SerializeToString())
    analysis = analyze(loaded, options=AnalysisOptions(kinds=row.kinds))
    solution = solve(analysis, target_ratio=row.target_ratio, quantity=row.quantity)
    left, whole = (
        (analysis.macs(solution), analysis.space.model.macs)
        if row.quantity == "macs"
        else (analysis.parameters(solution), analysis.space.model.parameters)
    )
    assert left <= row.target_ratio * whole


def test_a_subset_is_drawn_by_the_seed() -> None:
    split = Split(np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2), np.arange(10))
    first, again, other = (split.first(4, seed).labels.tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert split.first(None, 0) is split


def test_a_scaled_row_says_so_and_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fashion_mnist(tmp_path, 60)
    out = tmp_path / "paper.jsonl"
    out.write_text('{"row": "before"}\n')
    network = NETWORKS["demo_supnet"]
    small = type(network)(full=network.small, small=network.small, image=(1, 32, 32))
    monkeypatch.setattr(paper, "NETWORKS", {**NETWORKS, "demo_supnet": small})
    arguments = ["demo_supnet", "--data", str(tmp_path), "--device", "cpu", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["paper", *arguments, "--scale", "48", "6"])
    torch_threads = paper.torch.get_num_threads()
    paper.main()
    before, row = map(json.loads, out.read_text().splitlines())
    assert before == {"row": "before"}
    assert row["label"] == (
        "scaled: 48 images, 6 epochs instead of 100, batches of 16 at a learning rate of 0.025"
    )
    assert row["num_train"] == row["num_test"] == 48
    assert row["threads"] == torch_threads
    assert row["macs"] <= ROWS["demo_supnet"].target_ratio * row["full_macs"]
    assert 0 <= row["top1"] <= 100
    assert row["masked_against_cut"] < 1e-5
    expected = "demo_supnet --data FOLDER --device cpu --scale 48 6"
    assert row["command"] == f"python -m benchmarks.paper {expected}"
    assert "published    84.7" in capsys.readouterr().out


def test_a_stand_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "run_row", lambda *_, **__: {"label": "full"})
    monkeypatch.setattr(paper, "table", lambda _: "")
    rng = np.random.default_rng(0)
    arrays = {f"{s}_x": rng.integers(0, 9, (2, 3, 32, 32)) for s in ("train", "test")}
    labels = {f"{s}_y": np.arange(2) for s in ("train", "test")}
    np.savez(tmp_path / "cifar10.npz", **arrays, **labels)
    out = tmp_path / "out.jsonl"
    arguments = ["stacked_unets", "--data", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["paper", *arguments, "--stand-in", "cifar10"])
    paper.main()
    assert json.loads(out.read_text())["label"] == "full; on CIFAR-10 (JPEG) instead of SVHN"
