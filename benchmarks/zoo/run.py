"""Every network of the zoo at full size: counts, structures, and masked against cut.

By hand, for it takes long: the supernets' choices are minutes each, so fewer were made of them::

    python -m benchmarks.zoo.run --out benchmarks/results/zoo.json --networks darts_14 --removals
    python -m benchmarks.zoo.run --out benchmarks/results/zoo.json --networks darts_8 \
        --removals 0.1 0.5 0.9
    python -m benchmarks.zoo.run --out benchmarks/results/zoo.json

What the output has already is not done again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from benchmarks.zoo.catalogue import NETWORKS
from benchmarks.zoo.checking import (
    REMOVALS,
    Choice,
    StructureOrder,
    choose_macs,
    largest_difference,
)
from benchmarks.zoo.exporting import exported, randomised
from benchmarks.zoo.paper_rule import num_edges, num_vertices, paper_structures
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from graph_analysis.search_space import GroupKind


def counts(name: str, *, shares: tuple[float, ...], batches: tuple[int, ...]) -> dict[str, Any]:
    """All figures of one network."""
    network = NETWORKS[name]
    module = randomised(network.build())
    data = exported(module, network.image).SerializeToString()
    started = time.process_time()
    analysis = analyze(load_model(data))
    seconds = time.process_time() - started
    found = paper_structures(analysis)
    reasons = {one.reason for one in found if one.structure is None}
    groups = analysis.space.groups
    return {
        "image": list(network.image),
        "parameters": sum(p.numel() for p in module.parameters()),
        "parameters_in_file": analysis.space.model.parameters,
        "macs": analysis.space.model.macs,
        "analysis_seconds": round(seconds, 2),
        "vertices": num_vertices(analysis),
        "segments": len(analysis.segments.segments),
        "segment_edges": num_edges(analysis.segments.segments),
        "structures_of_the_paper": len(found),
        "of_these_among_ours": sum(one.structure is not None for one in found),
        "reasons_of_the_rest": sorted(str(reason) for reason in reasons),
        "structures": sum(g.kind is GroupKind.OPERATOR for g in groups),
        "node_groups": sum(g.kind is not GroupKind.OPERATOR for g in groups),
        "removals": removals(name, analysis, shares, batches),
    }


def removals(
    name: str, analysis: Analysis, shares: tuple[float, ...], batches: tuple[int, ...]
) -> list[dict[str, Any]]:
    """One row for each share of the MACs and of the structures."""
    rows = []
    order = StructureOrder(analysis, seed=0) if shares else None
    for seed, removal in enumerate(shares):
        choices = {"macs": choose_macs(analysis, removal, seed)}
        if order is not None and analysis.structures:
            choices["structures"] = order.choose(removal)
        for of, choice in choices.items():
            rows.append({"of": of, "removal": removal, **row(analysis, choice, batches)})
            print(name, rows[-1], flush=True)
    return rows


def row(analysis: Analysis, choice: Choice, batches: tuple[int, ...]) -> dict[str, Any]:
    """What a choice leaves, or how much could go at most."""
    if choice.solution is None:
        return {"refused": True, "reachable": choice.reachable}
    violations = analysis.violations(choice.solution)
    assert not violations, violations
    return {
        "macs": analysis.macs(choice.solution),
        "parameters": analysis.parameters(choice.solution),
        "chosen_structures": sum(
            key in analysis.structure_by_id for key in choice.solution.removed
        ),
        "largest_relative_difference": largest_difference(
            analysis, choice.solution, batches=batches
        ),
    }


def main() -> None:
    """Do what is missing in the output, and write it after every network."""
    parser = argparse.ArgumentParser(description="The networks of the papers at full size.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--removals", type=float, nargs="*", default=list(REMOVALS))
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 3])
    arguments = parser.parse_args()
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.networks:
        if name in known.get("networks", {}):
            continue
        figures = counts(name, shares=tuple(arguments.removals), batches=tuple(arguments.batches))
        versions = {"torch": torch.__version__, "onnx": onnx.__version__}
        known = {
            "command": "python -m benchmarks.zoo.run --out benchmarks/results/zoo.json",
            "versions": {**versions, "onnxruntime": onnxruntime.__version__},
            "networks": {**known.get("networks", {}), name: figures},
        }
        arguments.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
