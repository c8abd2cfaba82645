"""Readers of the data sets of the paper's tables, from one folder as their authors publish them.

numpy alone, but for what a format needs: Pillow for JPEG, scipy for .mat. What JPEG holds is
decoded once and kept beside it, so that another interpreter can do that part::

    python -m benchmarks.paper_data cifar10 --data FOLDER
"""

import argparse
import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class MissingDataError(Exception):
    """A data set is not there, or cannot be read here; says what to fetch and where it goes."""


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and classes int64 (N,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def first(self, count: int | None, seed: int) -> "Split":
        """``count`` images drawn by ``seed``, or all."""
        if count is None or count >= len(self.labels):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self.labels))[:count]
        return Split(self.images[chosen], self.labels[chosen])


Splits = Mapping[str, Split]  # "train" and "test"


def fashion_mnist(folder: Path) -> Splits:
    """Four idx files in ``fashion-mnist/``, packed or not; padded from 28 x 28 to 32 x 32."""
    found = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (
            _idx(folder / "fashion-mnist" / f"{prefix}-{what}-ubyte")
            for what in ("images-idx3", "labels-idx1")
        )
        padded = np.pad(images[:, None], ((0, 0), (0, 0), (2, 2), (2, 2)))
        found[split] = Split(padded, labels.astype(np.int64))
    return found


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    packed = path.with_name(path.name + ".gz")
    if packed.exists():
        data = gzip.decompress(packed.read_bytes())
    elif path.exists():
        data = path.read_bytes()
    else:
        message = f"{path}[.gz] is missing: Fashion-MNIST, Debian package dataset-fashion-mnist"
        raise MissingDataError(message)
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def svhn(folder: Path) -> Splits:
    """``svhn/train_32x32.mat`` and ``svhn/test_32x32.mat``; class 10 is the digit 0."""
    found = {}
    for split in ("train", "test"):
        path = folder / "svhn" / f"{split}_32x32.mat"
        if not path.exists():
            message = f"{path} is missing: SVHN, cropped digits, ufldl.stanford.edu/housenumbers"
            raise MissingDataError(message)
        try:
            from scipy.io import loadmat
        except ImportError as error:
            message = f"reading {path} needs scipy, which this interpreter lacks"
            raise MissingDataError(message) from error
        data = loadmat(path)
        images = np.ascontiguousarray(data["X"].transpose(3, 2, 0, 1))
        found[split] = Split(images, data["y"].ravel().astype(np.int64) % 10)
    return found


def stl10(folder: Path) -> Splits:
    """The labelled part in ``stl10_binary/``; means of 3 x 3, so 32 x 32 (PAPER.md 5, item 10)."""
    found = {}
    for split in ("train", "test"):
        files = [folder / "stl10_binary" / f"{split}_{part}.bin" for part in "Xy"]
        missing = [path for path in files if not path.exists()]
        if missing:
            message = f"{missing[0]} is missing: stl10_binary.tar.gz, unpacked, cs.stanford.edu"
            raise MissingDataError(message)
        columns = np.fromfile(files[0], np.uint8).reshape(-1, 3, 32, 3, 32, 3)  # columns first
        images = columns.mean((3, 5)).round().astype(np.uint8).transpose(0, 1, 3, 2)
        labels = np.fromfile(files[1], np.uint8).astype(np.int64) - 1
        found[split] = Split(np.ascontiguousarray(images), labels)
    return found


_CIFAR_TAR, _CIFAR_DECODED = "cifar10-jpeg.tar.xz", "cifar10.npz"


def cifar10(folder: Path) -> Splits:
    """CIFAR-10 (JPEG): an image folder in a tar, decoded once to ``cifar10.npz`` beside it."""
    decoded, archive = folder / _CIFAR_DECODED, folder / _CIFAR_TAR
    if not decoded.exists():
        if not archive.exists():
            message = f"{archive} is missing: JPEG files as train|test/<class>/<number>.jpg in it"
            raise MissingDataError(message)
        np.savez(decoded, **_decoded(archive))
    with np.load(decoded) as arrays:
        return {s: Split(arrays[f"{s}_x"], arrays[f"{s}_y"]) for s in ("train", "test")}


def _decoded(archive: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        from PIL import Image
    except ImportError as error:
        message = f"decoding {archive} needs Pillow; with an interpreter that has it: "
        message += f"python -m benchmarks.paper_data cifar10 --data {archive.parent}"
        raise MissingDataError(message) from error
    images: dict[str, list[npt.NDArray[np.uint8]]] = {"train": [], "test": []}
    classes: dict[str, list[str]] = {"train": [], "test": []}
    with tarfile.open(archive) as members:
        for member in members:
            file = members.extractfile(member) if member.name.endswith(".jpg") else None
            if file is None:
                continue
            split, name = member.name.split("/")[-3:-1]
            image = Image.open(io.BytesIO(file.read())).convert("RGB")
            images[split].append(np.asarray(image).transpose(2, 0, 1))
            classes[split].append(name)
    names = sorted(set(classes["train"]))
    found: dict[str, npt.NDArray[Any]] = {}
    for split in images:
        found[f"{split}_x"] = np.stack(images[split])
        found[f"{split}_y"] = np.array([names.index(name) for name in classes[split]])
    return found


def div2k(folder: Path) -> Splits:
    """Not read: its targets are images, and the trainer takes classes."""
    message = f"DIV2K ({folder}) has images for targets, and this benchmark trains classifiers only"
    raise MissingDataError(message)


READERS: Mapping[str, tuple[str, Callable[[Path], Splits]]] = {
    "fashion-mnist": ("Fashion-MNIST", fashion_mnist),
    "svhn": ("SVHN", svhn),
    "stl10": ("STL-10 at 32 x 32", stl10),
    "cifar10": ("CIFAR-10 (JPEG)", cifar10),
    "div2k": ("DIV2K", div2k),
}


def main() -> None:
    """Read a data set, which leaves what was decoded beside it."""
    parser = argparse.ArgumentParser(description="Read a data set of the paper's tables.")
    parser.add_argument("name", choices=list(READERS))
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        splits = READERS[arguments.name][1](arguments.data)
    except MissingDataError as error:
        parser.exit(2, f"{error}\n")
    print({split: part.images.shape for split, part in splits.items()})


if __name__ == "__main__":
    main()
