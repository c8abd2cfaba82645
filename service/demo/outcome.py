"""Before and after: the figures of two model files, the table of them, and the demo's targets.

Everything is read from the files that were downloaded: what the service says about itself is
only compared with that.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.table import Table

from exporters.measure import accuracy, latencies
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze

TARGET_MACS_RATIO = 0.40
MAX_ACCURACY_DROP = 0.01
LATENCY_BATCHES = (1, 32)
_THREADS = 1
_ROUNDS = 100


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One model file in numbers that do not depend on the machine's mood.

    Attributes:
        accuracy: Share of the test images classified rightly, in ONNX Runtime.
        macs: Multiply-accumulates per image, counted from the file.
        parameters: Weight elements, counted from the file.
        bytes: Size of the file.
    """

    accuracy: float
    macs: int
    parameters: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the demo came to.

    Attributes:
        before: The original file.
        after: The compressed file.
        removed: Units removed, by kind.
        proof_difference: Largest difference between the masked and the cut model.
        proof_passed: Whether the service's proof passed.
        latency_ms: Batch size -> (before, after), medians of interleaved runs.
    """

    before: Figures
    after: Figures
    removed: Mapping[str, int]
    proof_difference: float
    proof_passed: bool
    latency_ms: Mapping[int, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON; only ``latency_ms`` differs from run to run."""
        return {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "macs_ratio": self.after.macs / self.before.macs,
            "removed": dict(self.removed),
            "proof": {"passed": self.proof_passed, "max_difference": self.proof_difference},
            "latency_ms": {
                f"batch_{batch}": {"before": before, "after": after}
                for batch, (before, after) in self.latency_ms.items()
            },
        }

    def missed_targets(self) -> list[str]:
        """What the demo promises and this run did not keep; empty if all is well."""
        ratio = self.after.macs / self.before.macs
        drop = self.before.accuracy - self.after.accuracy
        checks = (
            (ratio <= TARGET_MACS_RATIO, f"{ratio:.1%} of the MACs are left, not 40 % or less"),
            (drop <= MAX_ACCURACY_DROP, f"test accuracy fell by {drop:.2%}, more than one point"),
            (self.removed.get("channel", 0) > 0, "no channel was removed"),
            (self.removed.get("operator", 0) > 0, "no operator structure was removed"),
            (self.proof_passed, "the proof did not pass"),
        )
        return [message for holds, message in checks if not holds]


def assess(
    original: Path, compressed: Path, report: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Outcome:
    """Measure both files; take what was removed, and the proof, from the job's report.

    Args:
        original: The uploaded file.
        compressed: The downloaded file.
        report: Of schema ``secateur/report/2``.
        arrays: ``x_test`` (images, 1, 8, 8) and ``y_test`` (images,).
    """
    models = {"before": onnx.load(original), "after": onnx.load(compressed)}
    figures = {
        name: Figures(
            accuracy=accuracy(models[name], {"": arrays["x_test"]}, arrays["y_test"]),
            bytes=path.stat().st_size,
            **_counted(path),
        )
        for name, path in (("before", original), ("after", compressed))
    }
    measured = {
        batch: latencies(models, batch=batch, threads=_THREADS, rounds=_ROUNDS)
        for batch in LATENCY_BATCHES
    }
    return Outcome(
        before=figures["before"],
        after=figures["after"],
        removed=report["removed"],
        proof_difference=report["proof"]["max_difference"],
        proof_passed=report["proof"]["passed"],
        latency_ms={
            batch: (times["before"].p50_ms, times["after"].p50_ms)
            for batch, times in measured.items()
        },
    )


def _counted(path: Path) -> dict[str, int]:
    counted = analyze(load_model(path)).space.model
    return {"macs": counted.macs, "parameters": counted.parameters}


def table(outcome: Outcome) -> Table:
    """The outcome for a terminal."""
    before, after = outcome.before, outcome.after
    result = Table(title="before and after")
    result.add_column("")
    for title in ("original", "compressed", "left"):
        result.add_column(title, justify="right")
    result.add_row("test accuracy", f"{before.accuracy:.2%}", f"{after.accuracy:.2%}", "")
    for name, title in (("macs", "MACs"), ("parameters", "parameters"), ("bytes", "file bytes")):
        old, new = getattr(before, name), getattr(after, name)
        result.add_row(title, f"{old:,}", f"{new:,}", f"{new / old:.1%}")
    for batch, (slow, quick) in outcome.latency_ms.items():
        title = f"latency, ms (batch {batch})"
        result.add_row(title, f"{slow:.3f}", f"{quick:.3f}", f"{quick / slow:.1%}")
    result.add_section()
    for kind, count in outcome.removed.items():
        result.add_row(f"removed: {kind}", "", f"{count}", "")
    passed = "passed" if outcome.proof_passed else "failed"
    result.add_row("proof: largest difference", "", f"{outcome.proof_difference:.2g}", passed)
    return result
