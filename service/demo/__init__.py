"""The demo: a trained network, real images, and a user who has both compressed by the service."""

from pathlib import Path

MODEL_PATH = Path(__file__).with_name("digits_net.onnx")  # made by ``service.demo.pretrain``
