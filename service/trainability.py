"""Whether a model can be trained here, found out by trying: import, comparison, gradients, steps.

On random inputs that its file allows. Nothing of it needs data, and nothing is written.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from exporters.samples import InputSpec, bound_shapes, input_specs, random_feeds, variations
from exporters.sessions import OFF, Feeds, open_session, run
from graph_analysis.errors import InputError, ModelError, SecateurError
from graph_analysis.loading import load_model
from graph_analysis.shapes import check_given
from graph_analysis.soundness import bodies_of
from optimizer.bridge.arrays import tensor_from_array
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.roles import left_alone, trainable_initializers
from optimizer.errors import UnsupportedOperator, UnsupportedOperatorsError
from service.compression.agreement import compare, distance, outputs_of

_WARM_UP = 2
_STEPS = 10
_PATIENCE = 20.0  # seconds of timed steps; at least one is run
_IMAGE = 224  # a free height or width that more networks tolerate than the usual guess

_NOT_READ = "no output depends on it, or its value became part of the code"
_NO_GRADIENT = "no gradient arrives"
_NOT_FINITE = "its gradient is not finite"
_NOT_STEPPED = "no training step runs"


@dataclass(kw_only=True)
class Trainability:
    """What was found.

    Attributes:
        operators: Operator -> number of its nodes, bodies included; other domains than the standard
            one in front of the name.
        unsupported: What has no torch function; nothing below is known if there is any.
        differences: Output -> largest difference to ONNX Runtime (optimisations off) divided by the
            output's largest magnitude there; infinite where shapes differ.
        mismatch: What is wrong with the first output that differs by more than rounding.
        weights: Number of float initializers that training may change.
        parameters: Number of their elements.
        missed: Weight -> why no finite gradient reaches it.
        zero: Weights whose gradient is 0 throughout on the inputs drawn.
        step_ms: Median milliseconds of a step: forward, backward, SGD.
        batch_size: Samples per step.
        shapes: Input shapes of a step.
        constants: Float tensors of the file that training leaves as they are: masks, tables and
            what else looks like no weight.
        notes: What could not be done, and why.
        failure: Why no training step runs.
    """

    operators: Mapping[str, int]
    unsupported: tuple[UnsupportedOperator, ...] = ()
    differences: dict[str, float] = field(default_factory=dict)
    mismatch: str | None = None
    weights: int = 0
    parameters: int = 0
    missed: dict[str, str] = field(default_factory=dict)
    zero: tuple[str, ...] = ()
    step_ms: float | None = None
    batch_size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def supported(self) -> dict[str, int]:
        """Operator -> number of its nodes that import."""
        refused = Counter[str]()
        for item in self.unsupported:
            refused[qualified(item.domain, item.op_type)] += len(item.nodes)
        left = {name: count - refused[name] for name, count in self.operators.items()}
        return {name: count for name, count in left.items() if count > 0}

    @property
    def max_difference(self) -> float | None:
        """The largest of ``differences``; None if nothing was compared."""
        return max(self.differences.values(), default=None)

    @property
    def error(self) -> SecateurError | None:
        """Why the model cannot be trained; None if it can."""
        if self.unsupported:
            return UnsupportedOperatorsError(self.unsupported)
        if self.mismatch is not None:
            return ModelError(self.mismatch, code="model-conversion-mismatch")
        if self.failure is not None:
            return InputError(f"the model does not train: {self.failure}")
        return None

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible; a difference that is infinite becomes null beside ``mismatch``."""
        return {
            "supported": self.supported,
            "unsupported": [
                {
                    "operator": item.op_type,
                    "domain": item.domain or "ai.onnx",
                    "opset": item.opset,
                    "nodes": list(item.nodes),
                    "reason": item.reason,
                }
                for item in self.unsupported
            ],
            "max_difference": _finite(self.max_difference),
            "differences": {name: _finite(value) for name, value in self.differences.items()},
            "mismatch": self.mismatch,
            "weights": self.weights,
            "weights_with_gradient": self.weights - len(self.missed),
            "weights_without_gradient": self.missed,
            "weights_with_zero_gradient": list(self.zero),
            "parameters": self.parameters,
            "constants": list(self.constants),
            "step_ms": self.step_ms,
            "batch_size": self.batch_size,
            "input_shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "threads": torch.get_num_threads(),
            "failure": self.failure,
            "notes": self.notes,
        }


def examine(
    source: Path | bytes,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    batch_size: int = 4,
    seed: int = 0,
) -> Trainability:
    """Import a model, compare it with ONNX Runtime, and train a few steps.

    Args:
        source: The ONNX file, or its bytes.
        input_shapes: Lengths of the free axes, by input; the batch stays ``batch_size``.
        batch_size: Samples per step where the model allows another batch than its file's.
        seed: Of the random inputs.

    Raises:
        ModelError: The file cannot be used at all, or a shape does not fit it.
    """
    loaded = load_model(source)
    model = loaded.model
    known = dict(input_shapes or {})
    check_given(model, known)
    _give_ranks(model, known)
    found = Trainability(operators=_count(model.graph))
    try:
        imported = import_model(model)
    except UnsupportedOperatorsError as error:
        found.unsupported = error.operators
        return found
    rng = np.random.default_rng(seed)
    try:
        specs = input_specs(model)
    except SecateurError as error:
        found.failure = f"{error}, or the shape of a tensor with --input-shape"
        return found
    feeds = _compare_outputs(found, imported, model, candidates(specs, batch_size, known, rng))
    _train(found, imported, loaded.flat.graph, _in_batches(specs, feeds, imported, batch_size))
    return found


def _give_ranks(model: onnx.ModelProto, known: Mapping[str, tuple[int, ...]]) -> None:
    """State the number of axes of inputs that the file leaves open."""
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name in known and not tensor.HasField("shape"):
            tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in known[value.name])


def qualified(domain: str, op_type: str) -> str:
    """An operator's name, with its domain unless that is the standard one."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"


def _count(graph: onnx.GraphProto) -> dict[str, int]:
    counts = Counter[str]()
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            counts[qualified(node.domain, node.op_type)] += 1
            pending += bodies_of(node)
    return dict(sorted(counts.items()))


def candidates(
    specs: tuple[InputSpec, ...],
    batch: int,
    known: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
) -> Iterator[Feeds]:
    """Random inputs, the likeliest to be accepted first; free images also at a usual size."""
    guess = bound_shapes(specs, batch=batch, known=known)
    yield from variations(random_feeds(specs, guess, rng), rng)
    larger = {
        spec.name: (*guess[spec.name][:2], *(size or _IMAGE for size in spec.shape[2:]))
        for spec in specs
        if len(spec.shape) == 4 and spec.name not in known
    }
    if {**guess, **larger} != guess:
        yield random_feeds(specs, {**guess, **larger}, rng)


def _compare_outputs(
    found: Trainability, imported: ImportedModule, model: onnx.ModelProto, tried: Iterator[Feeds]
) -> Feeds:
    """Compare on the first inputs on which ONNX Runtime gives finite numbers that are not all 0.

    Returns:
        These inputs; the first of ``tried`` if it refuses all.
    """
    first = chosen = None
    expected: Mapping[str, np.ndarray] = {}
    refusal = ""
    try:
        session = open_session(model, level=OFF)
    except Exception as error:  # noqa: BLE001 - its reasons are many, and it is only the reference
        found.notes.append(f"not compared, ONNX Runtime does not load it: {_line(error)}")
        return next(tried)
    for feeds in tried:
        first = feeds if first is None else first
        try:
            outputs = run(session, feeds)
        except Exception as error:  # noqa: BLE001 - the same
            refusal = refusal or _line(error)
            continue
        if chosen is None or tells(outputs):
            chosen, expected = feeds, outputs
        if tells(outputs):
            break
    if chosen is None:
        found.notes.append(f"not compared, ONNX Runtime does not run it: {refusal}")
        assert first is not None
        return first
    try:
        actual = outputs_of(imported, chosen)
    except Exception as error:  # noqa: BLE001 - whatever an operator of torch raises
        found.failure = f"ONNX Runtime runs it, the imported module does not: {_line(error)}"
        return chosen
    for name, array in expected.items():
        difference, scale = distance(array, actual[name])
        found.differences[name] = difference / scale if scale else difference
        wrong = compare(name, array, actual[name], "random")
        if wrong is not None and found.mismatch is None:
            found.mismatch = (
                f"the trainable module differs from ONNX Runtime in output '{name}' by "
                f"{wrong.difference:.3g}, allowed is {wrong.limit:.3g}"
            )
    return chosen


def tells(outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether the float outputs are finite and some are not 0."""
    floats = [np.asarray(a, np.float64) for a in outputs.values() if a.dtype.kind == "f"]
    return all(np.isfinite(a).all() for a in floats) and any(a.any() for a in floats)


def _in_batches(
    specs: tuple[InputSpec, ...], feeds: Feeds, imported: ImportedModule, batch: int
) -> Feeds:
    """Inputs of a training step: a batch that the file fixes is widened where that is possible."""
    fixed = specs[0].shape[0] if specs and specs[0].shape else None
    if fixed is None or not imported.batch_is_free or batch % fixed or batch == fixed:
        return feeds
    repeated = {}
    for spec in specs:
        values = feeds[spec.name]
        if spec.shape and spec.shape[0] == fixed:
            values = np.concatenate([values] * (batch // fixed))
            if values.dtype.kind == "f":  # equal samples have no variance
                noise = np.random.default_rng(0).standard_normal(values.shape)
                values = (values + 0.1 * noise * np.abs(values)).astype(values.dtype)
        repeated[spec.name] = values
    return repeated


def _train(
    found: Trainability, imported: ImportedModule, flat: onnx.GraphProto, feeds: Feeds
) -> None:
    """Gradients of one step and the time of some more."""
    weights = {
        name: tensor
        for name, tensor in imported.tensors.items()
        if isinstance(tensor, torch.nn.Parameter)
    }
    unread = trainable_initializers(flat) & set(imported.fixed)
    found.constants = left_alone(flat, {*weights, *unread})
    found.weights = len(weights) + len(unread)
    found.parameters = sum(tensor.numel() for tensor in weights.values())
    found.missed = dict.fromkeys(sorted(unread), _NOT_READ)
    found.shapes = {name: values.shape for name, values in feeds.items()}
    found.batch_size = max((shape[0] for shape in found.shapes.values() if shape), default=None)
    if not weights:
        found.failure = found.failure or "it has no float weights"
    if found.failure is None:
        found.failure = _step_and_time(found, imported, weights, feeds)
    if found.failure is None and len(found.missed) == found.weights:
        found.failure = "no finite gradient reaches any weight"
    elif found.failure is not None:
        found.missed |= dict.fromkeys(weights, _NOT_STEPPED)


def _step_and_time(
    found: Trainability, imported: ImportedModule, weights: Mapping[str, Tensor], feeds: Feeds
) -> str | None:
    module = imported.module.train()
    inputs = [tensor_from_array(feeds[name]) for name in imported.input_names]
    step = _Step(module, inputs)
    try:
        step.run()
    except Exception as error:  # noqa: BLE001 - whatever an operator of torch raises
        return _line(error)
    for name, tensor in weights.items():
        if tensor.grad is None:
            found.missed[name] = _NO_GRADIENT
        elif not bool(torch.isfinite(tensor.grad).all()):
            found.missed[name] = _NOT_FINITE
    found.zero = tuple(n for n, t in weights.items() if t.grad is not None and not t.grad.any())
    found.step_ms = round(step.median_ms(), 3)
    return None


class _Step:
    """One training step: forward, backward, SGD.

    The loss is a fixed random combination of all float outputs, so that every element matters (a
    mean of squares is constant behind a normalisation). The rate is 0: as much work, and the
    weights cannot run away however often it is repeated.
    """

    def __init__(self, module: torch.nn.Module, inputs: list[Tensor]) -> None:
        self._module = module
        self._inputs = inputs
        self._optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
        self._directions: list[Tensor] = []

    def run(self) -> None:
        """Run it once, leaving the gradients where they are."""
        self._optimizer.zero_grad(set_to_none=True)
        outputs = [output for output in _tensors(self._module(*self._inputs)) if _learns(output)]
        if not outputs:
            message = "no float output depends on a weight"
            raise ValueError(message)
        if [item.shape for item in self._directions] != [item.shape for item in outputs]:
            source = torch.Generator().manual_seed(0)
            self._directions = [
                torch.randn(item.shape, generator=source).to(item.dtype) / math.sqrt(item.numel())
                for item in outputs
            ]
        pairs = zip(outputs, self._directions, strict=True)
        loss = torch.stack([(output * by).sum().float() for output, by in pairs]).sum()
        torch.autograd.backward(loss)
        self._optimizer.step()

    def median_ms(self) -> float:
        """Milliseconds per step."""
        for _ in range(_WARM_UP - 1):
            self.run()
        times: list[float] = []
        while len(times) < _STEPS and sum(times) < _PATIENCE:
            start = time.perf_counter()
            self.run()
            times.append(time.perf_counter() - start)
        return 1e3 * median(times)


def _tensors(returned: Any) -> Iterator[Tensor]:
    if isinstance(returned, Tensor):
        yield returned
    elif isinstance(returned, tuple | list):
        for item in returned:
            yield from _tensors(item)


def _learns(output: Tensor) -> bool:
    return output.is_floating_point() and output.requires_grad and output.numel() > 0


def _finite(number: float | None) -> float | None:
    return number if number is None or math.isfinite(number) else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
