"""Random valid solutions cut out of training modules: against the same modules with zeros.

::

    python -m tests.sweep.cutting FOLDER [--only PATTERN] [--solutions 2] [--double]

Of every model in FOLDER: some units become zero and are cut out, then more of them, then nothing is
left to decide. Each time the outputs in inference form and in training form (statistics of the
batch) and the gradients of all weights must be those of the network with zeros, and coming back to
the whole network must change no weight. A row per model is printed: the largest difference,
relative to the size of what is compared. Exit code 1 if one is above ``LIMIT``: in single precision
a ReLU that rounding switches can come near it in the gradients of a deep network; ``--double``
tells rounding from a wrong cut.
"""

import argparse
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.training_form import training_form
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind
from graph_analysis.solution import Solution
from optimizer.bridge.arrays import tensor_from_array
from optimizer.bridge.binding import Binding, bind
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.ops.dropout import Dropout
from optimizer.bridge.shrinking import Shrinker
from optimizer.h2spg.units import fill_zero
from tests.sweep.float_kinds import in_float_kind
from tests.sweep.random_solutions import random_solution

LIMIT = 1e-4
_BATCH = 4


@dataclass
class Case:
    """A module with zeros that can be cut out."""

    analysis: Analysis
    imported: ImportedModule
    inputs: Sequence[Tensor]

    def __post_init__(self) -> None:
        self.binding: Binding = bind(self.analysis, self.imported)
        for module in self.imported.module.modules():
            if isinstance(module, Dropout):
                module.forward = _identity  # type: ignore[method-assign]

    def zero(self, solution: Solution) -> None:
        """Set what ``solution`` removes to 0."""
        layout = self.binding.layout()
        with torch.no_grad():
            fill_zero(layout.tensors, layout.positions(self.removed(solution)))

    def removed(self, solution: Solution) -> Tensor:
        """Bool (U,)."""
        removed = torch.zeros(self.binding.num_units, dtype=torch.bool)
        for key, units in solution.removed.items():
            removed[[self.binding.first_unit[key] + unit for unit in units]] = True
        return removed

    def results(self) -> dict[str, Tensor]:
        """Outputs in both forms, and the gradients in training form; statistics stay."""
        module = self.imported.module
        buffers = [(one, one.clone()) for one in module.buffers()]
        found = {}
        with torch.no_grad():
            for number, one in enumerate(_listed(module.eval()(*self.inputs))):
                found[f"inference {number}"] = one
        module.train()
        module.zero_grad()
        outputs = _listed(module(*self.inputs))
        total = torch.zeros((), dtype=torch.float64)
        for number, one in enumerate(outputs):
            found[f"training {number}"] = one.detach()
            if one.is_floating_point() and one.requires_grad:
                weights = torch.linspace(-1, 1, one.numel()).reshape(one.shape)
                total = total + (one * weights.to(one.dtype)).sum()
        if total.requires_grad:
            total.backward()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                found[f"gradient {name}"] = parameter.grad.clone()
        for one, before in buffers:
            one.data.copy_(before)
        module.zero_grad()
        return found


def differences(case: Case, solutions: Sequence[Solution]) -> Iterator[tuple[str, float]]:
    """What differs by how much after each cut of ``solutions``, which grow."""
    shrinker = Shrinker(case.imported)
    for number, solution in enumerate(solutions):
        shrinker.restore()
        case.zero(solution)
        before = {name: one.detach().clone() for name, one in case.imported.tensors.items()}
        expected = case.results()
        last = number == len(solutions) - 1
        shrinker.cut(training_form(case.analysis, solution, decided=last))
        for module in case.imported.module.modules():
            if isinstance(module, Dropout):
                module.forward = _identity  # type: ignore[method-assign]
        found = case.results()
        scale = max(
            (float(one.norm()) for name, one in expected.items() if "grad" in name), default=1.0
        )
        for name, one in expected.items():
            kind, _, path = name.partition(" ")
            if kind != "gradient":
                yield name, _gap(one, found[name], float(one.double().norm()))
            elif name in found:
                yield name, _gap(shrinker.sliced(path, one), found[name], scale)
        shrinker.restore()
        after = case.imported.tensors
        changed = [name for name, one in before.items() if not torch.equal(one, after[name])]
        yield f"restored {changed[:3]}", float(len(changed))


def case_of(source: Path | bytes, *, batch: int = _BATCH, double: bool = False) -> Case:
    """A model with random inputs, in double precision if wanted."""
    loaded = load_model(source)
    if double:
        model = in_float_kind(loaded.model, onnx.TensorProto.DOUBLE)
        loaded = load_model(model.SerializeToString())
    analysis = analyze(loaded)
    imported = import_model(analysis.maskable())
    rng = np.random.default_rng(0)
    specs = input_specs(loaded.model)
    whole = analysis.effects(Solution.of(analysis.space, {})).shapes
    shapes = bound_shapes(specs, batch=batch, known=whole)
    if imported.batch_is_free:
        shapes = {name: (batch, *shape[1:]) for name, shape in shapes.items()}
    feeds = random_feeds(specs, shapes, rng)
    inputs = [tensor_from_array(feeds[name]) for name in imported.input_names]
    return Case(analysis, imported, inputs)


def growing(analysis: Analysis, seed: int) -> list[Solution]:
    """A random valid solution and a larger one."""
    rng = np.random.default_rng(seed)
    large = random_solution(analysis, tuple(GroupKind), float(rng.uniform(0.3, 0.8)), seed)
    some = {
        key: units[: max(1, len(units) // 2)]
        for key, units in large.removed.items()
        if rng.random() < 0.6
    }
    small = Solution.of(analysis.space, some)
    return [large] if analysis.violations(small) else [small, large]


def _identity(x: Tensor, *_: object) -> Tensor:
    return x


def _listed(outputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _gap(expected: Tensor, found: Tensor, scale: float) -> float:
    if expected.shape != found.shape:
        return float("inf")
    return float((expected.double() - found.double()).norm()) / max(scale, 1e-12)


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="pattern of names")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--solutions", type=int, default=2)
    options = parser.parse_args()
    failed = 0
    for path in sorted(options.folder.glob("*.onnx")):
        if not fnmatch.fnmatch(path.name, options.only):
            continue
        try:
            found = [
                pair
                for seed in range(options.solutions)
                for case in [case_of(path, double=options.double)]
                for pair in differences(case, growing(case.analysis, seed))
            ]
            name, worst = max(found, key=lambda pair: pair[1])
            text = f"{len(found):5} compared, {worst:.1e} at most ({name})"
            failed += not worst <= LIMIT
        except Exception as error:  # noqa: BLE001  the next model is to be tried as well
            text, failed = f"FAILED {type(error).__name__}: {str(error)[:300]}", failed + 1
        sys.stdout.write(f"{path.stem:45} {text}\n")
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
