"""Does training a folded network with inserted normalisations recover more than without?

A small ResNet is trained with BatchNorm on CIFAR-10 (JPEG), its BatchNorms are folded as exporters
do it, and the file is compressed to 40 % of its MACs with and without them put back; the network
whose file still has its own is the reference. Every accuracy is that of the cut file in ONNX
Runtime on test images that neither training nor search has seen::

    python -m benchmarks.renormalising --archive cifar10-jpeg.tar.xz --cache FOLDER \
        --out benchmarks/results/renormalising.json

Needs Pillow, for decoding. Half an hour on one core; what is in the cache or in the output already
is not done again.
"""

import argparse
import copy
import io
import itertools
import json
import statistics
import tarfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from exporters.measure import accuracy
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import AnalysisOptions, analyze
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.config import TrainConfig
from optimizer.trainer import ArrayData, Arrays, Hooks, train

SIZE, NUM_CLASSES = 24, 10
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 6000, 1000, 10000
PRETRAIN_EPOCHS, EPOCHS, BATCH = 30, 10, 64
TARGET = 0.4
WIDTHS = (16, 32, 64)
SEEDS = (0, 1, 2)
# name -> file, setting, learning rate: the default, and one that suits what has no normalisation
ARMS: Mapping[str, tuple[str, str, float]] = {
    "folded, off": ("folded", "off", 0.05),
    "folded, on": ("folded", "on", 0.05),
    "folded, off, lr 0.02": ("folded", "off", 0.02),
    "own BatchNorm kept": ("kept", "off", 0.05),
    "folded, on, lr 0.02": ("folded", "on", 0.02),
}
# blocks per width -> arms: ResNet-8, and ResNet-14 with those that matter most
DEPTHS = {1: tuple(ARMS), 2: tuple(ARMS)[:3]}


class Block(nn.Module):
    """Two convolutions beside a skip connection."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.has_skip = stride != 1 or num_in != num_out
        if self.has_skip:
            self.skip = nn.Conv2d(num_in, num_out, 1, stride, bias=False)
            self.norm3 = nn.BatchNorm2d(num_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        hidden = torch.relu(self.norm1(self.conv1(x)))
        skipped = self.norm3(self.skip(x)) if self.has_skip else x
        return torch.relu(self.norm2(self.conv2(hidden)) + skipped)


class ResNet(nn.Module):
    """Stem, ``depth`` blocks per width, pooled, classified."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTHS[0])
        sizes, before = [], WIDTHS[0]
        for width in WIDTHS:
            sizes += [(before, width, 1 if width == before else 2)]
            sizes += [(width, width, 1)] * (depth - 1)
            before = width
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.head = nn.Linear(WIDTHS[-1], NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to class scores (N, 10)."""
        x = self.blocks(torch.relu(self.norm1(self.conv1(images))))
        return self.head(x.mean((2, 3)))


def without_norms(network: ResNet) -> ResNet:
    """A copy whose BatchNorms are folded into the convolutions in front of them."""
    network = copy.deepcopy(network).eval()
    for part in network.modules():
        for number, name in enumerate(("conv1", "conv2", "skip"), start=1):
            norm = getattr(part, f"norm{number}", None)
            if norm is not None and hasattr(part, name):
                setattr(part, name, fuse_conv_bn_eval(getattr(part, name), norm))
                setattr(part, f"norm{number}", nn.Identity())
    return network


def exported(network: ResNet) -> onnx.ModelProto:
    """The ONNX file of ``network`` with a free batch; BatchNorms stay nodes where it has any."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.train(),
            (torch.zeros(2, 3, SIZE, SIZE),),
            buffer,
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    for node in model.graph.node:  # as in a file for inference
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            kept = [a for a in node.attribute if a.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return model


def pretrained(arrays: Mapping[str, np.ndarray], depth: int) -> ResNet:
    """A network trained from nothing: SGD, one cosine cycle, flips and shifts."""
    torch.manual_seed(7)
    rng, network = np.random.default_rng(7), ResNet(depth)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    steps = PRETRAIN_EPOCHS * (NUM_TRAIN // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)
    for _ in range(PRETRAIN_EPOCHS):
        for images, labels in shifted(arrays["x_train"], arrays["y_train"], rng):
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def shifted(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches in random order, half of the images mirrored, all shifted by up to 3 pixels."""
    padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (3, 3)))
    order = rng.permutation(len(x))
    for start in range(0, len(x) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        down, right = rng.integers(0, 7, size=(2, len(chosen)))
        images = np.stack(
            [
                padded[image, :, top : top + SIZE, left : left + SIZE]
                for image, top, left in zip(chosen, down, right, strict=True)
            ]
        )
        mirrored = rng.random(len(chosen)) < 0.5
        images[mirrored] = images[mirrored, :, :, ::-1]
        yield torch.from_numpy(images), torch.from_numpy(y[chosen])


def images_of(archive: Path, cache: Path) -> dict[str, np.ndarray]:
    """Splits as float32 (N, 3, 24, 24), the middle of each image, around 0; labels int64."""
    stored = cache / "cifar.npz"
    if not stored.exists():
        np.savez(stored, **decoded(archive))
    with np.load(stored) as whole:
        order = np.random.default_rng(0).permutation(len(whole["x_train"]))
        chosen = {
            "train": order[:NUM_TRAIN],
            "val": order[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION],
            "test": np.random.default_rng(1).permutation(len(whole["x_test"]))[:NUM_TEST],
        }
        arrays = {}
        for split, indices in chosen.items():
            source = "test" if split == "test" else "train"
            edge = (32 - SIZE) // 2
            x = whole[f"x_{source}"][indices, edge : edge + SIZE, edge : edge + SIZE]
            arrays[f"x_{split}"] = (x.transpose(0, 3, 1, 2).astype(np.float32) - 120) / 64
            arrays[f"y_{split}"] = whole[f"y_{source}"][indices].astype(np.int64)
    return arrays


def decoded(archive: Path) -> dict[str, np.ndarray]:
    """All images uint8 (N, 32, 32, 3) and the numbers of their classes, by split."""
    from PIL import Image

    found: dict[str, list[Any]] = {"x_train": [], "y_train": [], "x_test": [], "y_test": []}
    with tarfile.open(archive) as members:
        for member in members:
            if not member.name.endswith(".jpg"):
                continue
            split, name = member.name.split("/")[-3:-1]
            file = members.extractfile(member)
            assert file is not None
            image = Image.open(io.BytesIO(file.read())).convert("RGB")
            found[f"x_{split}"].append(np.asarray(image))
            found[f"y_{split}"].append(name)
    classes = sorted(set(found["y_train"]))
    return {
        name: np.stack(values)
        if name.startswith("x")
        else np.array([classes.index(value) for value in values])
        for name, values in found.items()
    }


def compressed(
    model: onnx.ModelProto, arrays: Mapping[str, np.ndarray], setting: str, lr: float, seed: int
) -> dict[str, Any]:
    """Compress a file and judge what comes out."""
    loaded = load_model(model.SerializeToString())
    analysis = analyze(loaded, options=AnalysisOptions(multiple=4))
    imported = import_model(analysis.maskable())
    said: list[str] = []
    started = time.perf_counter()
    result = train(
        imported,
        data=ArrayData(
            train=Arrays(inputs={"": arrays["x_train"]}, labels=arrays["y_train"]),
            validation=Arrays(inputs={"": arrays["x_val"]}, labels=arrays["y_val"]),
        ),
        binding=bind(analysis, imported),
        config=TrainConfig(
            target_ratio=TARGET,
            epochs=EPOCHS,
            batch_size=BATCH,
            lr=lr,
            seed=seed,
            renormalise=setting,
            device="cpu",
        ),
        hooks=Hooks(event=lambda event: said.append(event.message)),
    )
    own = {tensor.name for tensor in loaded.model.graph.initializer}
    weights = {name: array for name, array in imported.weights().items() if name in own}
    cut = shrink(analysis, result.solution, weights)
    macs = analyze(load_model(cut.SerializeToString())).space.model.macs
    return {
        "seed": seed,
        "accuracy": judged(cut, arrays),
        "macs": macs / analysis.space.model.macs,
        "renormalised": result.renormalised,
        "seconds": round(time.perf_counter() - started, 1),
        "events": said,
    }


def judged(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> float:
    """Share of the test images that a file puts into their class."""
    name = model.graph.input[0].name
    found = accuracy(model, {name: arrays["x_test"]}, arrays["y_test"], threads=1)
    assert found is not None
    return float(found)


def files_of(
    depth: int, arrays: Mapping[str, np.ndarray], cache: Path
) -> dict[str, onnx.ModelProto]:
    """The same trained network as two files: with its BatchNorms, and with them folded away."""
    network, stored = ResNet(depth), cache / f"network-{depth}.npz"
    if stored.exists():
        with np.load(stored) as state:
            network.load_state_dict({name: torch.from_numpy(state[name]) for name in state})
    else:
        network = pretrained(arrays, depth)
        np.savez(stored, **{name: t.numpy() for name, t in network.state_dict().items()})
    files = {"kept": exported(network), "folded": exported(without_norms(network))}
    assert not any(node.op_type == "BatchNormalization" for node in files["folded"].graph.node)
    return files


def main() -> None:
    """Run all arms and write the figures."""
    parser = argparse.ArgumentParser(description="Recovery with and without inserted norms.")
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--depths", type=int, nargs="*", default=list(DEPTHS))
    chosen = parser.parse_args()
    chosen.cache.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    arrays = images_of(chosen.archive, chosen.cache)
    networks: dict[str, Any] = {}
    if chosen.out.exists():
        networks = json.loads(chosen.out.read_text())["networks"]
    for depth in chosen.depths:
        files = files_of(depth, arrays, chosen.cache)
        originals = {name: judged(model, arrays) for name, model in files.items()}
        name = f"ResNet-{6 * depth + 2}"
        runs: dict[str, list[dict[str, Any]]] = networks.get(name, {}).get("runs", {})
        for seed, arm in itertools.product(SEEDS, DEPTHS[depth]):
            file, setting, lr = ARMS[arm]
            if all(run["seed"] != seed for run in runs.setdefault(arm, [])):
                runs[arm].append(compressed(files[file], arrays, setting, lr, seed))
                networks[name] = summary(originals, runs)
                print(depth, arm, runs[arm][-1], flush=True)
                chosen.out.write_text(json.dumps(document(networks), indent=1) + "\n")


def summary(
    originals: Mapping[str, float], runs: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What was found for one network."""
    means = {
        arm: round(statistics.fmean(run["accuracy"] for run in found), 4)
        for arm, found in runs.items()
        if found
    }
    return {"original_accuracy": dict(originals), "mean_accuracy": means, "runs": dict(runs)}


def document(networks: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found, and what it was found with."""
    return {
        "data": f"CIFAR-10 (JPEG), middle {SIZE}x{SIZE}: {NUM_TRAIN} train, {NUM_TEST} test",
        "target_macs": TARGET,
        "epochs": EPOCHS,
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
        "networks": dict(networks),
    }


if __name__ == "__main__":
    main()
