"""The files of one run, by name."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunDirectory:
    """A folder that one run of a job has for itself.

    ``model`` and ``dataset`` are there before the first stage; the others are what the stages
    leave, in this order.
    """

    path: Path

    @property
    def model(self) -> Path:
        """The ONNX file as it came in."""
        return self.path / "model.onnx"

    @property
    def dataset(self) -> Path:
        """The data set's bytes, pinned."""
        return self.path / "dataset.npz"

    @property
    def space(self) -> Path:
        """The search space (prepare)."""
        return self.path / "space.json"

    @property
    def baseline(self) -> Path:
        """What was measured on the original (prepare)."""
        return self.path / "baseline.json"

    @property
    def shares(self) -> Path:
        """Measured shares of the original's time, for a budget of latency (prepare, train)."""
        return self.path / "shares.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trainer's checkpoints (train)."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """Trained values of all float initializers, in the shapes before the cut (train)."""
        return self.path / "weights.safetensors"

    @property
    def solution(self) -> Path:
        """What is removed (train)."""
        return self.path / "solution.json"

    @property
    def training(self) -> Path:
        """History and figures of the training (train)."""
        return self.path / "training.json"

    @property
    def compressed(self) -> Path:
        """The cut model (export)."""
        return self.path / "compressed.onnx"

    @property
    def proof(self) -> Path:
        """Every comparison of the proof (verify)."""
        return self.path / "proof.json"

    @property
    def report(self) -> Path:
        """The report (verify)."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """The report to read (verify)."""
        return self.path / "report.html"

    @property
    def saliency(self) -> Path:
        """What the search compared groups by (train)."""
        return self.path / "saliency.json"
