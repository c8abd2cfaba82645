"""The names of the further formats, and of their files; knows neither onnx nor torch."""

from collections.abc import Iterable
from pathlib import Path

FLOAT16, INT8, INT8_WEIGHTS, ORT, BUNDLE = "float16", "int8", "int8-weights", "ort", "bundle"
FORMATS = (FLOAT16, INT8, INT8_WEIGHTS, ORT, BUNDLE)
LOSSY = (FLOAT16, INT8, INT8_WEIGHTS)
SUFFIXES = {
    FLOAT16: ".float16.onnx",
    INT8: ".int8.onnx",
    INT8_WEIGHTS: ".int8-weights.onnx",
    ORT: ".ort",
    BUNDLE: ".bundle.zip",
}
MOST_DROP = 0.01  # one point of accuracy


def beside(model: Path, forms: Iterable[str]) -> dict[str, Path]:
    """Where the formats of a model go: format -> path.

    Example:
        >>> beside(Path("out/small.onnx"), ["ort", "int8"])["int8"].name
        'small.int8.onnx'
    """
    return {form: model.with_name(model.stem + SUFFIXES[form]) for form in forms}
