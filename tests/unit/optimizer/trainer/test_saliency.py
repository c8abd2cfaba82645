import torch

from optimizer.trainer.saliency import with_ablation

OPERATORS = torch.tensor([False, False, True, True, True])
POOLS = torch.tensor([1, 1, 0, 0, 0])
LOSS_RISES = torch.tensor([0.0, 0.0, 3.0, 1.0, 8.0], dtype=torch.float64)


def seen_by_the_search(removed: torch.Tensor) -> tuple[list[float], list[bool]]:
    tried: list[list[bool]] = []
    seen: list[list[float]] = []

    def ablate(units: torch.Tensor) -> torch.Tensor:
        tried.append(units.tolist())
        return LOSS_RISES * units

    def choose(saliency: torch.Tensor, gone: torch.Tensor, fraction: float) -> torch.Tensor:
        seen.append(saliency.tolist())
        return gone

    saliency = torch.tensor([0.5, 1.5, 9.0, 9.0, 9.0], dtype=torch.float64)
    with_ablation(choose, OPERATORS, POOLS, ablate)(saliency, removed, 1.0)
    return seen[0], tried[0] if tried else []


def test_operators_are_judged_by_their_loss_relative_to_each_other() -> None:
    saliency, tried = seen_by_the_search(torch.zeros(5, dtype=torch.bool))
    assert saliency == [0.5, 1.5, 0.75, 0.25, 2.0]
    assert tried == OPERATORS.tolist()


def test_removed_ones_are_neither_tried_nor_counted() -> None:
    saliency, tried = seen_by_the_search(torch.tensor([False, False, False, False, True]))
    assert saliency[:4] == [0.5, 1.5, 1.5, 0.5]
    assert tried == [False, False, True, True, False]


def test_without_operators_nothing_is_tried() -> None:
    saliency, tried = seen_by_the_search(OPERATORS)
    assert saliency == [0.5, 1.5, 9.0, 9.0, 9.0]
    assert not tried
