"""Networks that several processes train together, and two processes to do so.

What runs in the processes stands here and not in the tests: they find it by import.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from exporters.training_form import training_form
from graph_analysis import analyze, load_model
from graph_analysis.testing import control_flow
from optimizer.bridge.binding import bind
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.ops.normalization import AlwaysBatchNorm, BatchNorm
from optimizer.h2spg import UnitLayout, UnitSlices
from optimizer.trainer import ArrayData, Arrays, Hooks, Progress, Stopped, TrainConfig, train
from optimizer.trainer.evaluation import ablation_losses
from optimizer.trainer.process_group import current
from optimizer.trainer.processes import no_sync
from optimizer.trainer.sharing import shared_loss
from tests.unit.optimizer.trainer.double_network import NUM_CLASSES, Weights, network

SECONDS = 60.0
ELSEWHERE = Path("/nowhere/that/can/be/written")  # other processes need no folder


@dataclass(frozen=True)
class Outcome:
    """What one process made of a run."""

    weights: Weights
    removed: dict[str, tuple[int, ...]]
    steps: int
    best_step: int
    best_loss: float | None
    restarts: int
    losses: tuple[float, ...]
    events: tuple[str, ...]
    stopped_at: int | None = None


@dataclass(frozen=True)
class Failure:
    """What one process raised, or that it ended or hangs."""

    kind: str
    text: str
    param: str | None = None


def arrays(num_samples: int, *, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, NUM_CLASSES, num_samples)
    images = rng.normal(0, 1, (num_samples, 2, 4, 4)) + labels[:, None, None, None] * 0.5
    return Arrays(inputs={"x": images}, labels=labels)


def config(**settings: Any) -> TrainConfig:
    """20 steps: warm-up 0-3, search 4-7, hybrid 8-11, converged 12-19."""
    plan = {
        "target_ratio": 0.5,
        "epochs": 5,
        "batch_size": 8,
        "lr": 0.02,
        "warm_up_ratio": 0.2,
        "search_ratio": 0.4,
        "periods": 2,
        "checkpoint_steps": 4,
        "checkpoint_seconds": 1e6,
        "device": "cpu",
    }
    return TrainConfig(**{**plan, **settings})


def run(
    settings: dict[str, Any],
    *,
    checkpoints: Path | None = None,
    stop_before: int | None = None,
    act: Callable[[ImportedModule, str, int], None] | None = None,
    tick: float = 0.0,
    cut: bool = False,
    **network_settings: Any,
) -> Outcome:
    """Train; in a process group with the others of it.

    Args:
        settings: Of the configuration.
        checkpoints: Folder for them.
        stop_before: Step at which the run's first process is told to stop.
        act: Called before every step with the network and its number.
        tick: Seconds by which the clock advances whenever the first process reads it; for the
            second one time flies.
        cut: Cut what is zero out of the network while it trains.
        **network_settings: See ``network``.
    """
    loaded = load_model(network(**network_settings).SerializeToString())
    analysis = analyze(loaded)
    imported = import_model(analysis.maskable())
    data = ArrayData(train=arrays(32, seed=1), validation=arrays(20, seed=2))
    events: list[str] = []
    seen: list[Progress] = []
    asked = iter(range(10_000))
    calls, readings = iter(range(10_000)), iter(range(10_000))

    def fault(name: str) -> None:
        if name == "train.step" and act is not None:
            act(imported, name, next(calls))

    def clock() -> float:
        return next(readings) * tick * (1 + 1e3 * rank())

    hooks = Hooks(
        clock=clock,
        progress=seen.append,
        event=lambda event: events.append(event.code),
        should_stop=lambda: next(asked) == stop_before and rank() == 0,
        fault=fault,
    )
    binding = bind(analysis, imported)
    try:
        result = train(
            imported,
            data=data,
            binding=binding,
            config=config(**settings),
            hooks=hooks,
            cutter=partial(training_form, analysis) if cut else None,
            checkpoints=checkpoints if rank() == 0 or checkpoints is None else ELSEWHERE,
        )
    except Stopped as stopped:
        return Outcome({}, {}, 0, 0, None, 0, (), tuple(events), stopped.step)
    return Outcome(
        weights=imported.weights(),
        removed=dict(result.solution.removed),
        steps=result.steps,
        best_step=result.best_step,
        best_loss=result.best_loss,
        restarts=result.restarts,
        losses=tuple(progress.loss for progress in seen),
        events=tuple(events),
    )


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


class Pair:
    """Two processes that do what they are told, in a process group of their own each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._pipes: list[Any] = []
        self._processes: list[Any] = []

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.close()
        self._pipes, self._processes = [], []
        for rank in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def do(self, action: Callable[..., Any], *given: Any, **named: Any) -> list[Any]:
        """Call a function of a module in both; what it returned or raised, by rank."""
        self._count += 1
        if not self._processes or not all(process.is_alive() for process in self._processes):
            self._start()
        meeting = (self._folder / f"meeting{self._count}").as_uri()
        for pipe in self._pipes:
            pipe.send((meeting, action, given, named))
        return [self._answer(rank) for rank in range(2)]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def _answer(self, rank: int) -> Any:
        try:
            if not self._pipes[rank].poll(SECONDS):
                return Failure("hangs", f"process {rank}")
            return self._pipes[rank].recv()
        except EOFError:
            return Failure("ended", f"process {rank}")


@contextmanager
def a_pair(folder: Path) -> Iterator[Pair]:
    pair = Pair(folder)
    try:
        yield pair
    finally:
        pair.close()


def _serve(pipe: Any, rank: int) -> None:
    torch.set_num_threads(1)
    while True:
        meeting, action, given, named = pipe.recv()
        limit = timedelta(seconds=SECONDS / 3)
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=limit)
        dist.barrier()  # or a short action ends before the other process has reached it
        try:
            answer = action(*given, **named)
        except Exception as error:  # noqa: BLE001 - the test that asked judges it
            answer = Failure(type(error).__name__, str(error), getattr(error, "param", None))
        dist.destroy_process_group()
        pipe.send(answer)


def run_then_die(step: int) -> Outcome:
    """A run whose second process ends without a word before ``step``."""

    def die(_imported: ImportedModule, _name: str, number: int) -> None:
        if number == step and dist.get_rank() == 1:
            os._exit(7)

    return run({}, normalised=True, act=die)


def run_with_nan(step: int) -> Outcome:
    """A run in which the second process, once, has a weight that is not a number."""

    def poison(imported: ImportedModule, _name: str, number: int) -> None:
        if number == step and dist.get_rank() == 1:
            with torch.no_grad():
                imported.tensors["head.w"].fill_(float("nan"))

    return run({}, normalised=True, act=poison)


def run_apart(step: int) -> Outcome:
    """A run in which a weight of the second process differs from a step on."""

    def push(imported: ImportedModule, _name: str, number: int) -> None:
        if number == step and dist.get_rank() == 1:
            with torch.no_grad():
                imported.tensors["head.w"][0, 0] += 1e-9

    return run({}, normalised=True, act=push)


def fail_in_first() -> None:
    def fail() -> None:
        message = "no room"
        raise ValueError(message)

    current().by_first(fail)


def silent() -> str:
    """What the first process hears where the second one hangs."""
    talk = dist.new_group(backend="gloo", timeout=timedelta(seconds=1))
    processes = replace(current(), talk=talk)
    with processes.watched():
        if rank() == 1:
            time.sleep(3)
            return "slept"
        processes.number_from_first(1.0)
        processes.all(flag=True)
    return "heard"


def conditional() -> list[np.ndarray]:
    """Gradients of a network of which the two processes run different branches, in two steps."""
    module = import_model(control_flow.if_conv_chains()).module.train()
    replica = current().wrapped(module)
    images = torch.full((2, 3, 8, 8), 1.0 - 2.0 * rank())
    found = []
    for _ in range(2):
        module.zero_grad()
        replica(images).square().sum().backward()
        found.append(_gradient(module))
    return found


def normalised(dtype: torch.dtype, shape: tuple[int, ...], *, always: bool) -> dict[str, float]:
    """Largest differences between a synchronised normalisation and torch's over all samples."""
    generator = torch.Generator().manual_seed(1)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    x = (torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 50).to(dtype)
    channels = shape[1]
    given = {
        name: torch.rand(channels, generator=generator, dtype=torch.float64).to(wide) + 0.5
        for name in ("scale", "bias", "mean", "variance")
    }
    slope = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def results(norm: torch.nn.Module, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        part = x[indices].clone().requires_grad_()
        held = {name: tensor.clone() for name, tensor in given.items()}
        held["scale"].requires_grad_()
        held["bias"].requires_grad_()
        found = norm(part, *held.values())
        y, *statistics = found if isinstance(found, tuple) else (found,)
        (y * slope[indices]).sum().backward()
        grads = {name: held[name].grad for name in ("scale", "bias")}
        grads |= {f"output {number}": tensor for number, tensor in enumerate(statistics)}
        return {**held, "y": y, "x": part.grad, "of scale": grads.pop("scale"),
                "of bias": grads.pop("bias"), **grads}  # fmt: skip

    kind = AlwaysBatchNorm if always else BatchNorm
    everything = torch.arange(shape[0])
    whole = results(kind(1e-5, 0.9).train(), everything)
    norm = kind(1e-5, 0.9).train()
    norm.is_synchronised = True
    sizes = [shape[0] - 2, 2]
    own = everything.split(sizes)[rank()]
    found = results(norm, own)
    for name in ("y", "x"):
        whole[name] = whole[name][own]
    for name in ("of scale", "of bias"):
        dist.all_reduce(found[name])
    return {name: float((found[name] - whole[name]).abs().max()) for name in whole}


def clock_readings() -> list[int]:
    """What the clock says in a process, where the second one is far ahead of the first."""
    ticks = {"now": 0.0}

    def clock() -> float:
        ticks["now"] += 1.0 + 1e6 * rank()
        return ticks["now"]

    heard = current().hooks(Hooks(clock=clock))
    return [round(heard.clock()) for _ in range(3)]


def ablated() -> list[float]:
    """What the loss rises by without each of three units, of which each process tries some."""
    weights = torch.tensor([[1.0], [2.0], [4.0]])
    slices = [UnitSlices(weights, 0, torch.arange(3))]
    layout = UnitLayout(slices, num_units=3, pool_of_unit=torch.zeros(3, dtype=torch.int64))
    rises = ablation_losses(
        layout,
        torch.ones(3, dtype=torch.bool),
        lambda: -float(weights.sum()),
        processes=current(),
    )
    return rises.tolist()


def some_draws() -> list[list[float]]:
    """What is random in two steps."""
    found = []
    for step in range(2):
        current().begin_step(torch.nn.Linear(1, 1), seed=3, step=step)
        found.append(torch.rand(3).tolist())
    return found


def _gradient(module: torch.nn.Module) -> np.ndarray:
    grads = [p.grad for p in module.parameters() if p.grad is not None]
    return torch.cat([grad.flatten() for grad in grads]).numpy().copy()


def _images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank())
    return torch.randn(4, 2, 4, 4, generator=generator, dtype=torch.float64)


def accumulated() -> dict[str, np.ndarray]:
    """Gradients of four samples per process at once, in two passes, and those of one pass alone."""
    module = import_model(network(normalised=False)).module.train()
    replica, images = current().wrapped(module), _images()
    found = {}
    for _ in range(2):
        module.zero_grad()
        with no_sync(replica):
            replica(images[:2]).square().sum().backward()
        found["own"] = _gradient(module)
        replica(images[2:]).square().sum().backward()
        found["in two passes"] = _gradient(module)
    module.zero_grad()
    replica(images).square().sum().backward()
    found["together"] = _gradient(module)
    return found


def wrapped_again() -> np.ndarray:
    """The gradients of a module that was wrapped after another one, with tensors of its own."""
    module = import_model(network(normalised=True)).module.train()
    replica = current().wrapped(module)
    replica(_images()).square().sum().backward()
    for name, parameter in list(module.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        fresh = torch.nn.Parameter(parameter.detach() * 0.5)
        setattr(module.get_submodule(owner), leaf, fresh)
    replica = current().wrapped(module)
    for _ in range(2):
        module.zero_grad()
        replica(_images()).square().sum().backward()
    return _gradient(module)


class _Mean:
    """An objective over a single number: the mean of what it was made of."""

    def loss(self, outputs: Any, _target: Any, _labels: Any) -> torch.Tensor:
        return outputs[0]


def weighted_loss() -> dict[str, float]:
    """Five samples 0..4 in parts of three and two, whose output is their mean times a weight."""
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    own = current().part(torch.arange(5, dtype=torch.float64))
    output = own.mean() * weight
    loss = shared_loss(
        current(), _Mean(), [output], [output], None, num_samples=5, by_samples=False
    )
    loss.backward()
    assert weight.grad is not None
    total = current().summed(weight.grad) / 2 / 2  # averaged; the mean of 0..4 is 2
    return {"loss": loss.item(), "gradient": total.item()}
