"""Files that are no model, or only the beginning of one."""

import struct

import numpy as np

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import add, edited, field

# Files that are no model, or only the beginning of one.
_sound = m.classifier().SerializeToString()
for _name, _bytes in {
    "random": np.random.default_rng(1).bytes(4096),
    "zip": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(100),
    "pickle": b"\x80\x04\x95" + bytes(20),
    "html": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "html_late": b"\n\n  <html>",
    "text": b"hello, this is not a model\n" * 10,
    "ort_format": struct.pack("<I", 24) + b"ORTM" + bytes(40),
    "tflite": struct.pack("<I", 24) + b"TFL3" + bytes(40),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "safetensors": struct.pack("<Q", 64) + b'{"a": {"dtype": "F32"}}' + bytes(60),
    "zeros": bytes(4096),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(40),
    "wrong_wire_type": b"\x08\x08\x38\x05",
    "group_wire_type": b"\x08\x08\x3b\x3c",
    "endless_varint": b"\x08\x08" + b"\xff" * 12,
    "inner_length_too_long": b"\x08\x08" + field(7, b"\x0a\x7f\x01"),
}.items():
    add("model-not-onnx", _name, lambda data=_bytes: data)
for _name, _bytes in {
    "cut_in_half": _sound[: len(_sound) // 2],
    "cut_by_one": _sound[:-1],
    "cut_in_length": b"\x08\x0a\x3a\xff",
    "two_gigabyte_length": b"\x08\x0a\x3a\xff\xff\xff\xff\x07",
}.items():
    add("model-truncated", _name, lambda data=_bytes: data)
add("model-empty", "empty", lambda: b"")
add("model-empty", "only_a_version", lambda: b"\x08\x0a")
add("model-empty", "no_nodes", lambda: edited(lambda o: o.graph.ClearField("node")))
add("model-empty", "no_graph", lambda: edited(lambda o: o.ClearField("graph")))
add("model-no-io", "no_outputs", lambda: edited(lambda o: o.graph.ClearField("output")))
add("model-no-io", "no_inputs", lambda: edited(lambda o: o.graph.ClearField("input")))
