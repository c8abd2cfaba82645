"""Random graphs compute the same, and have the same gradients, with and without fusion."""

import os

import pytest
import torch

from optimizer.bridge.module import ImportedModule, import_model
from tests.unit.optimizer.bridge.fusion.random_patterns import random_network

COUNT = int(os.environ.get("SECATEUR_RANDOM_PATTERNS", "200"))
BATCHES = (2, 3)
IN_A_TEST = 25


def _run(imported: ImportedModule, x: torch.Tensor) -> list[torch.Tensor | None]:
    """Outputs, then gradients of the input and of the weights."""
    imported.module.eval().zero_grad()
    x = x.clone().requires_grad_()
    result = imported.module(x)
    results = list(result) if isinstance(result, tuple) else [result]
    generator = torch.Generator().manual_seed(0)
    parts = [(y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in results]
    torch.stack(parts).sum().backward()
    weights = [t for t in imported.tensors.values() if isinstance(t, torch.nn.Parameter)]
    return [*(y.detach() for y in results), x.grad, *(weight.grad for weight in weights)]


def _nodes(imported: ImportedModule) -> int:
    return len(imported.module.graph.nodes)


@pytest.mark.parametrize("first", range(0, COUNT, IN_A_TEST))
def test_fused_equals_unfused(first: int) -> None:
    num_fused = 0
    for seed in range(first, first + IN_A_TEST):
        model, shape = random_network(seed)
        plain, fused = import_model(model, fuse=False), import_model(model)
        num_fused += _nodes(fused) < _nodes(plain)
        assert fused.weights().keys() == plain.weights().keys()
        for batch in BATCHES:
            generator = torch.Generator().manual_seed(batch)
            x = torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
            pairs = zip(_run(fused, x), _run(plain, x), strict=True)
            for number, (ours, theirs) in enumerate(pairs):
                where = f"seed {seed}, batch {batch}, tensor {number}"
                assert (ours is None) == (theirs is None), where
                if ours is not None and theirs is not None:
                    assert ours.shape == theirs.shape, where
                    torch.testing.assert_close(
                        ours, theirs, rtol=1e-7, atol=1e-8, equal_nan=True, msg=where
                    )
    assert num_fused >= 3  # or nothing would be compared
