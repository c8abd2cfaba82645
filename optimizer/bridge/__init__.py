"""The way from ONNX to torch and back: the only part of the optimizer that knows both."""
