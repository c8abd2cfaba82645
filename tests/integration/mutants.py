"""Cut files, damaged in one place each, and the tensor at which the damage must first show."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from exporters.draft import inputs_of
from exporters.figures import Proof
from exporters.masked import mask
from exporters.proof import prove
from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.sessions import OFF, open_session, run
from exporters.surgeon import shrink
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution
from graph_analysis.solving import solve

_ENOUGH = 1e-3  # of an output's scale: what differs by less is hardly damaged


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    ``first`` are the tensors of which one must be named: those that the first node makes which
    reads what was damaged.
    """

    kind: str
    what: str
    model: onnx.ModelProto
    first: tuple[str, ...]


class CutFile:
    """A model, cut, and all that a proof of it needs."""

    def __init__(
        self, model: onnx.ModelProto, share: float = 0.6, saliency: str = "random"
    ) -> None:
        self.analysis = analyze(load_model(model.SerializeToString()))
        self.solution = solve(self.analysis, target_ratio=share, saliency=saliency, seed=1)
        self.effects = self.analysis.effects(self.solution)
        self.keep = self.effects.keep
        self.source = self.analysis.loaded.model
        self.whole = {tensor.name: tensor for tensor in self.source.graph.initializer}
        self.masked = mask(self.analysis, self.solution)
        self.cut = shrink(self.analysis, self.solution)
        nothing = Solution.of(self.analysis.space, {})
        self.shapes = self.analysis.effects(nothing).shapes

    def prove(self, model: onnx.ModelProto) -> Proof:
        """As a job does."""
        return prove(self.masked, model, original=self.source, shapes=self.shapes, keep=self.keep)

    def is_damaged(self, model: onnx.ModelProto) -> bool:
        """Whether it computes something else than the cut file, as ONNX Runtime alone sees it."""
        specs = input_specs(self.cut)
        rng = np.random.default_rng(7)
        feeds = random_feeds(specs, bound_shapes(specs, batch=1, known=self.shapes), rng)
        right = run(open_session(self.cut, level=OFF), feeds)
        try:
            found = run(open_session(model, level=OFF), feeds)
        except Exception:  # noqa: BLE001  the runtime raises a type per failure
            return True
        return any(
            value.shape != found[name].shape
            or not np.allclose(value, found[name], rtol=0, atol=_ENOUGH * np.abs(value).max())
            for name, value in right.items()
            if value.dtype.kind == "f"
        )

    def mutants(self) -> Iterator[Mutant]:
        """One damage of every kind to everything it can be done to."""
        yield from self._positions()
        yield from self._swapped()
        yield from self._constants()
        yield from self._attributes()

    def _positions(self) -> Iterator[Mutant]:
        """A wrong channel, a shifted block, and biases that were cut from the front."""
        for tensor in self.cut.graph.initializer:
            for axis, kept in self.keep.get(tensor.name, {}).items():
                if tensor.name not in self.whole or len(kept) < 2:
                    continue
                values = numpy_helper.to_array(self.whole[tensor.name])
                for other, indices in self.keep[tensor.name].items():
                    values = np.take(values, indices, axis=other) if other != axis else values
                length = values.shape[axis]
                gone = np.setdiff1d(np.arange(length), kept)
                half = len(kept) // 2
                block = np.concatenate([kept[:half], np.minimum(kept[half:] + 1, length - 1)])
                choices = {"wrong channel": np.concatenate([gone[:1], kept[1:]]),
                           "shifted block": block}  # fmt: skip
                if values.ndim == 1:
                    choices["bias cut elsewhere"] = np.arange(len(kept))
                for kind, indices in choices.items():
                    yield from self._with(kind, tensor, np.take(values, indices, axis=axis))

    def _swapped(self) -> Iterator[Mutant]:
        """Two weights of one shape in each other's place."""
        last: dict[tuple[int, ...], onnx.TensorProto] = {}
        for tensor in self.cut.graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < 2:
                continue
            other = last.get(tuple(tensor.dims))
            last[tuple(tensor.dims)] = tensor
            if other is None or other.raw_data == tensor.raw_data:
                continue
            model = _copy(self.cut)
            for node in model.graph.node:
                names = {other.name: tensor.name, tensor.name: other.name}
                node.input[:] = [names.get(name, name) for name in node.input]
            what = f"{other.name} and {tensor.name}"
            yield Mutant("swapped weights", what, model, self._first({other.name, tensor.name}))

    def _constants(self) -> Iterator[Mutant]:
        """Integers that the cut changed, as they were."""
        for tensor in self.cut.graph.initializer:
            old = self.whole.get(tensor.name)
            if old is not None and tensor.data_type in (6, 7) and old.data_type in (6, 7):
                yield from self._with("constant not updated", tensor, numpy_helper.to_array(old))

    def _attributes(self) -> Iterator[Mutant]:
        """Attributes that the cut changed, as they were."""
        before = {node.output[0]: node for node in self.source.graph.node}
        for index, node in enumerate(self.cut.graph.node):
            old = before.get(node.output[0])
            if (
                old is None
                or list(old.attribute) == list(node.attribute)
                or list(old.op_type) != list(node.op_type)
            ):
                continue
            model = _copy(self.cut)
            del model.graph.node[index].attribute[:]
            model.graph.node[index].attribute.extend(old.attribute)
            yield Mutant("attribute not updated", node.name, model, tuple(node.output))

    def _with(self, kind: str, tensor: onnx.TensorProto, values: np.ndarray) -> Iterator[Mutant]:
        if np.array_equal(values, numpy_helper.to_array(tensor)):
            return
        model = _copy(self.cut)
        spoiled = next(t for t in model.graph.initializer if t.name == tensor.name)
        spoiled.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
        yield Mutant(kind, tensor.name, model, self._first({tensor.name}))

    def _first(self, names: set[str]) -> tuple[str, ...]:
        """What the first node makes that reads data and one of ``names``, or what they become."""
        data = {value.name for value in self.cut.graph.input}
        data -= {tensor.name for tensor in self.cut.graph.initializer}
        touched = set(names)
        for node in self.cut.graph.node:
            read = {name for name in inputs_of(node) if name}
            if node.op_type in ("Shape", "Size") or not read & data:
                touched.update(node.output if read & touched else ())
                continue
            data.update(node.output)
            if read & touched:
                return tuple(node.output)
        return ()


def erased(case: CutFile, group: str) -> Mutant:
    """The cut file without a branch that the solution did not remove."""
    removed = {key: list(units) for key, units in case.solution.removed.items()} | {group: [0]}
    larger = Solution.of(case.analysis.space, removed)
    model = shrink(case.analysis, larger)
    before = {name: _data(case.cut, node) for node in case.cut.graph.node for name in node.output}
    for node in model.graph.node:
        if any(before.get(name) != _data(model, node) for name in node.output):
            return Mutant("erased live branch", group, model, tuple(node.output))
    return Mutant("erased live branch", group, model, ())


def _data(model: onnx.ModelProto, node: onnx.NodeProto) -> list[str]:
    """What a node reads that is no initializer."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [name for name in node.input if name not in weights]


def chosen(mutants: Iterator[Mutant], most: int, seed: int = 0) -> list[Mutant]:
    """At most so many of every kind, drawn at random."""
    kinds: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        kinds.setdefault(mutant.kind, []).append(mutant)
    rng = np.random.default_rng(seed)
    return [
        found[index]
        for found in kinds.values()
        for index in sorted(rng.permutation(len(found))[:most])
    ]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
