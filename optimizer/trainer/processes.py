"""What it is to a run to be one of several processes, each with a part of every step's samples.

All processes make the same run: same weights, same decisions, same events. What could differ is
decided by the first one and told to the others (clock, stop, checkpoints); only the first one
writes and reports. ``ALONE`` is the run in one process, where all of this does nothing.

How processes become a group is the business of ``process_group``.
"""

import contextlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.nn.parallel import DistributedDataParallel

from optimizer.bridge.random_draws import Drawing
from optimizer.bridge.synchronising import has_bodies, is_synchronised, synchronise
from optimizer.errors import InputError, SecateurError
from optimizer.trainer.hooks import Hooks
from optimizer.trainer.liveness import nobody_listens

T = TypeVar("T")
# torch 2.12 gave the setting another name, and warns of the old one
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)
_PATIENCE = timedelta(days=7)
_DRAWS = 3  # stream of the seed: what is random in a step, per process
_ODD = 2_654_435_761  # spreads the places of a fingerprint over its bits
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


class ProcessLostError(SecateurError):
    """Another process of the run has ended, or does not answer."""

    default_code = "process-lost"


class DisagreementError(SecateurError):
    """The processes do not make the same run: other data, settings, versions or hardware."""

    default_code = "processes-disagree"


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of a run, seen from one of them.

    All methods but the properties and ``part`` are to be called by all processes in the same order.

    Attributes:
        rank: Number of this one.
        size: How many there are.
        local_rank: Number of this one among those on its machine; which GPU it takes.
        talk: The group for small messages on the CPU; None where there is only one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    talk: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def patient(self) -> "Processes":
        """The same, for messages that may be long in coming; a process that ends is noticed."""
        if self.is_alone:
            return self
        return replace(self, talk=dist.new_group(backend="gloo", timeout=_PATIENCE))

    def device(self, device: torch.device) -> torch.device:
        """The device of this process where the run's is ``device``: a GPU of its own.

        Raises:
            InputError: There are more processes on this machine than GPUs, or the group is one of
                GPUs and the run is not.
        """
        if self.is_alone:
            return device
        if device.type != "cuda":
            if dist.get_backend() == "nccl":
                message = "the process group is one of GPUs (NCCL); make one with gloo for 'cpu'"
                raise InputError(message, param="device")
            return device
        if self.local_rank >= torch.cuda.device_count():
            message = (
                f"process {self.local_rank} of this machine has no GPU: there are "
                f"{torch.cuda.device_count()}; start no more processes than that, or use 'cpu'"
            )
            raise InputError(message, param="device")
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def sizes(self, num_samples: int) -> list[int]:
        """How many of the samples of a step each process takes; they differ by at most one."""
        share, left = divmod(num_samples, self.size)
        return [share + (rank < left) for rank in range(self.size)]

    def part(self, indices: Tensor) -> Tensor:
        """This process' samples of a step, int64 (samples,): a stretch of ``indices``."""
        if self.is_alone:
            return indices
        sizes = self.sizes(len(indices))
        start = sum(sizes[: self.rank])
        return indices[start : start + sizes[self.rank]]

    def own_share(self, items: Sequence[T]) -> Sequence[T]:
        """Every ``size``-th of ``items``, where each can be dealt with by any process."""
        return items[self.rank :: self.size]

    def from_first(self, value: T) -> T:
        """What the first process passed, JSON-compatible; the others' values are not looked at."""
        if self.is_alone:
            return value
        text = json.dumps(value).encode() if self.is_first else b""
        found: T = json.loads(self.bytes_from_first(text))
        return found

    def bytes_from_first(self, content: bytes) -> bytes:
        """The same for bytes of any length."""
        if self.is_alone:
            return content
        length = torch.tensor(len(content), dtype=torch.int64)
        dist.broadcast(length, 0, group=self.talk)
        if self.is_first:
            buffer = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        else:
            buffer = torch.empty(int(length), dtype=torch.uint8)
        if len(buffer):
            dist.broadcast(buffer, 0, group=self.talk)
        return buffer.numpy().tobytes()

    def tensor_from_first(self, tensor: Tensor) -> Tensor:
        """The first process' ``tensor``; on the CPU, of one shape and type in all processes."""
        if self.is_alone:
            return tensor
        held = tensor.clone()
        dist.broadcast(held, 0, group=self.talk)
        return held

    def number_from_first(self, number: float) -> float:
        """The first process' ``number``: a reading of its clock, or whether it is to stop."""
        if self.is_alone:
            return number
        return float(self.tensor_from_first(torch.tensor(number, dtype=torch.float64)))

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes of float64 ``values`` on the CPU; the same bits in all."""
        if self.is_alone:
            return values
        total = values.clone()
        dist.all_reduce(total, group=self.talk)
        return total

    def all(self, flag: bool) -> bool:  # noqa: FBT001 - a statement about each process
        """Whether ``flag`` holds in every process."""
        if self.is_alone:
            return flag
        flags = torch.tensor(int(flag), dtype=torch.int64)
        dist.all_reduce(flags, dist.ReduceOp.MIN, group=self.talk)
        return bool(flags)

    def by_first(self, action: Callable[[], None]) -> None:
        """Let the first process do something; the others wait, and fail if it fails.

        Raises:
            ProcessLostError: In the others, where the action failed.
        """
        failure: Exception | None = None
        if self.is_first:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised below, once the others know
                failure = error
        reason = self.from_first(None if failure is None else str(failure) or repr(failure))
        if failure is not None:
            raise failure
        if reason is not None:
            message = f"process 0 of the run failed: {reason}"
            raise ProcessLostError(message)

    def check_agreement(self, tensors: Sequence[Tensor], what: str) -> None:
        """Compare ``tensors`` between the processes, by 64 bits of each.

        Raises:
            DisagreementError: They are not the same to the last bit; raised in all processes.
        """
        if self.is_alone:
            return
        prints = torch.stack([_fingerprint(tensor) for tensor in tensors]).cpu()
        parts = [torch.empty_like(prints) for _ in range(self.size)]
        dist.all_gather(parts, prints, group=self.talk)
        others = [rank for rank, part in enumerate(parts) if not torch.equal(part, parts[0])]
        if others:
            message = (
                f"processes {others} of the run hold other {what} than process 0; all of them need "
                "the same model, data, settings, versions and kind of device"
            )
            raise DisagreementError(message)

    def hooks(self, hooks: Hooks) -> Hooks:
        """The hooks of this process: it hears of the first one's clock and stop, and is silent."""
        if self.is_alone:
            return hooks

        def clock() -> float:
            return self.number_from_first(hooks.clock() if self.is_first else 0.0)

        def should_stop() -> bool:
            return bool(self.number_from_first(float(self.is_first and hooks.should_stop())))

        heard = replace(hooks, clock=clock, should_stop=should_stop)
        if self.is_first:
            return heard
        return replace(
            heard,
            progress=lambda _: None,
            event=lambda _: None,
            checkpoint=lambda _: None,
            alive=nobody_listens,
        )

    def wrapped(
        self,
        module: fx.GraphModule,
        *,
        sync_batch_norm: bool = True,
        without_gradient: Collection[str] = (),
    ) -> nn.Module:
        """``module`` whose backward pass averages the gradients of all processes.

        Call it again for another module, or where parameters of this one were replaced. Parameters
        and buffers become those of the first process. Only training steps go through it.

        Args:
            module: On the device of this process.
            sync_batch_norm: Whether its normalisations use the samples of all processes.
            without_gradient: Paths of parameters that no step gives a gradient (see
                ``sharing.without_gradient``): nobody may wait for one.
        """
        if self.is_alone:
            return module
        synchronise(module, on=sync_batch_norm)
        depends = has_bodies(module)
        ignored = () if depends else without_gradient
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            module, list(ignored)
        )
        device = next(module.parameters()).device
        more: dict[str, Any] = {_SYNC_BUFFERS: False}
        return DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            find_unused_parameters=depends,
            **more,
        )

    def begin_step(self, module: nn.Module, seed: int, step: int) -> None:
        """Make what is random in a step a function of seed, step and process.

        So no checkpoint needs the generators of all processes. One process alone goes on where its
        generators are.
        """
        if self.is_alone:
            return
        sequence = np.random.SeedSequence((seed, _DRAWS, step, self.rank))
        own, *_ = (int(word) >> 1 for word in sequence.generate_state(1, np.uint64))
        torch.manual_seed(own)
        for number, drawing in enumerate(_seeded(module)):
            for device in {tensor.device for tensor in module.parameters()}:
                drawing.drawn = torch.Generator(device).manual_seed(own ^ number).get_state()

    @torch.no_grad()
    def settle(self, module: nn.Module) -> None:
        """Make running statistics that differ between the processes their mean.

        Nothing to do where all normalisations are synchronised.
        """
        if self.is_alone or is_synchronised(module):
            return
        floats = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        if floats:
            flat = torch.cat([buffer.detach().flatten().double() for buffer in floats])
            dist.all_reduce(flat)
            means = torch.split(flat / self.size, [buffer.numel() for buffer in floats])
            for buffer, mean in zip(floats, means, strict=True):
                buffer.copy_(mean.reshape(buffer.shape))

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Tell in one line what the loss of another process looks like from here.

        Raises:
            ProcessLostError: A message did not get through.
        """
        try:
            yield
        except RuntimeError as error:
            if self.is_alone or not _is_lost_contact(error):
                raise
            message = (
                f"process {self.rank} of {self.size} lost contact to another one, which has ended "
                "or does not answer; its own output says why"
            )
            raise ProcessLostError(message) from error


ALONE = Processes()


def no_sync(module: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Keep the gradients of backward passes to this process, where more of them follow.

    Args:
        module: What ``Processes.wrapped`` returned.
    """
    if isinstance(module, DistributedDataParallel):
        context: contextlib.AbstractContextManager[Any] = module.no_sync()
        return context
    return contextlib.nullcontext()


def _seeded(module: nn.Module) -> list[Drawing]:
    drawings = [inner for inner in module.modules() if isinstance(inner, Drawing)]
    return [drawing for drawing in drawings if drawing.seed is not None]


def _fingerprint(tensor: Tensor) -> Tensor:
    """64 bits of a tensor, int64 (): its bits by place; the order of summation does not matter."""
    flat = tensor.detach().contiguous().flatten()
    words = flat.view(_WORDS[flat.element_size()]).to(torch.int64)
    places = torch.arange(1, len(words) + 1, device=words.device)
    return (words * (places * _ODD + 1)).sum()


def _is_lost_contact(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "timed out"))
