"""What a training step of the imported module costs beside the native torch module's.

    PYTHONPATH=. PEER/bin/python -m benchmarks.training_step --device cpu --json FILE.json

``PEER`` is an environment with torch, torchvision, onnx, onnxscript and what ``optimizer.bridge``
needs. Every network is exported with its BatchNorms, imported, and trained beside itself on the
same batch: forward, cross-entropy, backward, a step of SGD. The two take turns, and who is first
changes from round to round. On the CPU seconds are processor time on one thread, on a GPU wall
time with a synchronisation at both ends; reported are medians. The losses of the first step must
agree; those of the last are shown.

``--forms`` adds others: ``unfused`` (what exporters split stays split), ``channels_last`` (channels
innermost in memory), ``checkpointed`` (in six parts that are computed twice; with the peak of live
memory of each form).
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.nn import functional

from benchmarks.analysis import machine
from benchmarks.live_memory import LiveMemory
from benchmarks.training_step_networks import CASES, exported, network
from graph_analysis import load_model
from optimizer.bridge.module import import_model

EXPORTERS = ("dynamo", "torchscript")
FORMS: dict[str, Callable[[onnx.ModelProto], nn.Module]] = {
    "imported": lambda model: import_model(model).module,
    "unfused": lambda model: import_model(model, fuse=False).module,
    "channels_last": lambda model: import_model(model).with_channels_last().module,
    "checkpointed": lambda model: import_model(model).checkpointed(parts=6).module,
}
WARM_UP = 2
FIRST_TOLERANCE = 1e-4  # of losses, relative; rounding grows over steps of a BatchNorm network


class Trainer:
    """One module under training on one batch, and what its steps took."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.to(device).train()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=1e-3, momentum=0.9)
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def step(self, x: torch.Tensor, labels: torch.Tensor, clock: Callable[[], float]) -> None:
        """Train once."""
        start = clock()
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.module(x), labels)
        loss.backward()
        self.optimizer.step()
        self.seconds.append(clock() - start)
        self.losses.append(float(loss.detach()))

    @property
    def milliseconds(self) -> float:
        """Median of the steps after the warm-up."""
        return 1e3 * statistics.median(self.seconds[WARM_UP:])


def measured(name: str, exporter: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train all forms of one network in turns."""
    device = torch.device(options.device)
    native = network(name)
    file = exported(copy.deepcopy(native), name, exporter)
    model = load_model(file.SerializeToString()).model
    trainers = {"native": Trainer(native, device)}
    for form in ("imported", *options.forms):
        trainers[form] = Trainer(FORMS[form](model), device)
    torch.manual_seed(1)
    batch = options.batch or CASES[name].batch
    x, labels = CASES[name].example(batch).to(device), torch.randint(0, 10, (batch,), device=device)
    clock = time.process_time if device.type == "cpu" else _synchronised(device)
    order = list(trainers.values())
    for _ in range(WARM_UP + options.rounds):
        for trainer in order:
            trainer.step(x, labels, clock)
        order.reverse()
    row = _row(name, exporter, batch, trainers)
    if "checkpointed" in options.forms:
        for form, trainer in trainers.items():
            with LiveMemory() as live:
                trainer.step(x, labels, clock)
            row[f"{form}_peak_mb"] = round(live.peak / 1e6)
    return row


def _row(name: str, exporter: str, batch: int, trainers: dict[str, Trainer]) -> dict[str, Any]:
    native = trainers["native"]
    row: dict[str, Any] = {"network": name, "exporter": exporter, "batch": batch}
    row["native_ms"] = round(native.milliseconds, 2)
    for form, trainer in trainers.items():
        if trainer is native:
            continue
        apart = [
            abs(ours - theirs) / abs(theirs)
            for ours, theirs in zip(trainer.losses, native.losses, strict=True)
        ]
        if apart[0] > FIRST_TOLERANCE:
            message = f"{name} ({exporter}, {form}): the first loss is {apart[0]:.1e} off"
            raise RuntimeError(message)
        row[f"{form}_ms"] = round(trainer.milliseconds, 2)
        row[f"{form}_ratio"] = round(trainer.milliseconds / native.milliseconds, 3)
        row[f"{form}_loss_difference"] = [float(f"{apart[place]:.1e}") for place in (0, -1)]
    return row


def _synchronised(device: torch.device) -> Callable[[], float]:
    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--exporters", nargs="*", default=list(EXPORTERS), choices=EXPORTERS)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=int, help="default: small ones that suit a CPU")
    parser.add_argument("--forms", nargs="*", default=[], choices=[*FORMS], help="besides imported")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in options.networks:
        for exporter in options.exporters:
            rows.append(measured(name, exporter, options))
            print(json.dumps(rows[-1]), flush=True)
    on_gpu = torch.cuda.is_available() and options.device != "cpu"
    result = {
        "command": "python -m benchmarks.training_step " + " ".join(arguments or sys.argv[1:]),
        "machine": machine() | ({"gpu": torch.cuda.get_device_name()} if on_gpu else {}),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "steps": rows,
    }
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
