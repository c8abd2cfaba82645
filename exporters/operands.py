"""Small integer operands (targets, bounds, sizes, indices): reading them, and having them changed.

A wish names a node, an input slot and the values that must arrive there. Wishes are collected
first and granted together, because one tensor may serve several nodes:

1. A constant that all its readers want changed alike is changed in place and keeps its name.
2. A constant with readers that want different values: each wish gets a private copy.
3. A computed tensor of one element becomes a constant; a float one is stored as a lone number and
   given its axes behind it, since a vector of floats would count as a weight.
4. A computed Concat is kept, so that entries of free axes stay computed; the piece that holds the
   changed entry gets a wish of its own. Shared with readers that want something else, the Concat
   is cloned first.
5. Any other computed vector has the changed entries overwritten behind it by ScatterElements.
6. Whole numbers of other shapes that follow from constants alone (indices into a table) become one.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from exporters.draft import Draft, get_attribute, set_attribute, with_bodies
from exporters.errors import SurgeryError
from exporters.weights import to_array, with_values

_MAX_ROUNDS = 64  # Concats nested deeper than this are no shape arithmetic


@dataclass(frozen=True)
class Wish:
    """Input ``slot`` of ``node`` should receive ``values``."""

    node: onnx.NodeProto
    slot: int
    values: npt.NDArray[Any]

    @property
    def tensor(self) -> str:
        """The tensor that arrives there now."""
        return str(self.node.input[self.slot])


@dataclass
class Operands:
    """Reads operands of the draft's nodes and collects what they should become."""

    draft: Draft
    wishes: list[Wish] = field(default_factory=list)

    def before(
        self, node: onnx.NodeProto, slot: int, attribute: str = ""
    ) -> npt.NDArray[Any] | None:
        """Values of an operand before the cut; of ``attribute`` if there is no such input."""
        return self._read(self.draft.origin[node.name], slot, attribute, self.draft.before)

    def now(self, node: onnx.NodeProto, slot: int, attribute: str = "") -> npt.NDArray[Any] | None:
        """Values of an operand in the draft as it stands."""
        return self._read(node, slot, attribute, self.draft.after)

    @staticmethod
    def _read(
        node: onnx.NodeProto,
        slot: int,
        attribute: str,
        known: dict[str, npt.NDArray[Any]],
    ) -> npt.NDArray[Any] | None:
        if slot < len(node.input) and node.input[slot]:
            return known.get(node.input[slot])
        stated = get_attribute(node, attribute) if attribute else None
        return None if stated is None else np.asarray(stated, np.int64)

    def want(
        self,
        node: onnx.NodeProto,
        slot: int,
        values: npt.NDArray[Any],
        attribute: str = "",
    ) -> None:
        """Ask that an operand become ``values``; an attribute is set at once."""
        if slot < len(node.input) and node.input[slot]:
            self.wishes.append(Wish(node, slot, np.asarray(values)))
        elif attribute:
            set_attribute(node, attribute, [int(value) for value in values.ravel()])
        else:
            message = f"{node.op_type} {node.name!r} has no input {slot} to write {values} to"
            raise SurgeryError(message, param=node.name)

    def grant(self) -> None:
        """Carry out all wishes, by the numbered cases above.

        Raises:
            SurgeryError: A wish for a computed tensor that none of the cases covers.
        """
        for _ in range(_MAX_ROUNDS):
            if not self.wishes:
                return
            wishes, self.wishes = self.wishes, []
            by_tensor: dict[str, list[Wish]] = defaultdict(list)
            for wish in wishes:
                by_tensor[wish.tensor].append(wish)
            for tensor, group in by_tensor.items():
                self._grant_tensor(tensor, group)
        msg = "shape arithmetic is nested too deeply to be rewritten"
        raise SurgeryError(msg)

    def _grant_tensor(self, tensor: str, wishes: list[Wish]) -> None:
        distinct: dict[tuple[Any, ...], list[Wish]] = defaultdict(list)
        for wish in wishes:
            distinct[wish.values.shape, wish.values.tobytes()].append(wish)
        exclusive = len(distinct) == 1 and self._uses(tensor) == len(wishes)
        for alike in distinct.values():
            values = alike[0].values
            if tensor in self.draft.initializers:
                name = self._constant(tensor, values, in_place=exclusive)
            else:
                name = self._computed(tensor, values, in_place=exclusive)
            for wish in alike:
                wish.node.input[wish.slot] = name

    def _uses(self, tensor: str) -> int:
        """How often ``tensor`` is read, by nodes, by bodies and as an output of the model."""
        reads = sum(list(node.input).count(tensor) for node in with_bodies(self.draft.nodes))
        outputs = [value.name for value in self.draft.model.graph.output]
        return reads + outputs.count(tensor)

    def _constant(self, tensor: str, values: npt.NDArray[Any], *, in_place: bool) -> str:
        """Cases 1 and 2."""
        old = self.draft.initializers[tensor]
        typed = values.astype(to_array(old).dtype)
        name = tensor if in_place else self.draft.free_name(f"{tensor}__cut")
        self.draft.initializers[name] = with_values(old, typed, name=name)
        self.draft.keep.pop(name, None)  # already in its final form
        return name

    def _computed(self, tensor: str, values: npt.NDArray[Any], *, in_place: bool) -> str:
        """Cases 3 to 5."""
        now = self.draft.after.get(tensor)
        if now is None:
            message = f"tensor {tensor!r} depends on data and cannot be rewritten to {values}"
            raise SurgeryError(message, param=tensor)
        producer = next(node for node in self.draft.nodes if tensor in node.output)
        if values.size == 1 and values.ndim and now.dtype.kind == "f":
            return self._number(producer, tensor, values.astype(now.dtype))
        if values.size == 1 or values.shape != now.shape:
            return self.draft.add_constant(f"{tensor}__cut", values.astype(now.dtype))
        if producer.op_type == "Concat" and values.ndim == 1:
            return self._concat(producer, values, in_place=in_place)
        return self._scatter(producer, tensor, now, values)

    def _number(self, producer: onnx.NodeProto, tensor: str, value: npt.NDArray[Any]) -> str:
        """Case 3 for a float with axes."""
        name = self.draft.free_name(f"{tensor}__cut")
        number = self.draft.add_constant(f"{name}_number", value.reshape(()))
        shape = self.draft.add_constant(f"{name}_shape", np.asarray(value.shape, np.int64))
        label = self.draft.free_name(f"{name}_node")
        node = onnx.helper.make_node("Reshape", [number, shape], [name], name=label)
        self.draft.insert_after(producer, node)
        self.draft.after[name] = value
        return name

    def _concat(self, producer: onnx.NodeProto, values: npt.NDArray[Any], *, in_place: bool) -> str:
        """Case 4."""
        pieces = [self.draft.after.get(name) for name in producer.input]
        if any(piece is None for piece in pieces):
            message = f"pieces of {producer.output[0]!r} depend on data and cannot be rewritten"
            raise SurgeryError(message, param=producer.name)
        node = producer
        if not in_place:
            node = onnx.NodeProto()
            node.CopyFrom(producer)
            node.name = self.draft.free_name(f"{producer.name}__cut")
            node.output[0] = self.draft.free_name(f"{producer.output[0]}__cut")
            self.draft.insert_after(producer, node)
        start = 0
        for slot, piece in enumerate(pieces):
            assert piece is not None
            wanted = values[start : start + piece.size]
            start += piece.size
            if not np.array_equal(wanted, piece):
                self.wishes.append(Wish(node, slot, wanted.reshape(piece.shape)))
        self.draft.after[node.output[0]] = values
        return str(node.output[0])

    def _scatter(
        self,
        producer: onnx.NodeProto,
        tensor: str,
        now: npt.NDArray[Any],
        values: npt.NDArray[Any],
    ) -> str:
        """Cases 5 and 6."""
        if values.ndim != 1 or self.draft.opset < 11:
            if now.dtype.kind in "iu" and self._follows_from_constants(tensor):
                return self.draft.add_constant(f"{tensor}__cut", values.astype(now.dtype))
            message = f"computed tensor {tensor!r} of shape {now.shape} cannot be rewritten"
            raise SurgeryError(message, param=tensor)
        changed = np.flatnonzero(now != values)
        name = self.draft.free_name(f"{tensor}__cut")
        node = onnx.helper.make_node(
            "ScatterElements",
            [
                tensor,
                self.draft.add_constant(f"{name}_indices", changed.astype(np.int64)),
                self.draft.add_constant(f"{name}_updates", values[changed].astype(now.dtype)),
            ],
            [name],
            name=self.draft.free_name(f"{name}_node"),
            axis=0,
        )
        self.draft.insert_after(producer, node)
        self.draft.after[name] = values
        return name

    def _follows_from_constants(self, tensor: str) -> bool:
        """Whether no shape of a tensor, which may have free axes, has a part in ``tensor``."""
        producers = {name: node for node in self.draft.nodes for name in node.output}
        pending, seen = [tensor], set()
        while pending:
            name = pending.pop()
            if name in seen or not name or name in self.draft.initializers:
                continue
            seen.add(name)
            node = producers.get(name)
            if node is None or node.op_type in ("Shape", "Size"):
                return False
            pending += node.input
        return True


def differing(left: npt.NDArray[Any] | None, right: npt.NDArray[Any] | Iterable[int]) -> bool:
    """Whether an operand is known and is not already what it should be."""
    return left is not None and not np.array_equal(left, np.asarray(right))
