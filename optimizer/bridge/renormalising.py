"""Gives a network whose BatchNormalizations were folded away new ones to train with.

Exporters fold a BatchNormalization into the convolution in front of it. What is left computes the
same and trains badly: nothing keeps the scale of a layer's output steady while other layers lose
channels. Here every convolution that can carry one gets an ``InsertedNorm`` with the statistics
of the user's own data; ``ImportedModule.weights`` folds it away again, so nobody who reads weights
has to know. In evaluation the network computes what it did before, to rounding.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx

from optimizer.bridge.folding import InsertedNorm, Insertion, Moments
from optimizer.bridge.layers_after import Surroundings, function_name
from optimizer.bridge.module import ImportedModule
from optimizer.bridge.writer import TENSOR

# Function name to whether it is transposed; all take (x, weight, bias, ...).
_CONVOLUTIONS: Mapping[str, bool] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), False),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), True),
    **dict.fromkeys(("transpose_and_crop", "transpose_to_size"), True),
}
_FEWEST_VALUES = 16  # per channel and batch: fewer say little about the rest of the data
_FEWEST_LAYERS = 2  # a network with one convolution has not lost what a deep one needs
_EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class Renormalised:
    """What was done to a network.

    Attributes:
        inserted: Initializers of the convolutions that got a normalisation.
        left: Reason to the number of convolutions that were left as they are for it.
    """

    inserted: tuple[str, ...]
    left: Mapping[str, int]

    def __str__(self) -> str:
        """As a sentence."""
        layers = f"{len(self.inserted)} convolution{'s' if len(self.inserted) != 1 else ''}"
        text = f"normalisation for training put after {layers}; it is folded away at export"
        if not self.inserted:
            text = "no convolution can be given a normalisation for training"
        if not self.left:
            return text
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left.items()))
        return f"{text}; left as they are: {reasons}"


def is_folded(imported: ImportedModule) -> bool:
    """Whether a network looks like one whose normalisations were folded away.

    It has several convolutions that could carry one, and no normalisation of any kind. One that
    was designed without any looks the same.
    """
    found = _Candidates(imported)
    return len(found.usable) >= _FEWEST_LAYERS and not found.surroundings.normalisations


def renormalise(imported: ImportedModule, batches: Iterable[Sequence[Tensor]]) -> Renormalised:
    """Put normalisations after convolutions, in place.

    Left as they are: convolutions without a bias to fold a shift into, with a weight or bias that
    others use too or that the graph computes, in half precision, in front of a normalisation,
    right before an output, with one value per channel and sample (gates), and those whose
    statistics on ``batches`` are of few values or not finite.

    Args:
        imported: Changed; later changes to its weights go through training, not ``load_weights``.
        batches: Inputs in graph order, on the module's device, of the size that training uses.

    Raises:
        ValueError: It has them already.
    """
    if imported.insertions:
        message = "the module has been given normalisations before"
        raise ValueError(message)
    found = _Candidates(imported)
    moments = _measure(imported.module, list(found.usable), batches)
    left = Counter(found.refused)
    insertions = []
    for node, insertion in found.usable.items():
        reason = _unusable(moments[node])
        if reason:
            left[reason] += 1
            continue
        _insert(imported.module, node, insertion, moments[node])
        insertions.append(insertion)
    if insertions:
        imported.module.graph.lint()
        imported.module.recompile()
        imported.insertions = tuple(insertions)
    return Renormalised(inserted=tuple(one.weight for one in insertions), left=dict(left))


def put_back(
    imported: ImportedModule, insertions: Sequence[Insertion], source: torch.nn.Module
) -> None:
    """Put the normalisations of ``source`` into another import of the same network, in place.

    The norms themselves are shared, not copied, and nothing is measured.

    Args:
        imported: Without normalisations; of a network that still has all the convolutions.
        insertions: Those of ``source`` that are wanted.
        source: Holds the norms.

    Raises:
        ValueError: A convolution is not there any more, or its bias has other readers.
    """
    convolutions = {
        (node.args[1].target, node.args[2].target): node
        for node in imported.module.graph.nodes
        if function_name(node) in _CONVOLUTIONS
        and len(node.args) > 2
        and all(isinstance(one, fx.Node) for one in node.args[1:3])
    }
    for insertion in insertions:
        paths = imported.paths.get(insertion.weight), imported.paths.get(insertion.bias)
        node = convolutions.get(paths)
        if node is None:
            message = f"no convolution reads {insertion.weight!r} and {insertion.bias!r}"
            raise ValueError(message)
        norm = source.get_submodule(insertion.path)
        assert isinstance(norm, InsertedNorm)
        _put_behind(imported.module, node, insertion.path, norm)
    if insertions:
        imported.module.graph.lint()
        imported.insertions = tuple(insertions)


class _Candidates:
    """The convolutions of a module, sorted by whether they can carry a normalisation.

    Attributes:
        usable: Node of the convolution to the insertion that it would get.
        refused: Reason to the number of convolutions.
    """

    def __init__(self, imported: ImportedModule) -> None:
        self._imported = imported
        self._module = imported.module
        self._names = {path: name for name, path in imported.paths.items()}
        self.surroundings = Surroundings(imported.module)
        self.usable: dict[fx.Node, Insertion] = {}
        self.refused: Counter[str] = Counter()
        for node in imported.module.graph.nodes:
            if function_name(node) in _CONVOLUTIONS:
                self._sort(node)

    def _sort(self, node: fx.Node) -> None:
        reason = self._reason_against(node)
        if reason is not None:
            self.refused[reason] += 1
            return
        weight, bias = node.args[1:3]
        assert isinstance(weight, fx.Node)
        assert isinstance(bias, fx.Node)
        self.usable[node] = Insertion(
            path=f"%norm{len(self.usable) + 1}",
            weight=self._names[str(weight.target)],
            bias=self._names[str(bias.target)],
            transposed=_CONVOLUTIONS[function_name(node)],
        )

    def _reason_against(self, node: fx.Node) -> str | None:
        if len(node.args) < 3 or node.args[2] is None:
            return "without a bias"
        weight, bias = node.args[1:3]
        if not self._is_own(weight) or not self._is_own(bias):
            return "with shared or computed weights"
        if self._parameters[str(weight.target)].dtype not in _EXACT:  # type: ignore[union-attr]
            return "in half precision"
        if self.surroundings.is_normalised(node):
            return "in front of a normalisation"
        if self.surroundings.makes_output(node):
            return "right before an output"
        return None

    @cached_property
    def _parameters(self) -> Mapping[str, torch.nn.Parameter]:
        return dict(self._module.named_parameters())

    @cached_property
    def _reads(self) -> Counter[str]:
        """Attribute path to how often the graph reads it."""
        nodes = self._module.graph.nodes
        reads: Counter[str] = Counter()
        for node in nodes:
            if node.op == "get_attr":
                reads[str(node.target)] += len(node.users)
        return reads

    def _is_own(self, argument: object) -> bool:
        """Whether an argument is an initializer that trains and that nothing else reads."""
        if not isinstance(argument, fx.Node) or argument.op != "get_attr":
            return False
        path = str(argument.target)
        return path in self._names and path in self._parameters and self._reads[path] == 1


class _Measuring(fx.Interpreter):
    """Runs a module and takes the moments of what some of its nodes make."""

    def __init__(self, module: fx.GraphModule, watched: Iterable[fx.Node]) -> None:
        super().__init__(module)
        self.moments = {node: Moments() for node in watched}

    def run_node(self, n: fx.Node) -> object:
        """Run one node."""
        result = super().run_node(n)
        if n in self.moments:
            assert isinstance(result, Tensor)
            self.moments[n].add(result)
        return result


@torch.no_grad()
def _measure(
    module: fx.GraphModule, nodes: Sequence[fx.Node], batches: Iterable[Sequence[Tensor]]
) -> dict[fx.Node, Moments]:
    was_training = module.training
    measuring = _Measuring(module.eval(), nodes)
    for inputs in batches if nodes else ():
        measuring.run(*inputs)
    module.train(was_training)
    return measuring.moments


def _unusable(moments: Moments) -> str | None:
    if moments.mean is None or moments.least < _FEWEST_VALUES:
        return "with too few values in a batch"
    if moments.per_sample == 1:
        return "with one value per channel"
    if not bool(torch.isfinite(moments.mean).all() and torch.isfinite(moments.variance).all()):
        return "with outputs that are not finite"
    return None


def _insert(module: fx.GraphModule, node: fx.Node, insertion: Insertion, moments: Moments) -> None:
    """Take the bias out of ``node`` and put the norm behind it."""
    weight, bias = node.args[1:3]
    assert isinstance(weight, fx.Node)
    assert isinstance(bias, fx.Node)
    beta = module.get_parameter(str(bias.target))
    assert moments.mean is not None
    mean = moments.mean - beta.detach().double()
    norm = InsertedNorm(mean.to(beta.dtype), moments.variance.to(beta.dtype))
    with torch.no_grad():
        # with what the rounded statistics are, the shift is undone to the last digit
        beta.add_(norm.mean)
    _put_behind(module, node, insertion.path, norm.train(module.training))


def _put_behind(module: fx.GraphModule, node: fx.Node, path: str, norm: InsertedNorm) -> None:
    """Let ``norm`` normalise what ``node`` makes and take over its bias."""
    bias = node.args[2]
    module.add_module(path, norm)
    with module.graph.inserting_after(node):
        behind = module.graph.create_node("call_module", path, (node, bias))
    node.replace_all_uses_with(behind, delete_user_cb=lambda user: user is not behind)
    node.args = (*node.args[:2], None, *node.args[3:])
    if TENSOR in node.meta:  # what the file calls so is made behind the norm now
        behind.meta[TENSOR] = node.meta.pop(TENSOR)
