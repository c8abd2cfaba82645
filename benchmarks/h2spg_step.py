"""What a step of H2SPG costs beside torch's own foreach optimizer, phase by phase.

    OMP_NUM_THREADS=1 python -m benchmarks.h2spg_step --out benchmarks/results/h2spg_step.json

ResNet-18 in torch with its 2,880 channel units, half of them chosen where a phase has chosen units;
``--model FILE.onnx`` measures an imported file with all its units instead, blocks among them. For
every phase two copies of the network take turns, one with torch's optimizer and one with H2SPG, and
who is first changes from round to round: the steps of the optimizers alone on fixed gradients, then
whole training steps (forward, cross-entropy, backward, step) on small and on large images. Times
are processor seconds on one thread, ratios those of medians. Forward and backward are the same on
both sides, so that their median is taken over both: their noise is larger than what is measured.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.analysis import machine
from benchmarks.resnet18 import ResNet18
from optimizer.h2spg import H2SPG, Schedule, UnitLayout

FOREVER = 1_000_000
INPUTS = {"32x32, batch 128": (128, 3, 32, 32), "224x224, batch 8": (8, 3, 224, 224)}
PLAIN: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 1e-2}),
}
_WARM_UP = Schedule((FOREVER, 2 * FOREVER), 2 * FOREVER)
_CHOSEN = Schedule((1, FOREVER), FOREVER)
PHASES: dict[str, dict[str, Any]] = {
    **{
        f"warm-up, {saliency}": {"schedule": _WARM_UP, "saliency": saliency}
        for saliency in (
            *("magnitude", "taylor", "fisher-diagonal", "cosine", "paper", "hesso"),
            "magnitude+taylor",
        )
    },
    "warm-up, magnitude in every 4th step": {"schedule": _WARM_UP, "measure_every": 4},
    "search: shrinking and measuring": {
        "schedule": Schedule((1, FOREVER, FOREVER + 2), 2 * FOREVER)
    },
    "hybrid: shrinking": {"schedule": _CHOSEN},
    "converged: zeroed": {"schedule": Schedule((1, 3), FOREVER)},
    "paper, penalty": {"schedule": _CHOSEN, "mode": "paper", "projection_start": FOREVER},
    "paper, penalty and half-space step": {"schedule": _CHOSEN, "mode": "paper"},
}


class Subject:
    """A copy of the network with an optimizer, and the seconds that its steps took."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Bind the two and give every parameter a gradient."""
        self.module, self.optimizer = module, optimizer
        self.seconds: list[float] = []
        self.before: list[float] = []  # forward and backward
        torch.manual_seed(1)
        self.gradients = [1e-3 * torch.randn_like(p) for p in module.parameters()]
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def step_alone(self) -> None:
        """Step along fixed gradients: an update may write into those that it is given."""
        for parameter, gradient in zip(self.module.parameters(), self.gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient)
        start = time.process_time()
        self.optimizer.step()
        self.seconds.append(time.process_time() - start)

    def train(self, x: Tensor, labels: Tensor) -> None:
        """Make a whole training step."""
        start = time.process_time()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.module(x), labels).backward()
        self.before.append(time.process_time() - start)
        start = time.process_time()
        self.optimizer.step()
        self.seconds.append(time.process_time() - start)


def every_other(*seen: Any) -> Tensor:
    """Choose every second unit, at the first decision; the ``choose`` of H2SPG."""
    return torch.arange(len(seen[0])) % 2 == 0


def network(options: argparse.Namespace) -> tuple[nn.Module, UnitLayout]:
    """The network and its units; the same weights in every call."""
    torch.manual_seed(0)
    if options.model is None:
        plain = ResNet18()
        return plain, plain.layout()
    from graph_analysis import analyze, load_model
    from optimizer.bridge.binding import bind
    from optimizer.bridge.module import import_model

    analysis = analyze(load_model(options.model))
    imported = import_model(analysis.maskable())
    return imported.module.train(), bind(analysis, imported).layout()


def pair(options: argparse.Namespace, variant: str, settings: dict[str, Any]) -> list[Subject]:
    """Both sides, past the first steps, in which state is made and units are chosen."""
    kind, own = PLAIN[variant]
    module, units = network(options)
    theirs = copy.deepcopy(module)
    plain = kind(theirs.parameters(), lr=1e-6, foreach=True, **own)  # type: ignore[call-arg]
    ours = H2SPG(
        module.parameters(), units, choose=every_other, variant=variant, lr=1e-6, **own, **settings
    )
    subjects = [Subject(theirs, plain), Subject(module, ours)]
    for _ in range(4):
        for subject in subjects:
            subject.step_alone()
    return subjects


def take_turns(subjects: list[Subject], step: Callable[[Subject], None], rounds: int) -> None:
    """Step both sides; the first steps do not count."""
    order = list(subjects)
    for subject in order:
        step(subject)
        subject.seconds.clear()
        subject.before.clear()
    for _ in range(rounds):
        for subject in order:
            step(subject)
        order.reverse()


def milliseconds(seconds: list[float]) -> float:
    """The median."""
    return 1e3 * statistics.median(seconds)


def measured(options: argparse.Namespace, variant: str, phase: str) -> dict[str, Any]:
    """One row of the table."""
    subjects = pair(options, variant, PHASES[phase])
    take_turns(subjects, Subject.step_alone, options.rounds)
    plain, ours = (milliseconds(subject.seconds) for subject in subjects)
    row: dict[str, Any] = {"optimizer": variant, "phase": phase}
    row |= {"plain_ms": round(plain, 2), "ours_ms": round(ours, 2)}
    row["step_ratio"] = round(ours / plain, 3)
    for (name, shape), rounds in zip(INPUTS.items(), options.whole_rounds, strict=True):
        if rounds:
            x, labels = torch.randn(shape), torch.randint(0, 10, shape[:1])
            take_turns(subjects, partial(Subject.train, x=x, labels=labels), rounds)
            rest = milliseconds([*subjects[0].before, *subjects[1].before])
            plain, ours = (rest + milliseconds(subject.seconds) for subject in subjects)
            row[f"{name}: ms"] = round(plain, 1)
            row[f"{name}: ratio"] = round(ours / plain, 3)
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an ONNX file instead of ResNet-18 in torch")
    parser.add_argument("--variants", nargs="*", default=list(PLAIN), choices=list(PLAIN))
    parser.add_argument("--phases", nargs="*", default=list(PHASES), choices=list(PHASES))
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--whole-rounds", type=int, nargs=2, default=[9, 9], help="of each input")
    parser.add_argument("--out", type=Path, help="a run is added to those that are there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result = {
        "command": "python -m benchmarks.h2spg_step " + " ".join(arguments or sys.argv[1:]),
        "machine": machine(),
        "torch": torch.__version__,
        "units": network(options)[1].num_units,
        "rows": [],
    }
    earlier = []
    if options.out is not None and options.out.exists():
        earlier = json.loads(options.out.read_text())["runs"]
    for variant in options.variants:
        for phase in options.phases:
            result["rows"].append(measured(options, variant, phase))
            print(json.dumps(result["rows"][-1]), flush=True)
            if options.out is not None:
                options.out.write_text(json.dumps({"runs": [*earlier, result]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
