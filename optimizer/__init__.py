"""Training: an ONNX model as a torch module, the H2SPG optimizer, the trainer."""
