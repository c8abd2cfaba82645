"""What a job costs that cuts out what is zero, beside the same number of plain steps.

A ResNet-14 of widths 32, 64, 128 on random images of 16 x 16 loses 70 % of its MACs with default
settings (kept widths are multiples of 8, as in every job). Three arms take turns: the whole job
(teacher, searches, evaluations and cuts included) with ``cut_during_training``, the same without,
and as many plain steps of the uncut network under torch's own SGD, on the same batches, the same
loss and remembered outputs of the original::

    python -m benchmarks.cutting --rounds 3 --out benchmarks/results/cutting.json

Processor seconds on one thread, so that what else runs on the machine matters little.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from exporters.training_form import training_form
from graph_analysis.loading import load_model
from graph_analysis.pipeline import USUAL_MULTIPLE, Analysis, AnalysisOptions, analyze
from graph_analysis.testing import BATCH, GraphBuilder
from optimizer.bridge.binding import bind
from optimizer.bridge.module import import_model
from optimizer.config import TrainConfig
from optimizer.trainer import ArrayData, Arrays, Hooks, TrainEvent, train
from optimizer.trainer.losses import as_tuple
from optimizer.trainer.preparing import prepare

WIDTHS, SIZE, CLASSES = (32, 64, 128), 16, 10
NUM_TRAIN, NUM_VALIDATION = 1600, 160
TARGET = 0.3
ARMS = ("plain", "cut", "zeros")


def network() -> onnx.ModelProto:
    """Two residual blocks per width, BatchNormalization everywhere."""
    graph = GraphBuilder("resnet14", seed=1)
    x, width = graph.relu(graph.conv_norm(graph.input((BATCH, 3, SIZE, SIZE)), 3, 32)), 32
    for number, wanted in enumerate(WIDTHS):
        for block in range(2):
            stride = 2 if number and not block else 1
            y = graph.conv(x, width, wanted, stride=stride, bias=False)
            y = graph.relu(graph.batch_norm(y, wanted))
            y = graph.conv_norm(y, wanted, wanted)
            if width != wanted:
                x = graph.conv(x, width, wanted, kernel=1, stride=stride, bias=False)
                x = graph.batch_norm(x, wanted)
            x, width = graph.relu(graph.node("Add", x, y)), wanted
    graph.classify(x, width, classes=CLASSES)
    return graph.build()


def samples(count: int, seed: int) -> Arrays:
    """Noise with a weak sign of the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    x = rng.standard_normal((count, 3, SIZE, SIZE)).astype(np.float32)
    x[np.arange(count), labels % 3, labels % SIZE] += 1
    return Arrays(inputs={"x": x}, labels=labels)


def data() -> ArrayData:
    """What all arms see."""
    return ArrayData(train=samples(NUM_TRAIN, 1), validation=samples(NUM_VALIDATION, 2))


def config(epochs: int, *, cut: bool) -> TrainConfig:
    """Defaults, on the CPU."""
    return TrainConfig(
        target_ratio=TARGET, epochs=epochs, batch_size=32, cut_during_training=cut, device="cpu"
    )


def job(analysis: Analysis, epochs: int, *, cut: bool) -> dict[str, Any]:
    """One whole job."""
    imported = import_model(analysis.maskable())
    binding = bind(analysis, imported)
    events: list[TrainEvent] = []
    ends: list[float] = []
    hooks = Hooks(event=events.append, progress=lambda _: ends.append(time.process_time()))
    start = time.process_time()
    result = train(
        imported,
        data=data(),
        binding=binding,
        config=config(epochs, cut=cut),
        hooks=hooks,
        cutter=partial(training_form, analysis),
    )
    seconds = time.process_time() - start
    steps = np.diff(ends)
    return {
        "seconds": seconds,
        "steps": result.steps,
        "first_step_ms": 1e3 * statistics.median(steps[: max(len(steps) // 25, 2)]),
        "last_step_ms": 1e3 * statistics.median(steps[-len(steps) // 4 :]),
        "remaining": result.history[-1]["remaining"],
        "events": [event.code for event in events],
    }


def plain(analysis: Analysis, epochs: int) -> dict[str, Any]:
    """As many steps of the uncut network, and nothing else."""
    imported = import_model(analysis.maskable())
    setting = prepare(imported, data(), bind(analysis, imported), config(epochs, cut=False))
    module = setting.module.train()
    steps = setting.optimizer.schedule.total
    sgd = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    start = time.process_time()
    for step in range(steps):
        indices = setting.train.indices(step, 0)
        batch = setting.train.at(indices)
        target = setting.teacher.outputs_at(indices, batch)
        loss = setting.objective.loss(as_tuple(module(*batch.inputs)), target, batch.labels)
        sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        sgd.step()
    return {"seconds": time.process_time() - start, "steps": steps}


def summed_up(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, and what they are of."""
    medians = {arm: statistics.median(one["seconds"] for one in found[arm]) for arm in ARMS}
    return {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "target": TARGET,
        "median_seconds": medians,
        "cut_by_plain": medians["cut"] / medians["plain"],
        "zeros_by_plain": medians["zeros"] / medians["plain"],
        "runs": found,
    }


def main() -> int:
    """Run the arms in turn, print, write after each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=TrainConfig(target_ratio=0.5).epochs)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options_of_space = AnalysisOptions(multiple=USUAL_MULTIPLE)
    loaded = load_model(network().SerializeToString())
    analysis = analyze(loaded, options=options_of_space)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for number in range(options.rounds):
        for arm in ARMS[number % 3 :] + ARMS[: number % 3]:
            one = (
                plain(analysis, options.epochs)
                if arm == "plain"
                else job(analysis, options.epochs, cut=arm == "cut")
            )
            found[arm].append(one)
            sys.stdout.write(f"{number} {arm} {json.dumps(one)}\n")
            sys.stdout.flush()
        summary = summed_up(found)
        if options.out:
            options.out.write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(f"a job costs {summary['cut_by_plain']:.2f} of as many plain steps\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
