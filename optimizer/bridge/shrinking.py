"""The module of a run takes the form of a cut model, and comes back: the same tensors, smaller.

A cut in the middle of a run must not disturb what holds the module or its parameters: optimizer,
averages, closures. So the objects stay. ``Shrinker.cut`` puts the graph of the cut model into the
module in the place of its own and gives every parameter and statistic the positions that stay as
its new storage; a tensor that is gone stays under its name with no element. ``restore`` undoes
both: what was removed comes back as it was when it was cut out.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, fx

from optimizer.bridge.module import ImportedModule, import_model
from optimizer.bridge.places import holder
from optimizer.bridge.random_draws import Drawing
from optimizer.bridge.renormalising import put_back
from optimizer.bridge.rows import PREFIX, RowByRow
from optimizer.errors import SecateurError

_CONTAINER = "%cut"  # holds what only the cut graph has: constants, modules that draw
_STATISTICS = ("mean", "variance")


class CutForm(Protocol):
    """A cut model to go on with; ``exporters.training_form`` makes it."""

    @property
    def model(self) -> onnx.ModelProto:
        """Its initializers have the names of the whole model's."""

    @property
    def kept(self) -> Mapping[str, Mapping[int, npt.NDArray[np.int64]]]:
        """Initializer that loses positions -> axis -> those that stay, ascending."""


class CutError(SecateurError):
    """The module cannot take the form of a cut model; it is as it was before."""

    default_code = "cutting-skipped"


class Shrinker:
    """The form that the module of ``imported`` has: whole, or that of a cut model.

    Attributes:
        names: Paths of all parameters and buffers of the whole module.
        container: What paths of other tensors, which only a cut module has, begin with.
    """

    def __init__(
        self, imported: ImportedModule, *, of_file: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take the module as it is now for the whole one.

        Args:
            imported: The module and what is known about it.
            of_file: Tensors that do not train and have other values now than in the file, by
                initializer: as the file has them.
        """
        self._imported = imported
        self.container = f"{_host_of(imported.module)[1]}{_CONTAINER}."
        self._host, self._prefix = _host_of(imported.module)
        self._graph = self._host.graph
        self._tensors = {**dict(self._module.named_parameters()), **_buffers(self._module)}
        self.names = frozenset(self._tensors)
        self._initial = {
            name: tensor.clone()
            for name, tensor in imported.tensors.items()
            if tensor.is_floating_point() and not isinstance(tensor, torch.nn.Parameter)
        } | dict(of_file or {})
        self._whole: dict[str, Tensor] = {}  # of what is cut: all positions, as they were then
        self._kept: dict[str, dict[int, Tensor]] = {}
        self._gone: frozenset[str] = frozenset()
        self._trained = {path for path, one in self._tensors.items() if one.requires_grad}

    @property
    def is_cut(self) -> bool:
        """Whether the module is smaller than the whole one."""
        return bool(self._whole)

    def cut(self, form: CutForm) -> None:
        """Take ``form``, from the whole; parameters lose their gradients.

        Raises:
            CutError: The cut model does not have the tensors of the whole one; nothing changed.
            UnsupportedOperatorsError: It has an operator without a torch function.
        """
        assert not self.is_cut
        parameters = {
            name
            for name, tensor in self._imported.tensors.items()
            if isinstance(tensor, torch.nn.Parameter)
        }
        small = import_model(form.model, trained=parameters)
        self._compare_interface(small)
        left = [one for one in self._imported.insertions if one.bias in small.paths]
        put_back(small, left, self._module)
        plan = _Plan(self._imported, small, form, self._initial, self._prefix)
        host, _ = _host_of(small.module)
        draws, new_draws = _drawings(self._module), _drawings(host)
        if len(draws) != len(new_draws) and any(one.seed is not None for one in draws):
            message = "an operator with a seed of its own goes, and its sequence with it"
            raise CutError(message)
        graph, container = _adopted(host, plan.path_of, [one.path for one in left])
        self._apply(plan)
        for before, after in zip(draws, new_draws, strict=False):
            after.drawn = before.drawn
        self._host.add_module(_CONTAINER, container.to(self._device))
        self._host.graph = graph
        self._module.train(self._module.training)

    def restore(self) -> None:
        """Take the form of the whole module again; parameters lose their gradients."""
        if not self.is_cut:
            return
        for path, tensor in self._tensors.items():
            if path in self._whole:
                tensor.grad = None
                tensor.data = self.expanded(path, tensor.data, around=self._whole[path])
                tensor.requires_grad = path in self._trained
        container = self._host._modules.pop(_CONTAINER, None)
        draws = [] if container is None else _drawings(container)
        self._host.graph = self._graph
        whole = _drawings(self._module)
        if len(draws) == len(whole):
            for before, after in zip(draws, whole, strict=True):
                after.drawn = before.drawn
        self._whole, self._kept, self._gone = {}, {}, frozenset()

    @torch.no_grad()
    def overwrite(self, weights: Mapping[str, Tensor]) -> None:
        """Copy ``weights``, by path, into the whole module."""
        assert not self.is_cut
        for path, tensor in weights.items():
            self._tensors[path].copy_(tensor)

    def shape(self, path: str) -> torch.Size | None:
        """Shape of the tensor at ``path`` as it is now."""
        return self._tensors[path].shape if path in self._tensors else None

    def whole_shape(self, path: str) -> torch.Size | None:
        """Shape of the tensor at ``path`` in the whole module."""
        return self._whole[path].shape if path in self._whole else self.shape(path)

    def sliced(self, path: str, tensor: Tensor) -> Tensor:
        """What is left of a tensor that has the whole shape of the one at ``path``."""
        if path in self._gone:
            return tensor.new_empty([0] * max(tensor.dim(), 1))
        for axis, index in self._kept.get(path, {}).items():
            tensor = tensor.index_select(axis, index.to(tensor.device))
        return tensor

    def expanded(self, path: str, tensor: Tensor, *, around: Tensor | None = None) -> Tensor:
        """The inverse of ``sliced``: removed positions are those of ``around``, or 0."""
        if path not in self._whole:
            return tensor
        whole = self._whole[path]
        background = torch.zeros_like(whole) if around is None else around.clone()
        background = background.to(tensor.device, tensor.dtype)
        if path in self._gone:
            return background
        return _written(background, tensor, list(self._kept.get(path, {}).items()))

    def kept(self, tensor: Tensor, axis: int) -> Tensor | None:
        """Positions of a live ``tensor`` that are left along ``axis``; None where all are."""
        path = self._path_of.get(id(tensor))
        if path in self._gone:
            return torch.empty(0, dtype=torch.int64)
        return self._kept.get(path, {}).get(axis) if path is not None else None

    def path(self, tensor: Tensor) -> str | None:
        """Path of a live ``tensor`` of the module."""
        return self._path_of.get(id(tensor))

    def whole_weights(self) -> dict[str, Tensor]:
        """All parameters and buffers in whole shape, by path; copies where something is cut."""
        return {
            path: self.expanded(path, tensor.detach(), around=self._whole.get(path))
            for path, tensor in self._tensors.items()
        }

    @property
    def _path_of(self) -> dict[int, str]:
        return {id(tensor): path for path, tensor in self._tensors.items()}

    @property
    def _module(self) -> fx.GraphModule:
        return self._imported.module

    @property
    def _device(self) -> torch.device:
        return next(iter(self._tensors.values())).device

    def _compare_interface(self, small: ImportedModule) -> None:
        whole = self._imported
        for what in ("input_names", "output_names", "batch_is_free"):
            if getattr(whole, what) != getattr(small, what):
                message = f"the cut model has other {what.replace('_', ' ')}"
                raise CutError(message)
        if (self._prefix != "") != (_host_of(small.module)[1] != ""):
            message = "the cut model takes its batch in another way"
            raise CutError(message)

    def _apply(self, plan: "_Plan") -> None:
        self._gone = frozenset(plan.gone)
        self._kept = {
            path: {axis: torch.from_numpy(index).to(self._device) for axis, index in axes.items()}
            for path, axes in plan.kept.items()
        }
        for path in (*plan.kept, *plan.gone):
            tensor = self._tensors[path]
            tensor.grad = None
            self._whole[path] = tensor.data
            tensor.data = self.sliced(path, tensor.data)
            if path in self._gone:
                tensor.requires_grad = False


class _Plan:
    """What becomes of every tensor of the whole module.

    Attributes:
        path_of: Path in the cut module -> path of the tensor that takes its place.
        kept: Path of a tensor that stays -> what it keeps along the axes that lose something.
        gone: Paths of parameters that the cut model does not have.
    """

    def __init__(
        self,
        whole: ImportedModule,
        small: ImportedModule,
        form: CutForm,
        initial: Mapping[str, Tensor],
        prefix: str,
    ) -> None:
        self.path_of: dict[str, str] = {}
        self.kept: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
        self.gone: list[str] = []
        self._prefix = prefix
        self._form = form
        self._small = small.tensors
        tensors = whole.tensors
        for name, path in whole.paths.items():
            if isinstance(tensors[name], torch.nn.Parameter):
                self._add_parameter(name, path, tensors[name], small)
            elif name in initial:
                self._add_statistic(name, path, initial[name], small)
        for insertion in whole.insertions:
            self._add_norm(insertion.path, insertion.bias, small)
        shared = {f"{insertion.path}.gamma" for insertion in whole.insertions}
        trained = {path.removeprefix(prefix) for path, _ in small.module.named_parameters()}
        others = trained - shared - set(self.path_of)
        if others:
            message = f"the cut model trains {min(others)!r}, the whole one does not"
            raise CutError(message)

    def _add_parameter(self, name: str, path: str, tensor: Tensor, small: ImportedModule) -> None:
        if name not in small.paths:
            if name in small.fixed:
                message = f"weight {name!r} would become part of the code"
                raise CutError(message)
            self.gone.append(path)
            return
        shape = list(tensor.shape)
        for axis, index in self._form.kept.get(name, {}).items():
            shape[axis] = len(index)
        if tuple(shape) != tuple(self._small[name].shape):
            message = (
                f"weight {name!r} should become {tuple(shape)}, the cut model has "
                f"{tuple(self._small[name].shape)}"
            )
            raise CutError(message)
        self._carry(name, path, small.paths[name])

    def _add_statistic(self, name: str, path: str, initial: Tensor, small: ImportedModule) -> None:
        """A float that does not train; what the surgeon gave another value is its own."""
        if name not in small.paths:
            return
        kept = self._form.kept.get(name, {})
        sliced = initial
        for axis, index in kept.items():
            sliced = sliced.index_select(axis, torch.from_numpy(index).to(initial.device))
        target = self._small[name]
        if sliced.shape == target.shape and _is_equal(sliced, target):
            self._carry(name, path, small.paths[name])
        elif kept:
            message = f"tensor {name!r} is not the whole one's without what was removed"
            raise CutError(message)

    def _carry(self, name: str, path: str, small_path: str) -> None:
        inner = small_path.removeprefix(self._prefix)
        self.path_of[inner] = path.removeprefix(self._prefix)
        self.kept[path] = {
            axis: index.copy() for axis, index in self._form.kept.get(name, {}).items()
        }

    def _add_norm(self, path: str, bias: str, small: ImportedModule) -> None:
        gamma, *statistics = (f"{path}.{leaf}" for leaf in ("gamma", *_STATISTICS))
        if bias not in small.paths:
            self.gone.append(gamma)
            return
        for each in (gamma, *statistics):
            self.kept[each] = dict(self._form.kept.get(bias, {}))


def _adopted(
    small: fx.GraphModule, path_of: Mapping[str, str], shared: list[str]
) -> tuple[fx.Graph, torch.nn.Module]:
    """The graph of ``small`` on tensors of another module, and a container for the rest of it."""
    container = torch.nn.Module()
    graph = small.graph
    for node in graph.nodes:
        target = str(node.target)
        if node.op == "get_attr" and target in path_of:
            node.target = path_of[target]
        elif node.op == "get_attr":
            _put(container, target, _attribute(small, target))
            node.target = f"{_CONTAINER}.{target}"
        elif node.op == "call_module" and target not in shared:
            _put(container, target, small.get_submodule(target))
            node.target = f"{_CONTAINER}.{target}"
    return graph, container


def _put(root: torch.nn.Module, path: str, value: torch.nn.Module | Tensor) -> None:
    root, leaf = holder(root, path)
    if isinstance(value, torch.nn.Module):
        root.add_module(leaf, value)
    else:
        root.register_buffer(leaf, value.detach())


def _attribute(module: torch.nn.Module, path: str) -> Tensor:
    parent, _, leaf = path.rpartition(".")
    found: Tensor = getattr(module.get_submodule(parent), leaf)
    return found


def _host_of(module: fx.GraphModule) -> tuple[fx.GraphModule, str]:
    """The module whose graph is that of the file, and what its paths begin with in ``module``."""
    for inner in module.children():
        if isinstance(inner, RowByRow):
            return inner.body, PREFIX
    return module, ""


def _buffers(module: torch.nn.Module) -> dict[str, Tensor]:
    return dict(module.named_buffers())


def _drawings(module: torch.nn.Module) -> list[Drawing]:
    return [one for one in module.modules() if isinstance(one, Drawing)]


def _is_equal(left: Tensor, right: Tensor) -> bool:
    right = right.to(left.device)
    return bool(torch.equal(left.nan_to_num(), right.nan_to_num()))


def _written(whole: Tensor, part: Tensor, places: list[tuple[int, Tensor]]) -> Tensor:
    """``whole`` with ``part`` at the positions that ``places`` lists along each axis."""
    if not places:
        return part.clone()
    (axis, index), *others = places
    index = index.to(whole.device)
    if others:
        part = _written(whole.index_select(axis, index), part, others)
    return whole.index_copy_(axis, index, part)
