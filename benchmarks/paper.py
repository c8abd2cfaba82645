"""Trains a network as a row of the paper's tables does, and puts the figures beside the paper's.

From scratch and in one run, as the paper does it: the exported network's random weights are the
start. Beside it the full network is trained by the same recipe. On a machine with a GPU::

    python -m benchmarks.paper stacked_unets --data FOLDER --device cuda

``--scale IMAGES EPOCHS`` is for a CPU: that many training and test images, that many epochs, and a
label that says so. ``--stand-in`` trains on another data set, which the label says too. Every run
is one line of ``benchmarks/results/paper.jsonl``.
"""

import argparse
import dataclasses
import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.paper_data import READERS, MissingDataError, Splits
from benchmarks.paper_rows import ROWS, Row
from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.checking import largest_difference_of
from benchmarks.zoo.exporting import exported
from exporters.masked import mask
from exporters.measure import accuracy
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
from graph_analysis.solution import Solution
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.config import TrainConfig
from optimizer.trainer import ArrayData, Arrays, Hooks, train
from optimizer.trainer.data import Batches

RESULTS = Path(__file__).parent / "results" / "paper.jsonl"
_CLIP_NORM = 5.0
_RISE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of a row is run; None for all of it.

    Attributes:
        images: Training images, and test images.
        epochs: Passes over them.
    """

    images: int | None = None
    epochs: int | None = None

    def label(self, row: Row, config: TrainConfig) -> str:
        """What stands beside the figures."""
        if self.images is None:
            return "full"
        said = f"scaled: {self.images:,} images, {self.epochs} epochs instead of {row.epochs}"
        return f"{said}, batches of {config.batch_size} at a learning rate of {config.peak_lr:.3g}"


def arrays_of(splits: Splits, scale: Scale, seed: int) -> dict[str, Arrays]:
    """Float images, each channel with mean 0 and deviation 1 over the training images used."""
    parts = {name: split.first(scale.images, seed) for name, split in splits.items()}
    seen = parts["train"].images.astype(np.float32)
    mean, deviation = (f(seen, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return {
        name: Arrays(
            inputs={"": ((part.images - mean) / deviation).astype(np.float32)}, labels=part.labels
        )
        for name, part in parts.items()
    }


def settings_of(row: Row, scale: Scale, seed: int, device: str) -> TrainConfig:
    """The row's recipe as settings of the trainer."""
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    scratch = {"start": "scratch"} if "start" in known else {}
    few = {} if scale.images is None else _for_few(scale.images, row.settings)
    return TrainConfig(
        target_ratio=row.target_ratio,
        quantity=row.quantity,
        epochs=scale.epochs or row.epochs,
        loss="cross-entropy",
        seed=seed,
        device=device,
        **{**row.settings, **few, **scratch},
    )


def _for_few(images: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Smaller batches where there are few images, so that there are steps enough to search in."""
    batch = min(settings["batch_size"], max(16, images // 64))
    return {
        "probe_samples": min(256, max(32, images // 32)),
        "batch_size": batch,
        "lr": settings["lr"] * batch / settings["batch_size"],
    }


def device_of(name: str) -> torch.device:
    """``auto`` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def trained(network: nn.Module, arrays: Arrays, config: TrainConfig) -> nn.Module:
    """The full network by the same recipe: batches, rates, decay and clipping of the trainer.

    SGD with Nesterov momentum; the learning rate rises, then falls by a cosine to 0.
    """
    device = device_of(config.device)
    network = network.to(device).train()
    batches = Batches(arrays, ("images",), config.batch_size)
    steps = config.epochs * batches.per_epoch
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in network.parameters() if p.dim() > 1]},
            {"params": [p for p in network.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=config.peak_lr,
        momentum=config.momentum,
        nesterov=True,
        weight_decay=config.decay,
    )
    for step in range(steps):
        for entry in optimizer.param_groups:
            entry["lr"] = config.peak_lr * _rate(step / steps)
        batch = batches.at(batches.indices(step, config.seed)).to(device)
        loss = _loss(network(batch.inputs[0]), batch.labels, config)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
        optimizer.step()
    return network.cpu().eval()


def _rate(done: float) -> float:
    if done < _RISE:
        return done / _RISE
    return 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE)))


def _loss(scores: Tensor, labels: Tensor | None, config: TrainConfig) -> Tensor:
    assert labels is not None
    return functional.cross_entropy(scores, labels, label_smoothing=config.label_smoothing)


def compressed(
    model: onnx.ModelProto, arrays: Mapping[str, Arrays], row: Row, config: TrainConfig
) -> dict[str, Any]:
    """One training from random weights, the cut file, and its figures."""
    loaded = load_model(model.SerializeToString())
    analysis = analyze(loaded, options=AnalysisOptions(kinds=row.kinds))
    imported = import_model(analysis.maskable())
    said: list[str] = []
    started = time.perf_counter()
    result = train(
        imported,
        data=ArrayData(train=arrays["train"]),
        binding=bind(analysis, imported),
        config=config,
        hooks=Hooks(event=lambda event: said.append(event.message)),
    )
    seconds = time.perf_counter() - started
    own = {tensor.name for tensor in loaded.model.graph.initializer}
    weights = {name: array for name, array in imported.weights().items() if name in own}
    cut = shrink(analysis, result.solution, weights)
    return {
        "top1": judged(cut, arrays["test"]),
        **counts(analysis, result.solution, ""),
        **counts(analysis, Solution.of(analysis.space, {}), "full_"),
        "seconds": round(seconds, 1),
        "steps": result.steps,
        "erased": sorted(key for key in result.solution.removed if key.startswith("operator:")),
        "masked_against_cut": largest_difference_of(
            analysis, mask(analysis, result.solution, weights), cut
        ),
        "events": said,
    }


def counts(analysis: Analysis, solution: Solution, prefix: str) -> dict[str, float]:
    """Million MACs and parameters of what a solution leaves."""
    return {
        f"{prefix}macs": round(analysis.macs(solution) / 1e6, 2),
        f"{prefix}parameters": round(analysis.parameters(solution) / 1e6, 4),
    }


def judged(model: onnx.ModelProto, test: Arrays) -> float:
    """Percent of the test images that a file puts into their class, in ONNX Runtime."""
    labels: npt.NDArray[Any] | None = test.labels
    assert labels is not None
    return round(100 * accuracy(model, test.inputs, labels, threads=torch.get_num_threads()), 2)


def run_row(
    name: str,
    splits: Splits,
    *,
    scale: Scale,
    seed: int,
    device: str,
    is_small: bool = False,
    with_full: bool = True,
) -> dict[str, Any]:
    """All figures of one row: ours, the full network's, the published ones."""
    row = ROWS[name]
    network = NETWORKS[row.network]
    arrays = arrays_of(splits, scale, seed)
    config = settings_of(row, scale, seed, device)
    built = network.build(is_small=is_small, seed=seed)
    found = compressed(exported(built, network.image), arrays, row, config)
    if with_full:
        started = time.perf_counter()
        full = trained(built, arrays["train"], config)
        found["full_seconds"] = round(time.perf_counter() - started, 1)
        found["full_top1"] = judged(exported(full, network.image), arrays["test"])
    return {
        "row": name,
        "section": row.section,
        "label": scale.label(row, config),
        "recipe": row.recipe,
        "target": {"ratio": row.target_ratio, "quantity": row.quantity},
        "kinds": sorted(kind.value for kind in row.kinds),
        "seed": seed,
        "device": described(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "num_train": arrays["train"].num_samples,
        "num_test": arrays["test"].num_samples,
        **found,
        "published": dict(row.published),
    }


def described(device: str) -> str:
    """The device in words."""
    found = device_of(device)
    return torch.cuda.get_device_name(found) if found.type == "cuda" else platform.machine()


def table(found: Mapping[str, Any]) -> str:
    """Our figures beside the published ones."""
    lines = [f"{found['row']} (PAPER.md {found['section']}), {found['label']}"]
    published = found["published"]
    for key in ("full_top1", "full_macs", "full_parameters", "top1", "macs", "parameters"):
        ours, theirs = found.get(key, "-"), published.get(key, "-")
        lines.append(f"  {key:16} ours {ours!s:>9}   published {theirs!s:>7}")
    lines.append(f"  masked against cut {found['masked_against_cut']:.2g}, {found['seconds']} s")
    return "\n".join(lines)


def main() -> None:
    """Run rows and append them to the results."""
    parser = argparse.ArgumentParser(description="Rows of the paper's tables, trained here.")
    parser.add_argument("rows", nargs="+", choices=list(ROWS))
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--scale", type=int, nargs=2, metavar=("IMAGES", "EPOCHS"))
    parser.add_argument("--stand-in", choices=list(READERS), help="another data set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-full", action="store_true", help="train ours alone")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    scale = Scale(images=arguments.scale[0], epochs=arguments.scale[1]) if arguments.scale else None
    for name in arguments.rows:
        source = arguments.stand_in or ROWS[name].data
        title, read = READERS[source]
        try:
            splits = read(arguments.data)
        except MissingDataError as error:
            parser.exit(2, f"{name}: {error}\n")
        found = run_row(
            name,
            splits,
            scale=scale or Scale(),
            seed=arguments.seed,
            device=arguments.device,
            with_full=not arguments.without_full,
        )
        if source != ROWS[name].data:
            found["label"] += f"; on {title} instead of {READERS[ROWS[name].data][0]}"
        found = {**found, "data": title, "command": f"python -m benchmarks.paper {_given()}"}
        print(table(found), flush=True)
        with arguments.out.open("a") as lines:
            lines.write(json.dumps(found) + "\n")


def _given() -> str:
    """The arguments as typed, without places of this machine."""
    given = sys.argv[1:]
    if "--data" in given:
        given[given.index("--data") + 1] = "FOLDER"
    if "--out" in given:
        del given[given.index("--out") : given.index("--out") + 2]
    return shlex.join(given)


if __name__ == "__main__":
    main()
