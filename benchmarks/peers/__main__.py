"""Secateur beside Torch-Pruning, one-shot cuts and HESSO's decay, run by run.

    PYTHONPATH=. PEER/bin/python -m benchmarks.peers --folder DATA [--networks ...] [--ratios ...]
    PYTHONPATH=. PEER/bin/python -m benchmarks.peers --table
    PYTHONPATH=. PEER/bin/python -m benchmarks.peers --plot benchmarks/results

``DATA`` holds Fashion-MNIST and ``cifar10-jpeg.tar.xz``; trained networks are kept there. Every run
appends a row to ``benchmarks/results/peers.jsonl``; what has a row is not run again, so the program
can be stopped and started at any time, and several may share the file with different choices.

A method whose name ends in ``+labels`` is trained on the labels alone; all others, ours included,
with the product's mix of labels and distillation from the original network. ``ours:NAME=VALUE``
is ours with other settings: ``ours:periods=8,search_ratio=0.3``. The two ``scratch`` methods begin
with new weights: ours in one run, and what that found, trained anew.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from benchmarks.peers import gradual, one_shot, ours, scratch, torch_pruning_cuts
from benchmarks.peers.data import DATA_SETS, Images, images_of
from benchmarks.peers.networks import NETWORKS, OPTIMIZERS, exported, pretrained
from benchmarks.peers.plot import write_plots
from benchmarks.peers.records import Row, append, key_of, rows_of, table
from benchmarks.peers.training import lesson_of, train_on
from exporters.measure import accuracy, latencies
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from optimizer.config import TrainConfig

RATIOS = (0.25, 0.125, 0.5, 0.0625)  # those that matter most first
SEEDS = (0, 1, 2)
EPOCHS, SCRATCH_EPOCHS, BATCH = 3, 24, 64
PEERS = (*torch_pruning_cuts.METHODS, *one_shot.SALIENCIES, "hesso")
SCRATCH = ("scratch-search", "scratch-found")
METHODS = (
    "ours",
    *PEERS,
    "ours:comparison=relative",
    "ours-channels",
    *(f"{peer}+labels" for peer in PEERS),
    "ours+labels",
    *SCRATCH,
)
RESULTS = Path("benchmarks/results/peers.jsonl")


def config_for(network: str, method: str, ratio: float, seed: int) -> TrainConfig:
    """The settings that all methods share: the product's defaults, in few epochs.

    A method ``ours:NAME=VALUE,...`` changes settings, to try recipes; so may any other.
    """
    from_scratch = method.partition(":")[0] in SCRATCH
    shared = TrainConfig(
        target_ratio=min(ratio, 0.99),
        start="scratch" if from_scratch else "pretrained",
        epochs=SCRATCH_EPOCHS if from_scratch else EPOCHS,
        batch_size=BATCH,
        seed=seed,
        optimizer=OPTIMIZERS[network],
        loss="cross-entropy" if "+labels" in method or from_scratch else "auto",
        device="cpu",
    )
    given = [part.split("=") for part in method.partition(":")[2].split(",") if part]
    changes = {key: _as_value(value, getattr(shared, key)) for key, value in given}
    return replace(shared, **changes)


def _as_value(text: str, like: object) -> float | int | str:
    return text if isinstance(like, str) else int(text) if isinstance(like, int) else float(text)


def _method(name: str) -> str:
    if name.partition(":")[0] not in METHODS:
        message = f"'{name}' is none of {', '.join(METHODS)}, and none with :NAME=VALUE"
        raise argparse.ArgumentTypeError(message)
    return name


def made(
    method: str, network: nn.Module, arrays: Images, config: TrainConfig, num_in: int
) -> onnx.ModelProto:
    """The compressed and trained file of one run."""
    ratio, name = config.target_ratio, method.partition(":")[0].removesuffix("+labels")
    original = exported(network, num_in)
    if name in SCRATCH:
        found = ours.compressed(original, ratio, arrays, config)
        if name == "scratch-search":
            return found
        return scratch.trained(found, lesson_of(network, arrays, config), anew=True)
    if name.startswith("ours"):
        channels_only = name == "ours-channels"
        return ours.compressed(original, ratio, arrays, config, channels_only=channels_only)
    torch.manual_seed(config.seed)
    lesson = lesson_of(network, arrays, config)
    if name == "hesso":
        return gradual.compressed(original, ratio, lesson)
    if name in torch_pruning_cuts.METHODS:
        student = torch_pruning_cuts.cut(network, name, ratio, lesson)
        train_on(student, lesson)
        return exported(student, num_in)
    return scratch.trained(one_shot.cut(original, name, ratio, config.seed), lesson)


def figures(
    model: onnx.ModelProto, original: onnx.ModelProto, arrays: Images
) -> dict[str, float | None]:
    """Accuracy on the test images, MACs and latency beside those of the original."""
    macs = [analyze(load_model(m.SerializeToString())).space.model.macs for m in (model, original)]
    labels: npt.NDArray[Any] = np.asarray(arrays["y_test"])
    shape = {"images": (1, *arrays["x_test"].shape[1:])}
    found = latencies({"cut": model, "whole": original}, rounds=200, shapes=shape)
    return {
        "accuracy": accuracy(model, {"": arrays["x_test"]}, labels),
        "macs": macs[0],
        "macs_ratio": round(macs[0] / macs[1], 5),
        "latency_ms": round(found["cut"].p50_ms, 4),
        "latency_ratio": round(found["cut"].p50_ms / found["whole"].p50_ms, 4),
    }


def run(chosen: Mapping[str, Any], network: nn.Module, arrays: Images) -> Row:
    """One run and its row; a method that fails gets a row that says so."""
    num_in = arrays["x_train"].shape[1]
    config = config_for(chosen["network"], chosen["method"], chosen["ratio"], chosen["seed"])
    original, started = exported(network, num_in), time.process_time()
    try:
        model = original if chosen["method"] == "original" else None
        model = model or made(chosen["method"], network, arrays, config, num_in)
        seconds = time.process_time() - started
        outcome: dict[str, Any] = dict(figures(model, original, arrays))
    except Exception as error:
        seconds = time.process_time() - started
        outcome = {"accuracy": None, "error": f"{type(error).__name__}: {error}"[:300]}
    return {
        **chosen,
        **outcome,
        "seconds": round(seconds, 1),
        "epochs": config.epochs,
        "samples": len(arrays["x_train"]),
        "command": "python -m benchmarks.peers --folder DATA --data {data} --networks {network} "
        "--methods {method} --ratios {ratio} --seeds {seed}".format(**chosen),
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }


def run_all(options: argparse.Namespace) -> None:
    """Every run that has no row yet."""
    for data, name in itertools.product(options.data, options.networks):
        arrays = images_of(data, options.folder)
        network = pretrained(name, data, arrays, options.folder)
        plan = [("original", 1.0, 0)] if "ours" in options.methods else []
        plan += [
            (method, ratio, seed)
            for seed, ratio, method in itertools.product(
                options.seeds, options.ratios, options.methods
            )
        ]
        for method, ratio, seed in plan:
            chosen = {
                "data": data, "network": name, "method": method, "ratio": ratio, "seed": seed,
            }  # fmt: skip
            if key_of(chosen) in {key_of(row) for row in rows_of(options.out)}:
                continue
            row = run(chosen, network, arrays)
            append(options.out, row)
            print({k: row.get(k) for k in (*chosen, "accuracy", "macs_ratio", "seconds", "error")})
            sys.stdout.flush()


def main() -> None:
    """Run, or show what was found."""
    parser = argparse.ArgumentParser(description="Secateur beside its peers.")
    parser.add_argument("--folder", type=Path, help="data sets and trained networks")
    parser.add_argument("--data", nargs="*", default=list(DATA_SETS), choices=DATA_SETS)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS), type=_method)
    parser.add_argument("--ratios", nargs="*", type=float, default=list(RATIOS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the means")
    parser.add_argument("--plot", type=Path, help="write SVG files into this folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        print(table(rows_of(options.out)))
    elif options.plot:
        write_plots(rows_of(options.out), options.plot)
    elif options.folder is None:
        parser.error("--folder is needed to run anything")
    else:
        run_all(options)


if __name__ == "__main__":
    main()
