"""All that must hold of the trainable module of one model, and the figures of it.

Every check has a name, which is its column in the table; what fails it is said in words.
"""

import contextlib
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from exporters.errors import SurgeryError
from exporters.samples import (
    InputSpec,
    bound_shapes,
    has_free_batch,
    input_specs,
    random_feeds,
    stretched_shapes,
    variations,
)
from exporters.sessions import Feeds
from exporters.surgeon import shrink
from graph_analysis.errors import ModelError
from graph_analysis.loading import LoadedModel, load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution
from optimizer.bridge.arrays import tensor_from_array
from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.roles import left_alone
from optimizer.errors import UnsupportedOperatorsError
from tests.sweep.equality import Arrays, Judge, is_float, relative_difference, run_module, run_ort

CHECKS = ("equal", "copies", "batch", "axes", "gradients", "step", "write_back", "autocast")
_FLOATS = (1, 10, 11, 16)
_HALVINGS = 30
_FLAT = 1e-9  # squared gradient, of the loss
_COARSE = 0.25  # relative L2 error of an autocast run that is still the same network


class NothingToCompareError(Exception):
    """The model runs on no made-up input, or has none."""


@dataclass
class Trial:
    """One model under examination.

    Attributes:
        original: The file.
        loaded: Its working copy.
        imported: Its module.
        specs: Its inputs.
        feeds: Inputs on which ONNX Runtime gives finite numbers, and what it gives.
        figures: What was found out.
    """

    original: onnx.ModelProto
    loaded: LoadedModel
    imported: ImportedModule
    specs: tuple[InputSpec, ...]
    feeds: dict[str, np.ndarray]
    expected: Arrays
    judge: Judge
    figures: dict[str, Any] = field(default_factory=dict)


def examine(model: onnx.ModelProto) -> dict[str, Any]:
    """Import a model and try everything.

    Returns:
        ``outcome`` is "right", "wrong", "refused" (the importer says why) or "out of reach" (there
        is nothing to compare with); ``failures`` are sentences that begin with the check's name.
    """
    start = time.monotonic()
    figures: dict[str, Any] = {"failures": []}
    try:
        trial = _trial(model)
    except (ModelError, UnsupportedOperatorsError) as error:
        return figures | {"outcome": "refused", "reason": _short(error)}
    except NothingToCompareError as error:
        return figures | {"outcome": "out of reach", "reason": _short(error)}
    trial.figures = figures
    for name in CHECKS:
        try:
            found = list(globals()[f"check_{name}"](trial))
        except Exception as error:  # noqa: BLE001  whatever is wrong, the others are tried
            found = [f"{type(error).__name__}: {_short(error)}"]
        figures["failures"] += [f"{name}: {message}" for message in found]
    figures["outcome"] = "wrong" if figures["failures"] else "right"
    figures["seconds"] = round(time.monotonic() - start, 1)
    return figures


def _trial(model: onnx.ModelProto) -> Trial:
    loaded = load_model(model.SerializeToString())
    imported = import_model(loaded.model)
    try:
        specs = input_specs(loaded.model)
    except SurgeryError as error:
        raise NothingToCompareError(str(error)) from error
    feeds, expected = finite_run(model, specs, bound_shapes(specs, batch=2))
    return Trial(
        original=model,
        loaded=loaded,
        imported=imported,
        specs=specs,
        feeds=dict(feeds),
        expected=expected,
        judge=Judge(model),
    )


def finite_run(
    model: onnx.ModelProto, specs: tuple[InputSpec, ...], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Feeds, Arrays]:
    """Inputs of ``shapes`` on which ONNX Runtime's outputs are finite, and these outputs.

    Raises:
        NothingToCompareError: It does not run on anything that was tried.
    """
    rng = np.random.default_rng(5)
    last: tuple[Feeds, Arrays] | None = None
    reason = ""
    for feeds in variations(random_feeds(specs, shapes, rng), rng):
        try:
            last = feeds, run_ort(model, feeds)
        except Exception as error:  # noqa: BLE001  the runtime raises many types
            reason = _short(error)
            continue
        if all(np.isfinite(array).all() for array in last[1].values() if is_float(array)):
            return last
    if last is None:
        message = f"ONNX Runtime does not run it: {reason}"
        raise NothingToCompareError(message)
    return last


def check_equal(trial: Trial) -> Iterator[str]:
    """The module computes what ONNX Runtime computes."""
    found = run_module(trial.imported, trial.feeds)
    trial.figures["max_difference"] = relative_difference(found, trial.expected)
    trial.figures["weights"] = len(list(trial.imported.module.parameters()))
    trial.figures["untrained"] = list(left_alone(trial.loaded.flat.graph, _parameters(trial)))
    yield from trial.judge.differences(found, trial.expected, trial.feeds)


def _parameters(trial: Trial) -> set[str]:
    live = trial.imported.tensors.items()
    return {name for name, tensor in live if isinstance(tensor, torch.nn.Parameter)}


def check_batch(trial: Trial) -> Iterator[str]:
    """Other batch sizes run: 1 and 5 where the file leaves them free, three times a fixed one."""
    trial.figures["batch_is_free"] = trial.imported.batch_is_free
    if has_free_batch(trial.specs):
        for batch in (1, 5):
            known = {name: array.shape for name, array in trial.feeds.items()}
            yield from _at(trial, bound_shapes(trial.specs, batch=batch, known=known))
    elif trial.imported.batch_is_free and trial.specs and trial.specs[0].shape:
        feeds, expected = _tripled(trial)
        if expected is not None:
            found = run_module(trial.imported, feeds)
            yield from trial.judge.differences(found, expected, feeds)


def _at(trial: Trial, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    try:
        feeds, expected = finite_run(trial.original, trial.specs, shapes)
    except NothingToCompareError:
        return  # ONNX Runtime cannot either
    yield from trial.judge.differences(run_module(trial.imported, feeds), expected, feeds)


def _tripled(trial: Trial) -> tuple[Feeds, Arrays | None]:
    """Feeds of three times the batch of the file, and what comes out of it.

    By ONNX Runtime itself if the file runs so once its declarations are taken away, else by running
    three parts one after the other.
    """
    batch = trial.specs[0].shape[0]
    rng = np.random.default_rng(11)
    shapes = {name: array.shape for name, array in trial.feeds.items()}
    parts = [random_feeds(trial.specs, shapes, rng) for _ in range(3)]
    feeds = {
        name: np.concatenate([part[name] for part in parts])
        if array.ndim and array.shape[0] == batch
        else array
        for name, array in trial.feeds.items()
    }
    parts = [{**part, **{name: feeds[name] for name in feeds if feeds[name] is trial.feeds[name]}}
             for part in parts]  # fmt: skip
    with contextlib.suppress(Exception):  # the runtime raises many types
        whole = run_ort(_without_shapes(trial.original, batch), feeds)
        if all(_is_tripled(array, trial.expected[name]) for name, array in whole.items()):
            return feeds, whole
    rows = [run_ort(trial.original, part) for part in parts]
    if any(array.ndim == 0 for array in rows[0].values()):
        return feeds, None
    return feeds, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _is_tripled(array: npt.NDArray[np.generic], once: npt.NDArray[np.generic]) -> bool:
    return bool(once.ndim) and array.shape == (3 * once.shape[0], *once.shape[1:])


def _without_shapes(model: onnx.ModelProto, batch: int | None) -> onnx.ModelProto:
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]
    for info in free.graph.input:
        dims = info.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == batch:
            dims[0].dim_param = "any_batch"
    for info in free.graph.output:
        info.type.tensor_type.ClearField("shape")
    return free


def check_axes(trial: Trial) -> Iterator[str]:
    """Other free axes than the batch may be longer."""
    known = {name: array.shape for name, array in trial.feeds.items()}
    stretched = stretched_shapes(trial.specs, known=known)
    if stretched is not None:
        yield from _at(trial, stretched)


def check_gradients(trial: Trial) -> Iterator[str]:
    """Every weight gets a finite gradient."""
    loss = _loss(trial)
    if loss is None:
        trial.figures["weights_with_gradient"] = 0
        return
    trial.imported.module.zero_grad()
    value = loss()
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call]
    own = [(each, each.grad) for each in trial.imported.module.parameters()]
    if any(node.op_type == "If" for node in trial.loaded.flat.graph.node):
        _take_other_branches(trial)
    zero, reached, hidden = [], 0, _behind_integers(trial)
    for name, tensor in trial.imported.tensors.items():
        if not isinstance(tensor, torch.nn.Parameter):
            continue
        if tensor.grad is None and name in hidden:
            continue
        if tensor.grad is None:
            yield f"'{name}' {list(tensor.shape)} gets none"
        elif not tensor.grad.isfinite().all():
            yield f"that of '{name}' {list(tensor.shape)} is not finite"
        else:
            reached += 1
            zero += [] if tensor.grad.any() else [name]
    trial.figures["weights_with_gradient"] = reached
    trial.figures["zero_gradients"] = zero
    for parameter, gradient in own:
        parameter.grad = gradient


_CHANGES: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    torch.neg,
    torch.abs,
    lambda x: -x.abs(),
    lambda x: x * 10,
    torch.zeros_like,
)


def _take_other_branches(trial: Trial) -> None:
    """Take the gradients of other inputs in: a branch that is not taken has none."""
    for parameter in trial.imported.module.parameters():
        parameter.grad = None if parameter.grad is None else parameter.grad.clone()
    for change in _CHANGES:
        tensors = [tensor_from_array(trial.feeds[name]) for name in trial.imported.input_names]
        changed = [~x if x.dtype == torch.bool else change(x) for x in tensors]
        result = trial.imported.module.train()(*changed)
        results = result if isinstance(result, tuple | list) else (result,)
        floats = [x.double().square().sum() for x in results if x.is_floating_point()]
        torch.stack(floats).sum().backward()  # type: ignore[no-untyped-call]


def _behind_integers(trial: Trial) -> set[str]:
    """Weights that reach an output only as an index or a comparison, which has no gradient."""
    graph = onnx.shape_inference.infer_shapes(trial.loaded.model).graph
    kinds = {
        info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.output)
    }
    seen = {info.name for info in graph.output}
    for node in reversed(graph.node):
        if any(name in seen and kinds.get(name, 1) in _FLOATS for name in node.output):
            seen.update(node.input)
            seen.update(_captured(node))
    return {tensor.name for tensor in graph.initializer} - seen


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (info.name for info in body.output)
            for inner in body.node:
                yield from inner.input
                yield from _captured(inner)


def check_copies(trial: Trial) -> Iterator[str]:
    """A copy trains on its own, and unchanged weights are those of the file, bit for bit."""
    copied = copy.deepcopy(trial.imported)
    with torch.no_grad():
        for parameter in copied.module.parameters():
            parameter.add_(1)
    weights = trial.imported.weights()
    for tensor in trial.loaded.model.graph.initializer:
        if tensor.name in weights:
            ours, theirs = weights[tensor.name], onnx.numpy_helper.to_array(tensor)
            if ours.dtype != theirs.dtype or ours.tobytes() != theirs.tobytes():
                yield f"'{tensor.name}' is not what the file holds"


def check_step(trial: Trial) -> Iterator[str]:
    """A small enough step of gradient descent lowers the loss."""
    loss = _loss(trial)
    parameters = [p for p in trial.imported.module.parameters() if p.grad is not None]
    squares = sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None)
    if loss is None:
        return
    with torch.no_grad():
        before = float(loss())
        if squares < _FLAT * before:
            trial.figures["is_flat"] = True  # saturated: rounding hides what a step changes
            return
        state = [parameter.clone() for parameter in parameters]
        rate = 0.5 * before / squares
        for _ in range(_HALVINGS):
            for parameter, was in zip(parameters, state, strict=True):
                parameter.copy_(was - rate * parameter.grad)
            if float(loss()) < before:
                return
            rate /= 2
        for parameter, was in zip(parameters, state, strict=True):
            parameter.copy_(was)
        if _is_saturated(trial, loss):
            trial.figures["is_flat"] = True
            return
    yield f"the loss stays at {before:.6g} or more down to a rate of {rate:.3g}"


def _is_saturated(trial: Trial, loss: Callable[[], torch.Tensor]) -> bool:
    """Whether weights that are off by some percent change nothing at all.

    So it is with one number in all weights of a classifier; its gradient is what rounding leaves.
    """
    module, before = trial.imported.module, float(loss())
    kept = copy.deepcopy(module.state_dict())
    for parameter in module.parameters():
        change = 0.02 * torch.randn_like(parameter, dtype=torch.float32)
        parameter.mul_(1 + change.to(parameter.dtype))
    after = float(loss())
    module.load_state_dict(kept)
    return after == before


def check_write_back(trial: Trial) -> Iterator[str]:
    """The file with the weights of the module computes what the module computes."""
    names = {tensor.name for tensor in trial.loaded.flat.graph.initializer}
    with torch.no_grad():
        for parameter in trial.imported.module.parameters():
            change = 0.02 * torch.randn_like(parameter, dtype=torch.float32)
            parameter.mul_(1 + change.to(parameter.dtype))
    weights = trial.imported.weights()
    own = {name: array for name, array in weights.items() if name in names}
    analysis = analyze(trial.loaded)
    written = shrink(analysis, Solution.of(analysis.space, {}), own)
    lost = set(weights) - set(own)
    if lost:
        yield f"weights that the file does not have: {sorted(lost)[:3]}"
    found = run_module(trial.imported, trial.feeds)
    expected = run_ort(written, trial.feeds)
    yield from trial.judge.differences(found, expected, trial.feeds, weights)
    if any(p.numel() > 1 for p in trial.imported.module.parameters()) and not any(
        not np.array_equal(array, trial.expected[name], equal_nan=is_float(array))
        for name, array in expected.items()
    ):
        trial.figures["unmoved"] = True


def check_autocast(trial: Trial) -> Iterator[str]:
    """Mixed precision runs, and is the same network with fewer bits."""
    loss = _loss(trial)
    kinds = {array.dtype.name for array in trial.expected.values() if is_float(array)}
    if loss is None or kinds != {"float32"}:
        return
    for kind in (torch.bfloat16, torch.float16):
        exact = run_module(trial.imported, trial.feeds)
        trial.imported.module.zero_grad()
        with torch.autocast("cpu", dtype=kind):
            arguments = [tensor_from_array(trial.feeds[n]) for n in trial.imported.input_names]
            with torch.no_grad():
                result = trial.imported.module.eval()(*arguments)
            value = loss()
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        results = result if isinstance(result, tuple | list) else (result,)
        for name, tensor in zip(trial.imported.output_names, results, strict=True):
            if not is_float(exact[name]):
                continue
            theirs = exact[name].astype(np.float64)
            gap = np.linalg.norm(tensor.double().numpy() - theirs)
            error = float(gap / (np.linalg.norm(theirs) or 1.0))
            label = str(kind).removeprefix("torch.")
            if not np.isnan(error):
                trial.figures[label] = max(trial.figures.get(label, 0.0), round(error, 5))
            if np.isnan(error) and kind == torch.float16:
                trial.figures["float16"] = "beyond its range"
            elif not error <= _COARSE:
                yield f"'{name}' is off by {error:.3g} with {label}"


def _loss(trial: Trial) -> Callable[[], torch.Tensor] | None:
    """Mean squared distance of the float outputs, in training form, from targets near them."""
    names = [name for name, array in trial.expected.items() if is_float(array) and array.size]
    if not names:
        return None
    rng = np.random.default_rng(3)
    targets = {}
    for name in names:
        theirs = np.nan_to_num(trial.expected[name].astype(np.float64), posinf=0, neginf=0)
        scale = max(float(theirs.std()), 0.01 * float(np.abs(theirs).max())) or 1.0
        target = theirs + scale * rng.standard_normal(theirs.shape)
        targets[name] = torch.from_numpy(target), scale
    arguments = [tensor_from_array(trial.feeds[name]) for name in trial.imported.input_names]
    positions = [trial.imported.output_names.index(name) for name in names]

    def loss() -> torch.Tensor:
        torch.manual_seed(0)  # the same units drop out each time
        result = trial.imported.module.train()(*arguments)
        results = result if isinstance(result, tuple | list) else (result,)
        parts = [
            ((results[position].double() - targets[name][0]) / targets[name][1]).square().mean()
            for position, name in zip(positions, names, strict=True)
        ]
        return torch.stack(parts).sum()

    return loss


def _short(error: BaseException) -> str:
    return " ".join(itertools.islice(str(error).split(), 40))
