"""Networks as PyTorch exports them: by both exporters, in several float types, batch free or not.

A name is ``network__form``.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import torch
from torch import nn

from tests.sweep.export_networks import NETWORKS

FORMS: Mapping[str, Mapping[str, Any]] = {
    "dynamo": {"dynamo": True},
    "dynamo_free": {"dynamo": True, "free": True},
    "script": {"opset": 17},
    "script_free": {"opset": 17, "free": True},
    "script_training": {"opset": 17, "free": True, "training": True},
    "script11": {"opset": 11},
    "script_double": {"opset": 17, "dtype": torch.float64},
    "dynamo_half": {"dynamo": True, "dtype": torch.float16},
}
_CANNOT = {(network, "script11") for network in ("indexed", "causal_decoder", "encoder")}
EXPORTS = tuple(
    f"{network}__{form}" for network in NETWORKS for form in FORMS if (network, form) not in _CANNOT
)


def exported(name: str) -> onnx.ModelProto:
    """Make and export one of ``EXPORTS``.

    Raises:
        Exception: Whatever the exporter raises for what it does not know.
    """
    network_name, form = name.split("__")
    settings = FORMS[form]
    torch.manual_seed(0)
    network, inputs = NETWORKS[network_name]()
    dtype = settings.get("dtype", torch.float32)
    network = network.to(dtype).eval()
    count = 2 if settings.get("free") else 1  # one sample is what most files have baked in
    inputs = tuple(x[:count].to(dtype) if x.is_floating_point() else x[:count] for x in inputs)
    names = [f"x{position}" for position in range(len(inputs))]
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), _without_log():
        warnings.simplefilter("ignore")  # torch.onnx warns about itself
        if settings.get("dynamo"):
            return _by_dynamo(network, inputs, names, free=settings.get("free", False))
        return _by_script(network, inputs, names, settings)


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _by_dynamo(
    network: nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], *, free: bool
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    shapes = {"dynamic_shapes": tuple({0: batch} for _ in inputs)} if free else {}
    program = torch.onnx.export(  # noqa: TID251 - the tests need models from real exporters
        network, inputs, dynamo=True, input_names=names, verbose=False, **shapes
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _by_script(
    network: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: list[str],
    settings: Mapping[str, Any],
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    training = torch.onnx.TrainingMode.PRESERVE  # noqa: TID251
    torch.onnx.export(  # noqa: TID251
        network,
        inputs,
        buffer,
        dynamo=False,
        input_names=names,
        opset_version=settings["opset"],
        dynamic_axes={name: {0: "batch"} for name in names} if settings.get("free") else None,
        do_constant_folding=not settings.get("training"),
        **({"training": training} if settings.get("training") else {}),
    )
    return onnx.load_from_string(buffer.getvalue())
