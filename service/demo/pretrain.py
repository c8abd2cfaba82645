"""Train the demo's network from nothing and export it: ``python -m service.demo.pretrain``.

Makes ``digits_net.onnx`` beside this file. The only place where something is exported from torch:
it plays the user who brings a model. Normalisations stay nodes of their own in the file, as
they do in a graph that somebody exported for further training.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch.nn import functional

from service.demo import MODEL_PATH
from service.demo.digits import digits
from service.demo.network import DigitsNet

_EPOCHS, _BATCH_SIZE, _PEAK_LR, _SEED = 40, 64, 4e-3, 7


def train(
    arrays: Mapping[str, np.ndarray], *, epochs: int = _EPOCHS, seed: int = _SEED
) -> DigitsNet:
    """Train a network on ``x_train`` and ``y_train``; same seed, same machine, same weights.

    AdamW with one cosine cycle; the images are shifted by up to one pixel. Returned in eval mode.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = DigitsNet().train()
    steps = epochs * (len(arrays["x_train"]) // _BATCH_SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_PEAK_LR, total_steps=steps)
    for _ in range(epochs):
        for images, labels in _batches(arrays["x_train"], arrays["y_train"], rng):
            loss = functional.cross_entropy(network(images), labels, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def _batches(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Full batches in random order, each image shifted by -1, 0 or 1 pixel along both axes."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    order = rng.permutation(len(x))
    for start in range(0, len(x) - _BATCH_SIZE + 1, _BATCH_SIZE):
        chosen = order[start : start + _BATCH_SIZE]
        down, right = rng.integers(0, 3, size=(2, len(chosen)))
        images = [
            padded[image, :, top : top + 8, left : left + 8]
            for image, top, left in zip(chosen, down, right, strict=True)
        ]
        yield torch.from_numpy(np.stack(images)), torch.from_numpy(y[chosen])


def accuracy(network: DigitsNet, x: np.ndarray, y: np.ndarray) -> float:
    """Share of the images ``x`` (N, 1, 8, 8) that ``network`` puts into their class ``y`` (N,)."""
    with torch.no_grad():
        predicted = network(torch.from_numpy(x)).argmax(dim=1).numpy()
    return float((predicted == y).mean())


def export(network: DigitsNet, path: Path) -> None:
    """Write ``network`` to ``path``: opset 20, ``image`` to ``logits``, any batch size."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        optimize=False,  # all of it would fold the normalisations into the convolutions as well
        opset_version=20,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None  # a program comes back whenever dynamo is on
    fold_constants(program.model, input_size_limit=2**20)
    remove_unused_nodes(program.model)
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces with this machine's paths
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def main() -> int:
    """Train, report the test accuracy on stderr, and write the file."""
    arrays = digits()
    network = train(arrays)
    reached = accuracy(network, arrays["x_test"], arrays["y_test"])
    export(network, MODEL_PATH)
    sys.stderr.write(f"test accuracy {reached:.4f}, {MODEL_PATH.stat().st_size} bytes\n")
    return 0 if reached >= 0.98 else 1


if __name__ == "__main__":
    sys.exit(main())
