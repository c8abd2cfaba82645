"""H2SPG, the hierarchical half-space projected gradient: one run that ends in a sub-network.

A thin class: it gathers, calls the pure functions beside it, and stores. What a unit is and which
units may go together is known to ``units`` and to the ``choose`` that is passed in.

Shape letters: U units.
"""

from collections.abc import Callable, Mapping
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
from optimizer.h2spg.laying import Positions, fill_zero, scale, subtract_products
from optimizer.h2spg.measuring import Movement, measure
from optimizer.h2spg.mixing import criterion_of
from optimizer.h2spg.saliency import Measured, SaliencyCriterion, relative_to_pool
from optimizer.h2spg.schedule import Phase, Schedule, from_numbers, to_numbers
from optimizer.h2spg.search import Choose
from optimizer.h2spg.settings import check_settings
from optimizer.h2spg.units import UnitLayout

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
        measure_every: int = 1,
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
            measure_every: Saliency is measured in one of so many steps, the last before each
                decision among them; a long warm-up needs no more than some hundred measurements.
            penalty: Constants of ``mode="paper"``; the published ones of the variant if None.
            projection_start: First step of the half-space step in ``mode="paper"`` (T_h).

        Raises:
            ValueError: A setting is outside its range; lists all of them.
        """
        check_settings(
            variant,
            mode,
            lr,
            momentum,
            dampening,
            betas,
            eps,
            weight_decay,
            averaging,
            measure_every,
        )
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
        self.measure_every = measure_every
        self.penalty = penalty or (PenaltySettings() if variant == "sgd" else PUBLISHED_FOR_ADAM)
        self.projection_start = projection_start
        self._movement = Movement(units)
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
        if self._any_zero:
            fill_zero([tensor.grad for tensor in self.units.tensors], self._zero)
        measured = None
        if self._schedule.measures(step, every=self.measure_every):
            measured = measure(self.units, self.criterion, self.redundant)
        projects = self.mode == "paper" and self._any_redundant
        follows_direction = measured is not None and self.criterion.needs_direction
        if projects or follows_direction:
            self._movement.begin()
        self._update()
        if projects or follows_direction:
            self._movement.end(self._learning_rates())
        if measured is not None:
            self._record(self._movement.added_to(measured) if follows_direction else measured)
        if projects:
            self._half_space_step(step)
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

    def units_changed(self) -> None:
        """Take note that the units have other positions (``UnitLayout.replace_slices``)."""
        self._read_state()

    def __getstate__(self) -> dict[str, Any]:
        """Everything: torch's own version keeps three attributes and loses the rest on a copy."""
        kept = {name: value for name, value in self.__dict__.items() if not _is_hook(name)}
        return kept | {"_movement": Movement(self.units)}  # nothing but scratch

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
        self._any_redundant = bool(self.redundant.any())
        self._any_zero = bool(self.zero.any())
        self._shrinking: Positions = self.units.positions(self.redundant & ~self.zero)
        if self.mode == "paper":  # where units may become 0 in any step, without a word to the host
            self._zero: Positions = self.units.positions(self.redundant).of(self.zero)
        else:
            self._zero = self.units.positions(self.zero)

    def _decide(self, step: int) -> None:
        state = self._of_units
        saliency_U = state[keys.SALIENCY].cpu().clone()
        if self.averaging is None:
            saliency_U /= state[keys.NUM_MEASURED].clamp_min(1)
        redundant_U = self.redundant
        if self.criterion.is_relative:
            left_U, pool_U = ~redundant_U.cpu(), self.units.pool_of_unit.cpu()
            saliency_U = relative_to_pool(saliency_U, pool_U, left_U)
        fraction = self._schedule.fraction(step)
        chosen_U = self.choose(saliency_U, redundant_U.cpu(), fraction).to(self.units.device)
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
        self._fill_zero(self._shrinking)
        self.zero.logical_or_(self.redundant)
        self._read_state()

    def _half_space_step(self, step: int) -> None:
        """The paper's: penalise the redundant units, zero those that leave the half-space."""
        units, moved = self.units, self._movement
        norm_U = moved.square_norm.sqrt()
        factor_U = penalty_factor(
            norm_U, moved.direction_dot, moved.direction_square_norm, self.penalty
        )
        pull_U = torch.where(self.redundant, factor_U / (norm_U + NORM_FLOOR), 0.0)
        rates = self._learning_rates()
        subtract_products(units.tensors, moved.before, self._zero, pull_U, rates)
        if step >= self.projection_start:
            trial_dot_U = units.dots(units.tensors, moved.before)
            epsilon = self.penalty.epsilon
            leaves_U = leaves_half_space(trial_dot_U, moved.square_norm, epsilon=epsilon)
            self._note_zero(self.redundant & leaves_U)
        if self._any_zero:
            self._fill_zero(self._zero)

    def _note_zero(self, leaves_U: Tensor) -> None:
        """Add to the units that are 0; only a CPU can say for nothing that there is none."""
        self.zero.logical_or_(leaves_U)
        self._any_zero = self.units.device.type != "cpu" or bool(self.zero.any())
        self._zero = self._zero.of(self.zero)

    def _fill_zero(self, positions: Positions) -> None:
        fill_zero(self.units.tensors, positions)
        for key in keys.SHRINK_WITH_UNITS:
            fill_zero(self._state_tensors(key), positions)

    def _learning_rates(self) -> list[float]:
        """Of each tensor of the units; those that are not trained have 0."""
        rate_of = {
            id(param): group["lr"] for group in self.param_groups for param in group["params"]
        }
        return [rate_of.get(id(tensor), 0.0) for tensor in self.units.tensors]

    def _state_tensors(self, key: str) -> list[Tensor | None]:
        return [self.state.get(tensor, {}).get(key) for tensor in self.units.tensors]


def _is_hook(name: str) -> bool:
    return name.startswith("_optimizer_") or name == "_zero_grad_profile_name"
