"""H2SPG under DistributedDataParallel: every process decides alike, and sends nothing for it."""

import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import barrier, destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel

from optimizer.h2spg import H2SPG, Schedule
from tests.unit.optimizer.h2spg.units_of import forward, layout, network, same

PROCESSES = 2
STEPS = 24
PLAN = Schedule.regular(warm_up=4, periods=2, period_steps=5, total=STEPS)


class Whole(nn.Module):
    """The test network as a module with one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network(torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return forward(self.layers, x)


def choose_least(saliency: Tensor, removed: Tensor, fraction: float) -> Tensor:
    chosen = removed.clone()
    chosen[saliency.masked_fill(removed, float("inf")).argmin()] = True
    return chosen


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(8, 2, generator=generator, dtype=torch.float64)


def trained(module: nn.Module, inner: Whole, *, rank: int, processes: int) -> dict[str, Tensor]:
    """Train on every ``processes``-th sample; weights and decisions."""
    optimizer = H2SPG(
        inner.layers.parameters(),
        layout(inner.layers),
        schedule=PLAN,
        choose=choose_least,
        lr=0.05,
        momentum=0.9,
        saliency="magnitude+taylor+cosine",
    )
    for step in range(STEPS):
        x, y = (part[rank::processes] for part in batch(step))
        optimizer.zero_grad()
        (module(x) - y).square().mean().backward()
        optimizer.step()
    return {**inner.layers.state_dict(), "redundant": optimizer.redundant, "zero": optimizer.zero}


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    address = f"file://{folder}/meeting"
    init_process_group("gloo", init_method=address, rank=rank, world_size=PROCESSES)
    try:
        inner = Whole()
        result = trained(DistributedDataParallel(inner), inner, rank=rank, processes=PROCESSES)
        torch.save(result, Path(folder) / f"{rank}.pt")  # noqa: TID251 - read by the test below
        barrier()  # nobody leaves while another one still waits for a message
    finally:
        destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_decide_alike_and_as_one_with_the_whole_batch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, args=(folder,), nprocs=PROCESSES)
        results = [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=True)  # noqa: TID251
            for rank in range(PROCESSES)
        ]
    assert same(*results)
    one = Whole()
    alone = trained(one, one, rank=0, processes=1)
    assert torch.equal(alone["redundant"], results[0]["redundant"])
    assert int(alone["zero"].sum()) == 2
    for name, tensor in alone.items():
        assert torch.allclose(tensor.double(), results[0][name].double(), rtol=1e-9, atol=1e-12)
