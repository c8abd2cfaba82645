"""The trainable form of an ONNX model: a torch.fx module, and its weights by initializer."""

import contextlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import torch
from torch import fx

from graph_analysis.soundness import check_sound
from optimizer.bridge.arrays import (
    array_from_tensor,
    dtype_of,
    tensor_from_array,
    tensor_from_proto,
)
from optimizer.bridge.bindings import Bindings, choose_bindings
from optimizer.bridge.checkpointing import checkpointed
from optimizer.bridge.expansion import with_bodies
from optimizer.bridge.folding import InsertedNorm, Insertion, folded
from optimizer.bridge.fresh import Fresh
from optimizer.bridge.fusion import fuse_graph
from optimizer.bridge.importer import GraphImport, free_inputs
from optimizer.bridge.layouts import with_channels_last
from optimizer.bridge.roles import FLOATS
from optimizer.bridge.rows import PREFIX, row_by_row
from optimizer.bridge.scopes import prepare
from optimizer.bridge.trainable_graph import TrainableGraph
from optimizer.errors import SecateurError, UnsupportedOperatorsError


@dataclass(kw_only=True)
class ImportedModule:
    """An ONNX model as torch code; copies and pickles as one.

    Attributes:
        module: Takes the inputs in graph order, returns a tensor, or a tuple in output order.
        input_names: Names of the model's inputs.
        output_names: Names of the model's outputs.
        paths: Initializer name to attribute path in ``module``, for all that ``module`` holds.
        fixed: Float initializers that are not in ``module``: nothing reads them, or their values
            are part of the code. They cannot be loaded.
        batch_is_free: Whether other batch sizes than the file's can be expected to run.
        integer_weights: Weights that the file holds as integers behind a DequantizeLinear: they
            have no float to train, so they stay as they are.
        insertions: Normalisations that the file does not have; see ``renormalising``.
        fresh: What weights start with that are trained from scratch, by initializer.
    """

    module: fx.GraphModule
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    paths: Mapping[str, str]
    fixed: Mapping[str, torch.Tensor] = field(default_factory=dict)
    batch_is_free: bool = True
    integer_weights: tuple[str, ...] = ()
    insertions: tuple[Insertion, ...] = ()
    fresh: Mapping[str, Fresh] = field(default_factory=dict)

    def checkpointed(self, *, parts: int) -> "ImportedModule":
        """Return the same model, with the same weights, that keeps fewer activations.

        All but the last of ``parts`` stretches of the graph run a second time in the backward pass.
        """
        return replace(self, module=checkpointed(self.module, parts))

    def with_channels_last(self) -> "ImportedModule":
        """Return the same model, with the same weights, laid out with channels innermost."""
        return replace(self, module=with_channels_last(self.module))

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Initializer name to the live parameter (trainable) or buffer of ``module``.

        Looked up anew on each access, since moving a module to a device replaces its buffers.
        """
        return {name: _get(self.module, path) for name, path in self.paths.items()}

    def weights(self) -> dict[str, np.ndarray]:
        """Return copies of all float initializers as they are now, by name, in their own dtype.

        Inserted normalisations are folded into what they stand behind: in the file the weights do
        what the module does in evaluation.
        """
        live = {name: tensor for name, tensor in self.tensors.items() if tensor.is_floating_point()}
        for insertion in self.insertions:
            live |= folded(self.module, insertion, self.tensors)
        return {name: array_from_tensor(tensor) for name, tensor in (live | {**self.fixed}).items()}

    def companions(self) -> dict[str, torch.Tensor]:
        """Initializer name to the live tensor that must be zeroed wherever the initializer is.

        A channel's share in an inserted normalisation goes with its bias.
        """
        found = {}
        for insertion in self.insertions:
            norm = self.module.get_submodule(insertion.path)
            assert isinstance(norm, InsertedNorm)
            found[insertion.bias] = norm.gamma
        return found

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Overwrite parameters and buffers in place.

        Args:
            weights: Initializer name to array of the initializer's shape; not all need be there.

        Raises:
            KeyError: A name is not an initializer of this model.
            ValueError: A shape differs, a value that is part of the code would change, or the
                module has normalisations that the file does not have.
        """
        if self.insertions:
            message = "weights of the file do not fit a module with inserted normalisations"
            raise ValueError(message)
        live = self.tensors
        for name, array in weights.items():
            target = live[name] if name in live else self.fixed[name]
            source = tensor_from_array(array)
            if target.shape != source.shape:
                message = (
                    f"weight '{name}' has shape {tuple(source.shape)}, not {tuple(target.shape)}"
                )
                raise ValueError(message)
            if name not in live and not torch.equal(target, source.to(target.dtype)):
                message = (
                    f"initializer '{name}' was folded into the code; import the model with its new "
                    "value instead"
                )
                raise ValueError(message)
            if name in live:
                with torch.no_grad():
                    target.copy_(source)


def import_model(
    model: onnx.ModelProto, *, fuse: bool = True, trained: Container[str] | None = None
) -> ImportedModule:
    """Turn an ONNX model into a trainable torch module.

    In ``eval`` mode the module computes what the model computes; in ``train`` mode
    BatchNormalization uses and updates batch statistics and Dropout drops. A batch size that the
    file fixes is made free where the graph allows it; a batch of 1, if need be, by running the
    graph sample by sample (``rows``).

    Args:
        model: Nodes sorted; not modified. The normalised working copy of
            ``graph_analysis.load_model`` is. Local functions are inlined. Weights inside bodies
            have the names of the flat view (``graph_analysis.bodies``).
        fuse: Whether operators that an exporter split are computed as one (``fusion``).
        trained: Names of the initializers that become parameters, where that has been decided
            before; otherwise ``roles`` decides.

    Raises:
        UnsupportedOperatorsError: Some operators have no torch function; lists all of them.
        ModelError: The graph is not well-formed, or a weight has a type that torch lacks.
    """
    try:
        return _imported(model, fuse=fuse, trained=trained)
    except SecateurError:
        raise
    except Exception:
        check_sound(model)  # what is not is at fault for it; says so itself
        raise


def _imported(
    model: onnx.ModelProto, *, fuse: bool, trained: Container[str] | None
) -> ImportedModule:
    prepared = prepare(with_bodies(model))
    model = prepared.model
    inputs = free_inputs(model.graph)
    bindings = choose_bindings(inputs)
    graph_import = GraphImport(model, bindings, prepared.flat, trained)
    if bindings.relaxes_batch:
        with contextlib.suppress(UnsupportedOperatorsError):  # found again by the second attempt
            graph_import.run()
    else:
        graph_import.run()
    batch_is_free = graph_import.is_done and not graph_import.writer.binds_batch
    if bindings.relaxes_batch and not batch_is_free:
        fixed = choose_bindings(inputs, free_batch=False)
        graph_import = GraphImport(model, fixed, prepared.flat, trained)
        graph_import.run()
    if fuse:
        fuse_graph(graph_import.writer.graph, graph_import.writer.root)
    imported = _finished(model, graph_import, batch_is_free=batch_is_free)
    return imported if batch_is_free else _by_rows(imported, inputs, bindings)


def _by_rows(
    imported: ImportedModule, inputs: Sequence[onnx.ValueInfoProto], bindings: Bindings
) -> ImportedModule:
    """Free a batch of 1 the general way, where that is possible."""
    dtypes = [dtype_of(info.type.tensor_type.elem_type) or torch.float32 for info in inputs]
    assert isinstance(imported.module, TrainableGraph)
    module = row_by_row(imported.module, bindings, dtypes)
    if module is None:
        return imported
    paths = {name: PREFIX + path for name, path in imported.paths.items()}
    return replace(imported, module=module, paths=paths, batch_is_free=True)


def _finished(
    model: onnx.ModelProto, graph_import: GraphImport, *, batch_is_free: bool
) -> ImportedModule:
    writer = graph_import.writer
    module = TrainableGraph(writer.root, writer.graph)
    held = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    paths = {name: path for name, path in graph_import.paths.items() if path in held}
    fixed = {
        proto.name: tensor_from_proto(proto)
        for proto in graph_import.initializers
        if proto.data_type in FLOATS and (proto.name not in paths or proto.name in writer.baked)
    }
    return ImportedModule(
        module=module,
        input_names=tuple(info.name for info in free_inputs(model.graph)),
        output_names=tuple(info.name for info in model.graph.output),
        paths={name: path for name, path in paths.items() if name not in fixed},
        fixed=fixed,
        batch_is_free=batch_is_free,
        integer_weights=graph_import.integer_weights,
        fresh=graph_import.fresh,
    )


def _get(module: torch.nn.Module, path: str) -> torch.Tensor:
    parent, _, leaf = path.rpartition(".")
    found: torch.Tensor = getattr(module.get_submodule(parent), leaf)
    return found
