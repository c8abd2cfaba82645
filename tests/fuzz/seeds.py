"""The sound models that are damaged: every hard case, and small files of real exporters."""

import lzma
import os
from collections.abc import Mapping
from pathlib import Path

from graph_analysis.testing import HARD_CASES

# beside the checkout, unless said otherwise; without it the hard cases alone are damaged
CORPUS = Path(os.environ.get("SECATEUR_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
_LARGEST = 700_000  # bytes of a corpus file: damage finds the same faults in small files, sooner


def seed_models() -> Mapping[str, bytes]:
    """Name -> bytes; corpus files as they lie there, large weights filled with zeros."""
    found = {name: build().SerializeToString() for name, build in HARD_CASES.items()}
    for path in sorted(CORPUS.glob("*.onnx.xz")):
        data = lzma.decompress(path.read_bytes())
        if len(data) <= _LARGEST:
            found[path.name.removesuffix(".onnx.xz")] = data
    return found
