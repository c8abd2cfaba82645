"""A task for the sandbox without any rules in front: what the native library does by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx


def run(payload: Mapping[str, Any]) -> int:
    model = onnx.load_model_from_string(Path(payload["path"]).read_bytes())
    return len(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info)
