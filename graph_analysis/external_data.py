"""Weights that an ONNX file keeps elsewhere: in files beside it, or in sparse form, put into it.

A location comes from the file, so it is not trusted: what it names must lie in the folder of the
model, and hold as many bytes as the tensor's shape asks for.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import onnx
from onnx import numpy_helper

from graph_analysis.errors import ModelError
from graph_analysis.soundness import check_tensor

_MOST = (1 << 31) - 1  # bytes; a protobuf message, and with it an ONNX file, holds no more
_PER_BYTE = {"INT4": 2, "UINT4": 2, "FLOAT4E2M1": 2, "INT2": 4, "UINT2": 4}


def external_tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Tensors whose data is not in the file: initializers and attributes, bodies included."""
    nodes = [node for function in model.functions for node in function.node]
    tensors = [*_tensors(model.graph), *_of_nodes(nodes)]
    return [t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL]


def embed(model: onnx.ModelProto, folder: Path) -> int:
    """Read the data of all external tensors into ``model``, which is changed.

    Args:
        model: As parsed from its file.
        folder: That file's folder; nothing outside it is read.

    Returns:
        How many tensors were read.

    Raises:
        ModelError: ``model-external-data``: a location that is absolute, leads out of ``folder``
            (a link that does so included) or names no regular file; an offset or a length that does
            not fit the file or the tensor; more data than one ONNX file can hold.
    """
    tensors = external_tensors(model)
    if not tensors:
        return 0
    total = model.ByteSize()  # writes the whole model to count it
    for tensor in tensors:
        wanted = stored_bytes(tensor)
        total += wanted
        if total > _MOST:
            message = "the weights take more than 2 GiB, which is not supported"
            raise _error(tensor, message + "; store them as float16")
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = _read(tensor, _inside(tensor, folder, entries.get("location", "")), entries, wanted)
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        tensor.raw_data = data
    return len(tensors)


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes that the raw data of a tensor of this type and shape takes.

    Raises:
        ModelError: The type has no raw form (text), or the shape has a negative length.
    """
    has_no_form = tensor.data_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    has_no_form |= tensor.data_type not in onnx.TensorProto.DataType.values()
    if has_no_form or any(length < 0 for length in tensor.dims):
        msg = "it is text, of unknown type, or has no proper shape"
        raise _error(tensor, msg)
    count = int(np.prod([*tensor.dims], dtype=object)) if tensor.dims else 1
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    if name in _PER_BYTE:
        return -(-count // _PER_BYTE[name])
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def densify(graph: onnx.GraphProto) -> None:
    """Turn sparse initializers of the main graph into plain ones, as a runtime does on loading.

    Raises:
        ModelError: ``model-sparse-tensor``: indices outside the shape, or a shape beyond 2 GiB.
    """
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse))
    del graph.sparse_initializer[:]


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    name = sparse.values.name
    check_tensor(sparse.values)
    check_tensor(sparse.indices)
    header = onnx.TensorProto(dims=sparse.dims, data_type=sparse.values.data_type, name=name)
    if stored_bytes(header) > _MOST:
        message = f"sparse initializer {name!r} stands for more than 2 GiB; store it smaller"
        raise ModelError(message, code="model-sparse-tensor", param=name)
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    try:
        if indices.ndim == 2:
            indices = np.ravel_multi_index(tuple(indices.T), dense.shape)
        if np.any(indices < 0):
            raise IndexError  # noqa: TRY301  numpy would count from the end
        dense.ravel()[indices] = values
    except (IndexError, ValueError) as error:
        message = f"sparse initializer {name!r} has indices outside its shape; export it again"
        raise ModelError(message, code="model-sparse-tensor", param=name) from error
    tensor = numpy_helper.from_array(dense, name)
    tensor.doc_string = sparse.values.doc_string
    return tensor


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    yield from _of_nodes(graph.node)


def _of_sparse(tensors: Iterable[onnx.SparseTensorProto]) -> Iterator[onnx.TensorProto]:
    for sparse in tensors:
        yield sparse.values
        yield sparse.indices


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            yield from _of_sparse([*sparse, *attribute.sparse_tensors])
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(body)


def _inside(tensor: onnx.TensorProto, folder: Path, location: str) -> Path:
    """The regular file that ``location`` names inside ``folder``."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    is_rooted = posix.is_absolute() or windows.drive or windows.root
    if not location or is_rooted or ".." in (*posix.parts, *windows.parts):
        msg = f"its location {location!r} is not a path inside the model's folder"
        raise _error(tensor, msg)
    try:
        found = (folder / location).resolve(strict=True)
        within = found.is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError, RuntimeError) as error:
        message = f"its file {location!r} is not there"
        raise _error(tensor, message + "; put it beside the model") from error
    if not within or not found.is_file():
        msg = f"its location {location!r} leads out of the model's folder, or is no regular file"
        raise _error(tensor, msg)
    return found


def _read(tensor: onnx.TensorProto, path: Path, entries: dict[str, str], wanted: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = int(entries.get("offset") or 0)
            length = int(entries.get("length") or size - start)
            if start < 0 or length != wanted or start + length > size:
                what = f"{length} bytes at {start} of a file of {size}, its shape asks for {wanted}"
                raise _error(tensor, what)
            file.seek(start)
            data = file.read(length)
    except ValueError as error:
        msg = "its offset or length is no number"
        raise _error(tensor, msg) from error
    except OSError as error:
        message = f"its file {path.name!r} cannot be read ({error.strerror})"
        raise _error(tensor, message) from error
    if len(data) != wanted:
        msg = f"its file {path.name!r} ended early"
        raise _error(tensor, msg)
    return data


def _error(tensor: onnx.TensorProto, what: str) -> ModelError:
    message = f"external data of {tensor.name!r}: {what}"
    return ModelError(message, code="model-external-data", param=tensor.name)
