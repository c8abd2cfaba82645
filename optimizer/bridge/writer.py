"""Writes the torch graph: emits calls, folds what is constant, probes what is not.

Knows no ONNX operators. Whatever the graph refers to besides its inputs becomes a parameter or
buffer of ``root`` under a safe attribute path; ``%name`` is a path that no initializer gets.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from optimizer.bridge import host
from optimizer.bridge.host import HostValue
from optimizer.bridge.places import holder
from optimizer.bridge.probing import PROBE_ERRORS, map_values, probe, values_in
from optimizer.bridge.unsupported import UnsupportedVariant
from optimizer.bridge.values import Probes, Value, constant_of

PROBES, CHANGES = "probes", "changes"  # in the meta of a node: what it is, a buffer to be set later
TENSOR = "tensor"  # in the meta of a node: the name of what it makes, in the file
_FOLD_LIMIT = 1 << 22  # elements: folding an Expand must not blow the module up


class Writer:
    """A torch graph in the making.

    Attributes:
        graph: What has been written so far.
        root: Owns the parameters and buffers that ``graph`` refers to.
        baked: Initializers whose values went into folded constants or into the code.
        batch: The batch size that the file fixes and the second binding changes, if any.
        binds_batch: Whether something in the graph is only right at ``batch``.
        paths: Initializer name to attribute path.
    """

    def __init__(self, paths: Mapping[str, str], *, batch: int | None = None) -> None:
        self.graph = fx.Graph()
        self.root = torch.nn.Module()
        self.baked: set[str] = set()
        self.batch = batch
        self.binds_batch = False
        self.anchor = constant_of(torch.empty(0))  # its device is where new tensors belong
        self.paths = paths
        self._nodes: dict[Value, fx.Node] = {}
        self._made = 0
        self._name: str | None = None

    @property
    def relaxes_batch(self) -> bool:
        """Whether the second binding changes a batch size that the file fixes."""
        return self.batch is not None

    def name_next(self, name: str) -> None:
        """Suggest a name for the graph nodes written from now on."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or None
        self._name = "self_" if plain == "self" else plain  # the module's own in its code

    @property
    def suggested(self) -> str | None:
        """The name suggested last, as an identifier."""
        return self._name

    def input(
        self, name: str, dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...] | None
    ) -> Value:
        """Declare the next argument of ``forward``."""
        self.name_next(name)
        node = self.graph.create_node("placeholder", f"input_{self._name}")
        if shapes is None:
            return Value(dtype=dtype, node=node)
        first, second = (torch.empty(shape, dtype=dtype, device="meta") for shape in shapes)
        return Value(dtype=dtype, node=_probed(node, (first, second)), probes=(first, second))

    def parameter(self, name: str, tensor: torch.Tensor) -> Value:
        """Register a trainable initializer."""
        path = self.paths[name]
        _register(self.root, path, torch.nn.Parameter(tensor))
        meta = tensor.to("meta")
        node = _probed(self._attribute(path), (meta, meta))
        return Value(dtype=tensor.dtype, node=node, probes=(meta, meta))

    def buffer(self, value: Value) -> Value:
        """Register the initializer that a constant is as a buffer that is never folded.

        For running statistics, which change during training.
        """
        node = self.node(value)
        assert node is not None  # a tensor lives somewhere; only an optional without one does not
        node.meta[CHANGES] = True
        return Value(dtype=value.dtype, node=node, probes=value.probes)

    def emit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Value:
        """Write ``function(*args, **kwargs)``, which returns one tensor.

        Arguments are values and Python constants, also in tuples and lists. A call on constants
        only is made now.
        """
        probes = self._probe(function, args, kwargs)
        folded = self._fold(function, args, kwargs, probes)
        if folded is not None:
            return folded
        node = _probed(self._call(function, args, kwargs), probes)
        return Value(dtype=_dtype(probes), node=node, probes=probes)

    def emit_many(
        self, count: int, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> list[Value]:
        """Write a call that returns ``count`` tensors in a tuple."""
        probes = self._probe(function, args, kwargs)
        return self._items(count, self._call(function, args, kwargs), probes)

    def emit_module(
        self, kind: str, module: torch.nn.Module, count: int, *args: Any
    ) -> list[Value]:
        """Write a call of ``module``: an operator that differs between training and inference."""
        path = self._new_path(kind)
        self.root.add_module(path, module)
        probes = self._probe(module.eval(), args, {})
        module.train()
        node = self.graph.create_node(
            "call_module", path, map_values(args, self.node), {}, name=self._name
        )
        return self._items(count, node, probes)

    def emit_host(
        self,
        function: Callable[..., Any],
        *args: Any,
        dtype: torch.dtype = torch.int64,
        moves: bool = False,
    ) -> Value | HostValue:
        """Write a call on host values and Python numbers.

        Args:
            function: Returns Python numbers or a flat tuple of them.
            args: Host values, device tensors (for ``shape_of``), Python constants.
            dtype: ONNX element type of the result.
            moves: Whether the function only picks from its inputs.

        Returns:
            Python numbers if they are known at import, else a host value.
        """
        if not values_in(args):
            result: HostValue = function(*args)
            return result
        probes = self._probe(function, args, {})
        picked = moves and all(value.is_picked or not value.is_host for value in values_in(args))
        if picked and probes[0] is not None and probes[0] == probes[1]:
            settled: HostValue = probes[0]
            return settled
        node = _probed(self._call(function, args, {}), probes)
        return Value(dtype=dtype, node=node, is_host=True, is_picked=picked, probes=probes)

    def shape(self, value: Value) -> Value | HostValue:
        """Return the sizes of ``value`` as numbers, or as a host value if some are free."""
        if value.constant is not None:
            return tuple(value.constant.shape)
        return self.emit_host(host.shape_of, self.tensor(value), moves=True)

    def grows(self, value: Value, axis: int) -> bool:
        """Whether an axis grows with a batch size that the file fixes."""
        static = value.static_shape if self.relaxes_batch else None
        return static is not None and static[axis] is None

    def tensor(self, value: Value) -> Value:
        """Return ``value`` as a tensor: a host value is put on the device."""
        if not value.is_tensor:
            message = "reads a sequence or an optional where a tensor belongs"
            raise UnsupportedVariant(message)
        if not value.is_host:
            return value
        return self.emit(host.to_tensor, value, value.dtype or torch.int64, self.anchor)

    def numbers(self, value: Value) -> Value | HostValue:
        """Return ``value`` as Python numbers, or as a host value."""
        if value.constant is not None:
            self.baked |= value.sources
            return value.numbers()
        if value.is_host:
            return value
        return self.emit_host(host.to_list, value, dtype=value.dtype or torch.int64)

    def call(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        """Write a call of which nothing is probed or folded."""
        return self._call(function, args, {})

    def call_module(self, kind: str, module: torch.nn.Module, *args: Any) -> fx.Node:
        """Write a call of ``module`` of which nothing is probed."""
        path = self._new_path(kind)
        self.root.add_module(path, module)
        arguments = map_values(args, self.node)
        return self.graph.create_node("call_module", path, arguments, {}, name=self._name)

    def item(self, node: fx.Node, position: int) -> fx.Node:
        """Take one of the results of a call."""
        return self.graph.call_function(operator.getitem, (node, position))

    def node(self, value: Value) -> fx.Node | None:
        """Return where ``value`` lives in the graph; a constant becomes a buffer first.

        A sequence whose length is known is written as a list; what is absent is ``None``.
        """
        if value.node is not None or value.is_absent:
            return value.node
        if value.items is not None:
            if value not in self._nodes:
                self._nodes[value] = self.call(host.list_of, *value.items)
            return self._nodes[value]
        if value not in self._nodes:
            assert value.constant is not None
            if value.initializer is None:
                self.baked |= value.sources
            path = self.paths[value.initializer] if value.initializer else self._new_path("const")
            _register(self.root, path, value.constant)
            self._nodes[value] = _probed(self._attribute(path), value.probes)
        return self._nodes[value]

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> fx.Node:
        return self.graph.create_node(
            "call_function",
            function,
            map_values(args, self.node),
            {name: map_values(item, self.node) for name, item in kwargs.items()},
            name=self._name,
        )

    def _probe(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Probes:
        values = values_in((*args, *kwargs.values()))
        found = []
        for binding in (0, 1):
            found.append(probe(function, args, kwargs, binding))
            is_known = all(value.probes[binding] is not None for value in values)
            if self.relaxes_batch and is_known and found[-1] is None:
                self.binds_batch = True
        return found[0], found[1]

    def _fold(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        probes: Probes,
    ) -> Value | None:
        values = values_in((*args, *kwargs.values()))
        if any(value.constant is None for value in values):
            return None
        if isinstance(probes[0], torch.Tensor) and probes[0].numel() > _FOLD_LIMIT:
            return None
        constants = {name: map_values(item, _constant) for name, item in kwargs.items()}
        try:
            result = function(*map_values(args, _constant), **constants)
        except PROBE_ERRORS:
            return None
        sources = frozenset().union(*(value.sources for value in values))
        return constant_of(result.contiguous(), sources=sources)

    def _items(self, count: int, node: fx.Node, probes: Probes) -> list[Value]:
        if count == 1:
            return [Value(dtype=_dtype(probes), node=_probed(node, probes), probes=probes)]
        items = []
        for position in range(count):
            first, second = (None if found is None else found[position] for found in probes)
            item = self.item(node, position)
            _probed(item, (first, second))
            items.append(Value(dtype=_dtype((first, second)), node=item, probes=(first, second)))
        return items

    def _attribute(self, path: str) -> fx.Node:
        return self.graph.create_node("get_attr", path, name=re.sub(r"\W", "_", f"p_{path}"))

    def _new_path(self, kind: str) -> str:
        self._made += 1
        return f"%{kind}{self._made}"


def _probed(node: fx.Node, probes: Probes) -> fx.Node:
    node.meta[PROBES] = probes
    return node


def _constant(value: Value) -> torch.Tensor:
    assert value.constant is not None
    return value.constant


def _dtype(probes: Probes) -> torch.dtype | None:
    found = probes[0] if probes[0] is not None else probes[1]
    return found.dtype if isinstance(found, torch.Tensor) else None


def _register(root: torch.nn.Module, path: str, tensor: torch.Tensor) -> None:
    root, leaf = holder(root, path)
    if isinstance(tensor, torch.nn.Parameter):
        root.register_parameter(leaf, tensor)
    else:
        root.register_buffer(leaf, tensor)
