"""The cut model in the forms that people deploy: half precision, INT8, ORT's own file, a bundle.

Every function takes a float model and leaves it alone. What it returns was checked to be valid
ONNX with the same interface; ``checking`` measures how far it is from the float model.
"""

from exporters.formats.checking import FormatFigures, check_exact, check_format
from exporters.formats.half import to_float16
from exporters.formats.ort_file import to_ort
from exporters.formats.serving import bundle_files, write_bundle
from exporters.formats.static_int8 import to_int8
from exporters.formats.weight_int8 import to_int8_weights

__all__ = [
    "FormatFigures",
    "bundle_files",
    "check_exact",
    "check_format",
    "to_float16",
    "to_int8",
    "to_int8_weights",
    "to_ort",
    "write_bundle",
]
