"""Torch-Pruning's side of ``benchmarks.analysis``; runs in an environment of its own.

Timed are its dependency graph alone, and the graph with the pruning group of every layer.

Arguments: network of torchvision, folder for its ONNX file, repetitions. Prints one line of JSON.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import torch
import torch_pruning
import torchvision


def main() -> None:
    """Export the network, then time the dependency graph of its module."""
    name, folder, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    for parameter in module.parameters():  # distinct values: nothing to be merged by the exporter
        torch.nn.init.normal_(parameter, std=0.05)
    example = torch.randn(1, 3, 224, 224)
    torch.onnx.export(
        module, (example,), folder / f"{name}.onnx", opset_version=17, dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
    )  # fmt: skip
    graphs, seconds, groups, note = [], [], 0, ""
    for _ in range(repeats):
        start = time.process_time()
        try:
            graph = torch_pruning.DependencyGraph()
            graph.build_dependency(module, example_inputs=example)
            graphs.append(time.process_time() - start)
            groups = sum(1 for _ in graph.get_all_groups())
        except Exception as error:
            note = f"{type(error).__name__}: {error}"[:200]
            break
        seconds.append(time.process_time() - start)
    print(
        json.dumps(
            {
                "graph_seconds": round(min(graphs), 4) if graphs else None,
                "seconds": round(min(seconds), 4) if seconds else None,
                "groups": groups,
                "note": note,
                "version": getattr(torch_pruning, "__version__", ""),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
