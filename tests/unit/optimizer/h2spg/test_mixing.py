import pytest
import torch

from optimizer.h2spg import CRITERIA, Measured, criterion_of, mixture
from optimizer.h2spg.saliency import Pools
from optimizer.saliency_names import SALIENCIES, is_saliency, parse_saliency


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Two pools of two; the last unit is gone and does not count in the mean of its pool.
MEASURED = Measured(
    square_norm=vector(1, 9, 100, 400),
    size=vector(1, 1, 1, 1),
    gradient_dot=vector(-3, 1, 1e-3, 5),
    pools=Pools.of(torch.tensor([0, 0, 1, 1]), torch.tensor([True, True, True, False])),
)


def test_parts_are_relative_to_their_pools_before_they_are_added() -> None:
    mixed = criterion_of("0.25*taylor+0.75*magnitude")
    # magnitude 1, 3 | 10, 20 relative to 2 | 10; taylor 3, 1 | 0.001, 5 relative to 2 | 0.001
    expected = [0.25 * 1.5 + 0.75 * 0.5, 0.25 * 0.5 + 0.75 * 1.5, 1.0, 0.25 * 5000 + 0.75 * 2]
    assert mixed.saliency(MEASURED).tolist() == pytest.approx(expected)


def test_a_mix_needs_what_its_parts_need() -> None:
    mixed = mixture({"magnitude": 1, "fisher-diagonal": 1, "cosine": 2})
    needs = (mixed.needs_gradient, mixed.needs_gradient_square, mixed.needs_direction)
    assert needs == (False, True, True)
    assert mixed.is_relative


def test_text_mapping_and_name_mean_the_same() -> None:
    assert parse_saliency("magnitude+taylor") == {"magnitude": 0.5, "taylor": 0.5}
    assert parse_saliency({"magnitude": 2, "taylor": 6}) == {"magnitude": 0.25, "taylor": 0.75}
    assert parse_saliency(" 1 * magnitude + 3*taylor") == parse_saliency(
        {"magnitude": 1, "taylor": 3}
    )
    assert criterion_of("cosine") is CRITERIA["cosine"]
    assert criterion_of({"taylor": 7}) is CRITERIA["taylor"]
    assert criterion_of(CRITERIA["paper"]) is CRITERIA["paper"]


def test_every_name_has_a_criterion() -> None:
    assert tuple(CRITERIA) == SALIENCIES


@pytest.mark.parametrize(
    "given, message",
    [
        ("", "unknown saliency ''"),
        ("magnitude+", "unknown saliency ''"),
        ("size", "unknown saliency 'size'; legal: magnitude, taylor"),
        ("magnitude+magnitude", "named twice"),
        ("0*magnitude+taylor", "above 0"),
        ("-1*magnitude+taylor", "above 0"),
        ("nan*magnitude+taylor", "above 0"),
        ("inf*magnitude+taylor", "above 0"),
        ("much*magnitude+taylor", "weight 'much' of saliency 'magnitude' is no number"),
        ("paper+taylor", "'paper' is normalised over all units"),
        ("taylor+hesso", "'hesso' is normalised over all units"),
        ({}, "unknown saliency"),
        ({"magnitude": True}, "above 0"),
    ],
)
def test_what_is_no_saliency_is_refused_in_one_line(
    given: str | dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        criterion_of(given)
    assert "\n" not in str(caught.value)
    assert not is_saliency(given)


def test_only_texts_are_settings() -> None:
    assert is_saliency("magnitude+taylor")
    assert not is_saliency(3)
