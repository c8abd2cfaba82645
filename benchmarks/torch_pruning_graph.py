"""Torch-Pruning's side of ``benchmarks.analysis``; runs in an environment of its own.

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
    seconds, note = [], ""
    for _ in range(repeats):
        start = time.process_time()
        try:
            torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        except Exception as error:
            note = f"{type(error).__name__}: {error}"[:200]
            break
        seconds.append(time.process_time() - start)
    print(
        json.dumps(
            {
                "seconds": round(min(seconds), 4) if seconds else None,
                "note": note,
                "version": getattr(torch_pruning, "__version__", ""),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
