"""Cuts what is zero out of the network while it trains, so that the rest of the run is faster.

After each arrival the surgeon is asked for the model without the units that are exactly 0; the
module, the units and the optimizer's state then shrink together, in place (``bridge.shrinking``).
Nothing changes but the time a step takes: that is tried on a batch, in both forms of the module,
before training goes on. Where a cut is not possible, the event ``cutting-skipped`` says why, and
training goes on with what there is.

Everything that leaves a run (weights, snapshots) has the shapes of the whole network, and a
snapshot knows what was cut out: going back to one takes its form first.

Shape letters: U units.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic

import torch
from torch import Tensor, nn

from optimizer.bridge.random_draws import replayed
from optimizer.bridge.shrinking import CutError, Shrinker
from optimizer.bridge.synchronising import unsynchronised
from optimizer.h2spg import H2SPG, UnitSlices
from optimizer.h2spg.state_keys import STEP
from optimizer.trainer.data import Batch
from optimizer.trainer.hooks import Cutter, Hooks, S, SpaceBinding
from optimizer.trainer.incidents import TrainEvent
from optimizer.trainer.losses import as_tuple
from optimizer.trainer.setting import Setting
from optimizer.trainer.state import BEST, MODULE, OPTIMIZER, Snapshot, copied, weights_of

CUT = "cut"  # in a snapshot's values: what was cut out
_LARGEST = {"cpu": 1e-3, "cuda": 1e-2}  # of ||difference|| / ||output||; a GPU multiplies in TF32


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is cut out: numbers of units, and whether nothing will be chosen any more."""

    units: tuple[int, ...]
    decided: bool


class Cutting(Generic[S]):
    """The form that the network of a run has.

    Attributes:
        alongside: Tensors by path of the module (averages, for example) that shrink and grow with
            it; whoever has such adds them.
    """

    def __init__(
        self, setting: Setting, binding: SpaceBinding[S], cutter: Cutter[S] | None, hooks: Hooks
    ) -> None:
        """Take the network as it is for the whole one; without ``cutter`` it stays whole."""
        self.alongside: list[dict[str, Tensor]] = []
        self._module: nn.Module = setting.module
        self._optimizer: H2SPG = setting.optimizer
        self._setting = setting
        self._binding = binding
        self._cutter = cutter if setting.config.cut_during_training else None
        self._hooks = hooks
        started = setting.started
        of_file = None if started is None else started.of_file
        self._shrinker = Shrinker(setting.imported, of_file=of_file)
        self._slices = setting.optimizer.units.slices
        self._current: Cut | None = None
        self._refused: Cut | None = None  # what failed last: it would fail again

    @property
    def names(self) -> frozenset[str]:
        """Paths of the parameters and buffers of the whole network."""
        return self._shrinker.names

    def follow(self) -> Mapping[str, Any] | None:
        """Cut out what has become zero since the last time.

        Returns:
            What was gained, for the history; None where nothing was cut.
        """
        wanted = self._wanted() if self._cutter is not None else None
        if wanted is None or wanted in (self._current, self._refused):
            return None
        before, parameters = self._current, self._num_parameters()
        self._hooks.alive()
        batch = self._probe()
        expected = self._outputs(batch)
        failure: Exception | None = None
        state = [
            (store, dict(store), self._whole_state(store, path)) for store, path in self._stores()
        ]
        try:
            self._take(wanted)
            _compare(expected, self._outputs(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run can do without
            failure = error
        if not self._setting.processes.all(failure is None):
            self._refused = wanted
            self._give_up(before, failure or CutError("another process could not make it"))
            self._make_sure(expected, batch)
            for store, present, whole in state:
                store.update(present if self._current == before else whole)
            return None
        self._hooks.alive()
        gained = {
            "step": self._optimizer.steps_done,
            "macs_before": self._macs_ratio(before),
            "macs_after": self._macs_ratio(wanted),
            "parameters_before": parameters,
            "parameters_after": self._num_parameters(),
        }
        message = (
            f"cut out of the network that trains: {gained['macs_after']:.1%} of the MACs are left, "
            f"and {gained['parameters_after']:,} of {parameters:,} weights"
        )
        self._hooks.event(TrainEvent(code="cut", message=message, data=gained))
        return gained

    def finish(self) -> None:
        """Take the form of the whole network, with what is cut out as it was then."""
        self._take(None)

    def tell_features(self) -> None:
        """Let what is compared inside of the network follow what was chosen and cut out."""
        if self._setting.features is not None:
            cut_U = None if self._current is None else self._removed(self._current)
            self._setting.features.follow(self._optimizer.redundant, cut_U)

    def weights(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers on the CPU, in whole shape."""
        return copied(self._shrinker.whole_weights())

    def whole(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot``, just taken, in whole shapes."""
        if self._current is None:
            return snapshot
        own = MODULE + self._shrinker.container
        tensors = {
            name: self._expanded(name, tensor)
            for name, tensor in snapshot.tensors.items()
            if not name.startswith(own)
        }
        tensors |= {MODULE + name: tensor for name, tensor in self.weights().items()}
        cut = {"units": list(self._current.units), "decided": self._current.decided}
        return replace(snapshot, tensors=tensors, values={**snapshot.values, CUT: cut})

    def adopted(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot`` in the shapes of the form that it was taken in, which is taken first."""
        found = snapshot.values.get(CUT)
        wanted = Cut(units=tuple(found["units"]), decided=found["decided"]) if found else None
        if wanted is None and self._current is None:
            return snapshot
        whole = {
            name: snapshot.tensors[MODULE + name]
            for name in self._shrinker.names
            if MODULE + name in snapshot.tensors
        }
        try:
            self._take(wanted, whole)
        except Exception as error:  # noqa: BLE001 - the whole network can go on as well
            self._give_up(None, error)
        if self._current is None:
            return snapshot
        tensors = {name: self._sliced(name, one) for name, one in snapshot.tensors.items()}
        own = {MODULE + name: tensor for name, tensor in weights_of(self._module).items()}
        return replace(snapshot, tensors={**own, **tensors})

    def _wanted(self) -> Cut | None:
        optimizer = self._optimizer
        units = tuple(optimizer.zero.nonzero().flatten().tolist())
        if not units:
            return None
        is_settled = optimizer.steps_done > optimizer.schedule.boundaries[-2]
        all_zero = bool((optimizer.zero == optimizer.redundant).all())
        return Cut(units=units, decided=is_settled and all_zero)

    def _take(self, wanted: Cut | None, weights: Mapping[str, Tensor] | None = None) -> None:
        """Take a form, by way of the whole one: so every form has one origin.

        Args:
            wanted: None is the whole.
            weights: What the whole network is to hold on the way; as it is if None.
        """
        self._restore()
        if weights:
            self._shrinker.overwrite(weights)
        if wanted is not None:
            assert self._cutter is not None
            solution = self._binding.solution(self._removed(wanted))
            self._shrinker.cut(self._cutter(solution, decided=wanted.decided))
            for store, path in self._stores():
                for key, tensor in store.items():
                    if _follows(key, tensor, self._shrinker.whole_shape(path or key)):
                        store[key] = self._shrinker.sliced(path or key, tensor)
            self._current = wanted
        self._optimizer.units.replace_slices([self._left(one) for one in self._slices])
        self._optimizer.units_changed()
        self.tell_features()

    def _restore(self) -> None:
        if not self._shrinker.is_cut:
            return
        for store, path in self._stores():
            store.update(self._whole_state(store, path))
        self._shrinker.restore()
        self._current = None

    def _whole_state(self, store: Mapping[str, Tensor], path: str | None) -> dict[str, Tensor]:
        """What ``store`` holds, in whole shape; 0 where something is cut out."""
        return {
            key: self._shrinker.expanded(path or key, tensor)
            if _follows(key, tensor, self._shrinker.shape(path or key))
            else tensor
            for key, tensor in store.items()
        }

    def _stores(self) -> Iterator[tuple[dict[str, Tensor], str | None]]:
        """What goes with the parameters, and the path of the one; None where keys are paths."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                path = self._shrinker.path(parameter)
                if path is not None and parameter in self._optimizer.state:
                    yield self._optimizer.state[parameter], path
        for tensors in self.alongside:
            yield tensors, None

    def _give_up(self, before: Cut | None, error: Exception) -> None:
        """Go back to the form ``before``, which is known to be right, or to the whole network."""
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        try:
            self._take(before)
        except Exception:  # noqa: BLE001 - the surgeon no longer does what it did
            self._take(None)
        message = f"training goes on without a further cut: {reason}"
        self._hooks.event(TrainEvent(code="cutting-skipped", message=message))

    def _expanded(self, name: str, tensor: Tensor) -> Tensor:
        path = self._path_in_snapshot(name)
        if path is None or not _follows(name, tensor, self._shrinker.shape(path)):
            return tensor
        return self._shrinker.expanded(path, tensor)

    def _sliced(self, name: str, tensor: Tensor) -> Tensor:
        path = self._path_in_snapshot(name)
        if path is None or not _follows(name, tensor, self._shrinker.whole_shape(path)):
            return tensor
        return self._shrinker.sliced(path, tensor)

    def _path_in_snapshot(self, name: str) -> str | None:
        """Path of the tensor of the module that an entry of a snapshot belongs to."""
        if name.startswith(BEST):
            return None  # of whole shape at all times
        part, _, rest = name.partition("/")
        if part + "/" == OPTIMIZER:
            number = rest.partition("/")[0]
            parameters = [one for group in self._optimizer.param_groups for one in group["params"]]
            return self._shrinker.path(parameters[int(number)]) if number.isdecimal() else None
        return rest if rest in self._shrinker.names else None

    def _make_sure(self, expected: list[tuple[Tensor, ...]], batch: Batch) -> None:
        """Go back to the whole network unless the one that is left gives what it gave before."""
        if self._current is not None:
            try:
                _compare(expected, self._outputs(batch))
            except CutError:
                self._take(None)

    def _removed(self, cut: Cut | None) -> Tensor:
        removed_U = torch.zeros(self._optimizer.units.num_units, dtype=torch.bool)
        removed_U[list(cut.units if cut else ())] = True
        return removed_U

    def _left(self, slices: UnitSlices) -> UnitSlices:
        index = self._shrinker.kept(slices.parameter, slices.dim)
        if index is None:
            return slices
        unit_P = slices.unit_of_position
        return replace(slices, unit_of_position=unit_P[index.to(unit_P.device)])

    def _macs_ratio(self, cut: Cut | None) -> float:
        return self._binding.remaining_ratio(self._removed(cut), "macs")

    def _num_parameters(self) -> int:
        return sum(one.numel() for one in self._module.parameters())

    def _probe(self) -> Batch:
        probe = self._setting.probe
        return probe.at(next(probe.in_order(full_only=True))).to(self._setting.device)

    @torch.no_grad()
    def _outputs(self, batch: Batch) -> list[tuple[Tensor, ...]]:
        """In inference form, and in training form where that is no matter of chance."""
        found = []
        trace = _leaving_no_trace(self._module, self._setting.device)
        with trace, unsynchronised(self._module):
            found.append(as_tuple(self._module.eval()(*batch.inputs)))
            self._module.train()
            for seed in (1, 2):
                torch.manual_seed(seed)
                found.append(as_tuple(self._module(*batch.inputs)))
        is_chance = any(not torch.equal(one, other) for one, other in zip(*found[1:], strict=True))
        return found[: 1 if is_chance else 2]


def _follows(key: str, tensor: object, shape: torch.Size | None) -> bool:
    """Whether a tensor has a value for every element of a parameter of ``shape``."""
    is_count = key == STEP or key.endswith(f"/{STEP}")
    return isinstance(tensor, Tensor) and tensor.shape == shape and not is_count


def _compare(expected: list[tuple[Tensor, ...]], found: list[tuple[Tensor, ...]]) -> None:
    """Refuse outputs that differ by more than rounding.

    Raises:
        CutError: Says by how much.
    """
    for before, after in zip(expected, found, strict=False):
        for one, other in zip(before, after, strict=True):
            if not one.is_floating_point():
                continue
            gap = torch.linalg.vector_norm((one - other).double())
            size = torch.linalg.vector_norm(one.double())
            if not bool(gap <= _LARGEST.get(one.device.type, 1e-3) * size):
                message = (
                    f"the outputs of the cut network differ by {float(gap / size):.1e} of their "
                    "size from those of the one with zeros"
                )
                raise CutError(message)


@contextmanager
def _leaving_no_trace(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Mode, statistics and random numbers are afterwards as they were before."""
    was_training = module.training
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with replayed(module), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    for buffer, before in buffers:
        buffer.copy_(before)
    module.train(was_training)
