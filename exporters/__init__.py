"""A solution applied to an ONNX model: the masked model, the cut model, the proof, the report.

No torch here. What is removed is decided elsewhere; this package carries it out and shows that it
was carried out right.
"""

from exporters.errors import ProofFailedError, SurgeryError
from exporters.figures import GateFigure, Proof
from exporters.files import write_models
from exporters.masked import mask
from exporters.measure import Latency, accuracy, file_bytes, latencies
from exporters.proof import prove
from exporters.report import ModelFigures, build_report, file_sha256, to_text
from exporters.surgeon import shrink
from exporters.training_form import TrainingForm, training_form

__all__ = [
    "GateFigure",
    "Latency",
    "ModelFigures",
    "Proof",
    "ProofFailedError",
    "SurgeryError",
    "TrainingForm",
    "accuracy",
    "build_report",
    "file_bytes",
    "file_sha256",
    "latencies",
    "mask",
    "prove",
    "shrink",
    "to_text",
    "training_form",
    "write_models",
]
