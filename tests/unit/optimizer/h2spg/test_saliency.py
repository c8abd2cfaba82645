import math

import pytest
import torch

from optimizer.h2spg.saliency import (
    CRITERIA,
    Measured,
    cosine,
    fisher,
    fisher_diagonal,
    hesso,
    magnitude,
    paper,
    relative_to_pool,
    taylor_first,
    taylor_second,
)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


MEASURED = Measured(
    square_norm=vector(16.0, 4.0),
    size=vector(4, 16),
    gradient_dot=vector(-3.0, 0.5),
    gradient_square=vector(5.0, 0.25),
    direction_dot=vector(2.0, -1.0),
    direction_square_norm=vector(1.0, 1.0),
)


def test_each_criterion_by_hand() -> None:
    assert magnitude(MEASURED).tolist() == [2.0, 0.5]
    assert taylor_first(MEASURED).tolist() == [3.0, 0.5]
    assert taylor_second(MEASURED).tolist() == [4.5, 0.125]
    assert fisher(MEASURED).tolist() == [9.0, 0.25]
    assert fisher_diagonal(MEASURED).tolist() == [5.0, 0.25]
    assert cosine(MEASURED).tolist() == [1 - 2 / 4, 1 + 1 / 2]


def test_the_papers_score_by_hand() -> None:
    cos = vector(0.5, -0.5)
    inverse = vector(1 / (4 / 4 + 1e-6), 1 / (2 / 16 + 1e-6))
    score = 0.5 * cos / math.sqrt(0.5) + 0.5 * inverse / inverse.norm()
    assert paper(MEASURED).tolist() == pytest.approx((-score).tolist())
    # The step of unit 0 leads to the origin (high score), unit 1 is small (high score).


def test_the_importance_of_hesso_by_hand() -> None:
    # ||x|| = 4, 2; ||x|| / n = 1, 0.125; cos + 1 = 1.5, 0.5; |<x, d>| = 2, 1; halved square 2, 0.5
    parts = [vector(4, 2), vector(1, 0.125), vector(1.5, 0.5), vector(2, 1), vector(2, 0.5)]
    expected = sum(0.2 * part / part.norm() for part in parts)
    assert isinstance(expected, torch.Tensor)
    assert hesso(MEASURED).tolist() == pytest.approx(expected.tolist())


def test_magnitude_does_not_depend_on_the_size_of_equally_scaled_units() -> None:
    sizes = vector(10, 1000)
    assert magnitude(Measured(square_norm=sizes * 0.09, size=sizes)).tolist() == pytest.approx(
        [0.3, 0.3]
    )


def test_criteria_say_what_they_need() -> None:
    bare = Measured(square_norm=vector(1.0), size=vector(1))
    for name, criterion in CRITERIA.items():
        needs = (criterion.needs_gradient, criterion.needs_gradient_square)
        if any(needs) or criterion.needs_direction:
            with pytest.raises(AssertionError, match="not measured"):
                criterion.saliency(bare)
        else:
            assert name == "magnitude"


def test_relative_saliency_is_one_on_average_over_what_is_left() -> None:
    pools = torch.tensor([0, 0, 0, 1, 1])
    counted = torch.tensor([True, True, False, True, True])
    relative = relative_to_pool(vector(1, 3, 100, 10, 30), pools, counted)
    assert relative.tolist() == [0.5, 1.5, 50, 0.5, 1.5]


def test_a_pool_of_zeros_and_no_units_at_all() -> None:
    one_pool = torch.tensor([0, 0])
    assert relative_to_pool(vector(0, 0), one_pool, one_pool == 0).tolist() == [0, 0]
    empty = torch.zeros(0, dtype=torch.int64)
    assert relative_to_pool(vector(), empty, empty == 0).shape == (0,)
