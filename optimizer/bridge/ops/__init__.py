"""Torch code for ONNX operators, one file per family; importing a file registers its operators."""
