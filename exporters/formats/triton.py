"""The configuration that Triton Inference Server reads beside a model: ``config.pbtxt``.

Types and lengths are those of the file. Whether requests may be batched together is found out by
running the model: every input has a free first axis, and every output follows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from exporters.errors import SurgeryError
from exporters.formats.refusing import first_line, unsupported
from exporters.samples import bound_shapes, has_free_batch, input_specs, random_feeds, variations
from exporters.sessions import Feeds, open_session, run

_FORM = "serving bundle"
_LARGEST_BATCH = 32
_TYPES: dict[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.STRING: "STRING",
    onnx.TensorProto.BFLOAT16: "BF16",
}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}


@dataclass(frozen=True, kw_only=True)
class ServedTensor:
    """An input or output as a server describes it.

    Attributes:
        name: In the file.
        kind: Triton's name of the element type, without ``TYPE_``.
        shape: All lengths, the batch among them; -1 for a free one.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a model takes and returns.

    Attributes:
        inputs: In the file's order.
        outputs: In the file's order.
        is_batched: Whether the first axis of all of them counts samples, and is free.
    """

    inputs: tuple[ServedTensor, ...]
    outputs: tuple[ServedTensor, ...]
    is_batched: bool


def served(
    model: onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    samples: Feeds | None = None,
) -> Served:
    """Look at the file, and run it on one sample and on three.

    Args:
        model: Anything that ONNX Runtime runs.
        shapes: Shapes per input that are known to work; bind free axes but the batch.
        samples: Real ones to run it on, three or more; random ones without.

    Raises:
        InputError: ``export-unsupported``: an input or output is no tensor, or the model does not
            run on these samples.
    """
    try:
        specs = input_specs(model)
    except SurgeryError as error:
        raise unsupported(_FORM, str(error), param=error.param) from error
    names = {spec.name for spec in specs}
    ran = _run(model, shapes or {}, samples)
    inputs = [value for value in model.graph.input if value.name in names]
    free = has_free_batch(specs) and all(spec.shape for spec in specs)
    follows = len(ran) > 1 and all(
        values.shape[:1] == (batch,)
        for batch, outputs in ran.items()
        for values in outputs.values()
    )
    ranks = {name: values.ndim for name, values in next(iter(ran.values())).items()}
    outputs = tuple(_tensor(value, ranks.get(value.name)) for value in model.graph.output)
    is_batched = free and follows and all(entry.shape[:1] == (-1,) for entry in outputs)
    return Served(
        inputs=tuple(_tensor(value, None) for value in inputs),
        outputs=outputs,
        is_batched=is_batched,
    )


def _run(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], samples: Feeds | None
) -> dict[int, dict[str, np.ndarray]]:
    """Outputs by batch size, as far as the model runs on it."""
    specs, rng = input_specs(model), np.random.default_rng(0)
    session = open_session(model)
    found: dict[int, dict[str, np.ndarray]] = {}
    complaint = ""
    for batch in (1, 3) if has_free_batch(specs) else (1,):
        if samples is None:
            bound = bound_shapes(specs, batch=batch, known=shapes)
            tries = variations(random_feeds(specs, bound, rng), rng)
        else:
            fixed = {spec.name: (spec.shape or (None,))[0] or batch for spec in specs}
            tries = iter([{name: np.asarray(v)[: fixed[name]] for name, v in samples.items()}])
        for feeds in tries:
            try:
                found[batch] = run(session, feeds)
            except Exception as error:  # noqa: BLE001  values that the model was not made for
                complaint = first_line(error)
                continue
            break
    if not found:
        reason = f"it does not run on its samples ({complaint})"
        raise unsupported(_FORM, reason)
    return found


def _tensor(value: onnx.ValueInfoProto, rank: int | None) -> ServedTensor:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type not in _TYPES:
        raise unsupported(_FORM, f"'{value.name}' is no tensor that Triton knows", param=value.name)
    shape = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in tensor.shape.dim)
    if not tensor.HasField("shape") and rank is not None:
        shape = (-1,) * rank
    return ServedTensor(name=value.name, kind=_TYPES[tensor.elem_type], shape=shape)


def triton_config(name: str, model: Served) -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: Of the folder that it lies in.
        model: What :func:`served` found.

    Example:
        >>> x = ServedTensor(name="x", kind="FP32", shape=(-1, 4))
        >>> print(triton_config("net", Served(inputs=(x,), outputs=(), is_batched=True)))
        name: "net"
        backend: "onnxruntime"
        max_batch_size: 32
        input [
          {
            name: "x"
            data_type: TYPE_FP32
            dims: [ 4 ]
          }
        ]
        dynamic_batching { }
        <BLANKLINE>
    """
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {_LARGEST_BATCH if model.is_batched else 0}",
    ]
    for what, tensors in (("input", model.inputs), ("output", model.outputs)):
        if tensors:
            entries = ",\n".join(_entry(tensor, model.is_batched) for tensor in tensors)
            lines.append(f"{what} [\n{entries}\n]")
    if model.is_batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _entry(tensor: ServedTensor, is_batched: bool) -> str:  # noqa: FBT001  a field of its caller
    dims: tuple[int, ...] = tensor.shape[1:] if is_batched else tensor.shape
    lines = [f"name: {_quoted(tensor.name)}", f"data_type: TYPE_{tensor.kind}"]
    lines.append(f"dims: [ {', '.join(map(str, dims or (1,)))} ]")
    if not dims:  # Triton knows no empty shapes; the model is given one all the same
        lines.append("reshape { shape: [ ] }")
    return "  {\n" + "\n".join(f"    {line}" for line in lines) + "\n  }"


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def described(tensor: ServedTensor) -> str:
    """One input or output in a line for people.

    Example:
        >>> described(ServedTensor(name="x", kind="FP32", shape=(-1, 3, 8, 8)))
        'x: FP32 [any, 3, 8, 8]'
    """
    lengths = ", ".join("any" if length < 0 else str(length) for length in tensor.shape)
    return f"{tensor.name}: {tensor.kind} [{lengths}]"


def as_values(model: Served) -> dict[str, Any]:
    """What is served as JSON-compatible values."""
    return {
        "batched": model.is_batched,
        "inputs": [described(tensor) for tensor in model.inputs],
        "outputs": [described(tensor) for tensor in model.outputs],
    }
