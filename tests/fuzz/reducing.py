"""A failing model made smaller while it fails in the same way."""

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from tests.fuzz.bounded import run_bounded

_TRIES = 300


def reduced(data: bytes, kind: str) -> bytes:
    """Drop whole fields of the graph, many at once, then fewer, while the failure stays."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        return data
    tries, share = _TRIES, 2
    while tries > 0 and share <= 64:
        for candidate in _smaller(model, share):
            tries -= 1
            if tries < 0:
                break
            if _fails(candidate.SerializeToString(), kind):
                model = candidate
                break
        else:
            share *= 2
    return model.SerializeToString()


def _smaller(model: onnx.ModelProto, share: int) -> Iterator[onnx.ModelProto]:
    """The model without some run of one repeated field: nodes, weights, inputs, annotations."""
    for name in ("node", "initializer", "value_info", "input", "output"):
        count = len(getattr(model.graph, name))
        length = max(1, count // share)
        for start in range(count - count % length - length, -1, -length):
            candidate = onnx.ModelProto()
            candidate.CopyFrom(model)
            del getattr(candidate.graph, name)[start : start + length]
            yield candidate
    for name in ("functions", "metadata_props"):
        if len(getattr(model, name)):
            candidate = onnx.ModelProto()
            candidate.CopyFrom(model)
            candidate.ClearField(name)
            yield candidate


def _fails(data: bytes, kind: str) -> bool:
    outcome = next(iter(run_bounded([0], lambda _: data)))
    return outcome.verdict.kind == kind
