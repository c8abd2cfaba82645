"""The papers' networks, written from their descriptions (PAPER.md 3), as torch and as ONNX."""

from benchmarks.zoo.catalogue import NETWORKS, Network
from benchmarks.zoo.exporting import exported, randomised
from benchmarks.zoo.paper_rule import Found, paper_structures

__all__ = ["NETWORKS", "Found", "Network", "exported", "paper_structures", "randomised"]
