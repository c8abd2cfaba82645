"""H2SPG, the hierarchical half-space projected gradient: one run that ends in a sub-network.

A thin class: it gathers, calls the pure functions beside it, and stores. What a unit is and which
units may go together is known to ``units`` and to the ``choose`` that is passed in.

Shape letters: U units.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from optimizer.h2spg import state_keys as keys
from optimizer.h2spg.direction import update
from optimizer.h2spg.half_space import (
    NORM_FLOOR,
    PUBLISHED_FOR_ADAM,
    PenaltySettings,
    leaves_half_space,
    penalty_factor,
)
from optimizer.h2spg.measuring import direction_of, measure, products
from optimizer.h2spg.mixing import criterion_of
from optimizer.h2spg.saliency import Measured, SaliencyCriterion, relative_to
from optimizer.h2spg.schedule import Phase, Schedule, from_numbers, to_numbers
from optimizer.h2spg.search import Choose
from optimizer.h2spg.settings import check_settings
from optimizer.h2spg.units import Positions, UnitLayout, fill_zero, scale

Mode = Literal["schedule", "paper"]


class H2SPG(Optimizer):
    """SGD, Adam or AdamW that also chooses units and brings them to exactly 0.

    1. Warm-up: the plain optimizer; the saliency of each unit is averaged over the steps.
    2. At each decision of the schedule ``choose`` says which units go.
    3. ``mode="schedule"``: after each plain step the chosen units are scaled down, linearly to
       exactly 0 at the end of their period. ``mode="paper"``: they get the paper's penalty
       lambda_g, and the half-space step zeroes them if and when it fires; no arrival is promised.
    4. A unit that is 0 stays 0, and so does its momentum; its gradients are set to 0 in place.

    With nothing redundant the parameters equal those of the plain torch optimizer bit for bit.
    Everything that resuming needs is in ``state_dict``; ``choose`` is not, and must be given again.
    """

    def __init__(
        self,
        params: ParamsT,
        units: UnitLayout,
        *,
        schedule: Schedule,
        choose: Choose,
        variant: str = "sgd",
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        mode: Mode = "schedule",
        saliency: str | Mapping[str, float] | SaliencyCriterion = "magnitude",
        averaging: float | None = None,
        penalty: PenaltySettings | None = None,
        projection_start: int = 0,
    ) -> None:
        """Bind parameters and units.

        Args:
            params: Parameters or param_groups, as for every torch optimizer.
            units: The units; tensors among them that are in no param_group are only shrunk.
            schedule: When units are chosen and by when they are 0.
            choose: Called at the decisions only, with CPU tensors.
            variant: ``"sgd"``, ``"adam"`` or ``"adamw"``.
            lr: Learning rate.
            momentum: SGD only, like the next two.
            dampening: As in torch.
            nesterov: As in torch.
            betas: Adam only, like ``eps``.
            eps: As in torch, but above 0: it divides the moments of zeroed units.
            weight_decay: L2 for SGD and Adam, decoupled for AdamW.
            mode: How chosen units get to 0.
            saliency: Name of a criterion in ``saliency.CRITERIA``, a mix of them by text or mapping
                (``mixing.criterion_of``), or one of your own.
            averaging: Weight w of the paper's running average s <- w*s + (1-w)*s_t; None for the
                plain mean over the steps since the last decision.
            penalty: Constants of ``mode="paper"``; the published ones of the variant if None.
            projection_start: First step of the half-space step in ``mode="paper"`` (T_h).

        Raises:
            ValueError: A setting is outside its range; lists all of them.
        """
        check_settings(variant, mode, lr, momentum, dampening, betas, eps, weight_decay, averaging)
        if nesterov and (momentum <= 0 or dampening != 0):
            message = "nesterov needs momentum > 0 and dampening 0"
            raise ValueError(message)
        defaults = {"lr": lr, "weight_decay": weight_decay}
        if variant == "sgd":
            defaults |= {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        else:
            defaults |= {"betas": betas, "eps": eps}  # type: ignore[dict-item]
        super().__init__(params, defaults)
        self.units = units
        self.choose = choose
        self.variant = variant
        self.mode = mode
        self.criterion = criterion_of(saliency)
        self.averaging = averaging
        self.penalty = penalty or (PenaltySettings() if variant == "sgd" else PUBLISHED_FOR_ADAM)
        self.projection_start = projection_start
        num_units, device = units.num_units, units.device
        self._of_units = {
            keys.STEPS_DONE: torch.zeros((), dtype=torch.int64),
            keys.SCHEDULE: torch.tensor(to_numbers(schedule)),
            keys.SALIENCY: torch.zeros(num_units, dtype=torch.float64, device=device),
            keys.NUM_MEASURED: torch.zeros((), dtype=torch.int64),
            keys.REDUNDANT: torch.zeros(num_units, dtype=torch.bool, device=device),
            keys.ZERO: torch.zeros(num_units, dtype=torch.bool, device=device),
        }
        self._read_state()

    @property
    def schedule(self) -> Schedule:
        """The schedule in force; assign one that agrees about the past to change the future."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._of_units[keys.SCHEDULE] = torch.tensor(to_numbers(schedule))

    @property
    def steps_done(self) -> int:
        """How many steps were made; the number of the next one."""
        return self._steps_done

    @property
    def phase(self) -> Phase:
        """Phase of the next step."""
        return self._schedule.phase(self._steps_done)

    @property
    def redundant(self) -> Tensor:
        """Bool (U,): the units chosen so far."""
        return self._of_units[keys.REDUNDANT]

    @property
    def zero(self) -> Tensor:
        """Bool (U,): the units that are exactly 0 and stay so."""
        return self._of_units[keys.ZERO]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one step.

        Args:
            closure: Computes the loss and its gradients anew.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        step = self._steps_done
        if self._schedule.is_decision(step):
            self._decide(step)
        fill_zero([tensor.grad for tensor in self.units.tensors], self._zero)
        measures = self._schedule.measures(step)
        projects = self.mode == "paper" and self._any_redundant
        before = None
        if projects or (measures and self.criterion.needs_direction):
            before = [tensor.clone() for tensor in self.units.tensors]
        if measures and before is None:
            self._record(self._measure(self.units.tensors))
        self._update()
        if before is not None and measures:
            direction = direction_of(before, self.units.tensors, self._learning_rates())
            self._record(self._measure(before, direction))
        if before is not None and projects:
            self._half_space_step(before, step)
        elif self._any_redundant:
            self._shrink(step)
        self._steps_done += 1
        self._of_units[keys.STEPS_DONE].fill_(self._steps_done)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave; resuming from it is bitwise.

        Raises:
            ValueError: The state is not that of an H2SPG over as many units.
        """
        units = state_dict["state"].get(keys.UNITS)
        if units is None or units[keys.REDUNDANT].shape != (self.units.num_units,):
            message = f"the state is not that of H2SPG over {self.units.num_units} units"
            raise ValueError(message)
        super().load_state_dict(state_dict)
        on_host = (keys.STEPS_DONE, keys.NUM_MEASURED, keys.SCHEDULE)
        self._of_units = {
            name: value.clone().to("cpu" if name in on_host else self.units.device)
            for name, value in units.items()
        }
        self._read_state()

    def __getstate__(self) -> dict[str, Any]:
        """Everything: torch's own version keeps three attributes and loses the rest on a copy."""
        return {name: value for name, value in self.__dict__.items() if not _is_hook(name)}

    @property
    def _of_units(self) -> dict[str, Tensor]:
        """What is kept for the run as a whole; lies in ``state`` beside that of the parameters."""
        return cast("dict[str, dict[str, Tensor]]", self.state)[keys.UNITS]

    @_of_units.setter
    def _of_units(self, state: dict[str, Tensor]) -> None:
        cast("dict[str, dict[str, Tensor]]", self.state)[keys.UNITS] = state

    def _read_state(self) -> None:
        """Refresh what is derived from the state tensors, so that no step has to wait for them."""
        state = self._of_units
        self._schedule = from_numbers(state[keys.SCHEDULE].tolist())
        self._steps_done = int(state[keys.STEPS_DONE])
        shrinking_U = self.redundant & ~self.zero
        self._any_redundant = bool(self.redundant.any())
        self._shrinking: list[Positions] = self.units.positions(shrinking_U)
        self._zero: list[Positions] = self.units.positions(self.zero)

    def _decide(self, step: int) -> None:
        state = self._of_units
        saliency_U = state[keys.SALIENCY].clone()
        if self.averaging is None:
            saliency_U /= state[keys.NUM_MEASURED].clamp_min(1).to(self.units.device)
        redundant_U = self.redundant
        if self.criterion.is_relative:
            saliency_U = relative_to(saliency_U, self.units.pools_without(redundant_U))
        fraction = self._schedule.fraction(step)
        chosen_U = self.choose(saliency_U.cpu(), redundant_U.cpu(), fraction).to(self.units.device)
        if bool((redundant_U & ~chosen_U).any()):
            message = "choose() took back units that were removed before"
            raise ValueError(message)
        redundant_U |= chosen_U
        state[keys.SALIENCY].zero_()
        state[keys.NUM_MEASURED].zero_()
        self._read_state()

    def _update(self) -> None:
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            update(self.variant, params, [self.state[param] for param in params], group)

    def _measure(
        self, before: Sequence[Tensor], direction: Sequence[Tensor] | None = None
    ) -> Measured:
        return measure(self.units, self.criterion, before, direction, redundant_U=self.redundant)

    def _record(self, measured: Measured) -> None:
        state = self._of_units
        saliency_U = self.criterion.saliency(measured)
        if self.averaging is None:
            state[keys.SALIENCY] += saliency_U
        else:
            state[keys.SALIENCY].lerp_(saliency_U, 1 - self.averaging)
        state[keys.NUM_MEASURED] += 1

    def _shrink(self, step: int) -> None:
        """The default: scale by the factor of the step, then set to 0 what has arrived."""
        if self._schedule.arrives(step):
            self._arrive()
        else:
            scale(self.units.tensors, self._shrinking, self._schedule.decay_factor(step))

    def _arrive(self) -> None:
        fill_zero(self.units.tensors, self._shrinking)
        for key in keys.SHRINK_WITH_UNITS:
            fill_zero(self._state_tensors(key), self._shrinking)
        self.zero.logical_or_(self.redundant)
        self._read_state()

    def _half_space_step(self, before: Sequence[Tensor], step: int) -> None:
        """The paper's: penalise the redundant units, zero those that leave the half-space."""
        units, sums = self.units, self.units.sums
        rates = self._learning_rates()
        direction = direction_of(before, units.tensors, rates)
        square_norm_U = sums(products(before, before))
        norm_U = square_norm_U.sqrt()
        factor_U = penalty_factor(
            norm_U,
            sums(products(before, direction)),
            sums(products(direction, direction)),
            self.penalty,
        )
        pull_U = torch.where(self.redundant, factor_U / (norm_U + NORM_FLOOR), 0.0)
        for number, pull in units.spread(pull_U):
            tensor = units.tensors[number]
            tensor.addcmul_(before[number], pull.to(tensor.dtype), value=-rates[number])
        if step >= self.projection_start:
            trial_dot_U = sums(products(units.tensors, before))
            epsilon = self.penalty.epsilon
            leaves_U = leaves_half_space(trial_dot_U, square_norm_U, epsilon=epsilon)
            self.zero.logical_or_(self.redundant & leaves_U)
        for number, is_zero in units.spread(self.zero):
            states = self.state.get(units.tensors[number], {})
            for tensor in (units.tensors[number], *_present(states)):
                tensor.masked_fill_(is_zero, 0.0)

    def _learning_rates(self) -> list[float]:
        """Of each tensor of the units; those that are not trained have 0."""
        rate_of = {
            id(param): group["lr"] for group in self.param_groups for param in group["params"]
        }
        return [rate_of.get(id(tensor), 0.0) for tensor in self.units.tensors]

    def _state_tensors(self, key: str) -> list[Tensor | None]:
        return [self.state.get(tensor, {}).get(key) for tensor in self.units.tensors]


def _present(states: dict[str, Any]) -> list[Tensor]:
    found = [states.get(key) for key in keys.SHRINK_WITH_UNITS]
    return [tensor for tensor in found if tensor is not None]


def _is_hook(name: str) -> bool:
    return name.startswith("_optimizer_") or name == "_zero_grad_profile_name"
