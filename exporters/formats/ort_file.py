"""ONNX Runtime's own file format (.ort): loads without a parser, also in its minimal builds."""

import tempfile
from pathlib import Path

import onnx
import onnxruntime

from exporters.formats.refusing import check_size, first_line, unsupported
from exporters.formats.trial import check_loads

_FORM = "ORT-format file"
_FATAL_ONLY = 4


def to_ort(model: onnx.ModelProto) -> bytes:
    """The bytes of ``model`` as an ORT-format file.

    Optimised as far as it holds on every machine ("extended"): the last level lays weights out for
    the processor that it runs on.

    Raises:
        InputError: ``export-unsupported``: ONNX Runtime cannot load or save the model.
    """
    check_size(model, _FORM)
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        path = Path(folder) / "model.ort"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.log_severity_level = _FATAL_ONLY
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            data = path.read_bytes()
        except Exception as error:
            reason = f"ONNX Runtime cannot save it so ({first_line(error)})"
            raise unsupported(_FORM, reason) from error
    check_loads(data, _FORM)
    return data
