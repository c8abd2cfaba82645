import pytest

from optimizer.config import TrainConfig
from optimizer.errors import InputError


@pytest.mark.parametrize(
    ("settings", "param", "text"),
    [
        ({"warm_up_ratio": 0.7, "search_ratio": 0.6}, "search_ratio", "nothing could arrive"),
        (
            {"warm_up_ratio": 0.5, "search_ratio": 0.5, "ema_decay": 0.9},
            "ema_decay",
            "leaves none",
        ),
        ({"accumulate": 65}, "accumulate", "would be empty"),
        ({"early_stop": True}, "early_stop", "needs max_accuracy_drop"),
        ({"start": "scratch", "loss": "mix"}, "loss", "leaves out"),
        ({"start": "scratch", "loss": "distillation"}, "loss", "leaves out"),
        ({"start": "scratch", "max_accuracy_drop": 0.1}, "max_accuracy_drop", "no original"),
    ],
)
def test_what_cannot_be_had_together_is_refused(
    settings: dict[str, object], param: str, text: str
) -> None:
    with pytest.raises(InputError, match=text) as caught:
        TrainConfig(target_ratio=0.5, **settings)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_all_of_them_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        TrainConfig(target_ratio=0.5, accumulate=99, early_stop=True)
    assert "accumulate" in str(caught.value)
    assert "early_stop" in str(caught.value)


def test_from_scratch_the_warm_up_is_longer_unless_it_is_given() -> None:
    assert TrainConfig(target_ratio=0.5).warm_up == 0.05
    assert TrainConfig(target_ratio=0.5, start="scratch").warm_up == 0.2
    assert TrainConfig(target_ratio=0.5, start="scratch", warm_up_ratio=0.1).warm_up == 0.1
