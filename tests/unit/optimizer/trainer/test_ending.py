"""Good enough, no progress, and a drop that is too large."""

import pytest

from optimizer.errors import InputError
from optimizer.trainer import ArrayData, Hooks, TrainEvent, TrainResult, train
from optimizer.trainer.ending import is_within_drop, reason_to_end
from optimizer.trainer.evaluation import Evaluation
from optimizer.trainer.standing import Standing
from tests.unit.optimizer.trainer.networks import FakeBinding, config, data, imported, samples


def judged(accuracy: float | None, *, count: int = 400) -> Evaluation:
    return Evaluation(loss=1.0, accuracy=accuracy, num_samples=count)


def reason(best: float, original: float, **settings: object) -> str | None:
    values = {"early_stop": True, "max_accuracy_drop": 0.05, **settings}
    return reason_to_end(config(**values), Standing(best=judged(best)), judged(original))


def test_good_enough_is_within_the_drop_by_two_standard_errors() -> None:
    # at 0.9 of 400 samples an error is 0.015: 0.9 is 0.03 above what 0.92 accepts, 0.89 is not
    assert reason(0.9, 0.92) == "good-enough"
    assert reason(0.89, 0.92) is None
    assert reason(0.9, 0.92, early_stop=False) is None
    assert reason(1.0, 1.0, max_accuracy_drop=0.0) == "good-enough"


def test_without_classes_nothing_is_good_enough() -> None:
    one = config(early_stop=True, max_accuracy_drop=0.05)
    assert reason_to_end(one, Standing(best=judged(None)), judged(None)) is None
    assert reason_to_end(one, Standing(), judged(0.9)) is None


def test_patience_counts_evaluations_without_progress() -> None:
    one = config(patience=3)
    assert reason_to_end(one, Standing(without_progress=2), None) is None
    assert reason_to_end(one, Standing(without_progress=3), None) == "no-progress"


def test_the_drop_is_counted_without_rounding() -> None:
    one = config(max_accuracy_drop=0.1)
    assert is_within_drop(one, judged(0.8), judged(0.9)) is True
    assert is_within_drop(one, judged(0.79), judged(0.9)) is False
    assert is_within_drop(config(), judged(0.1), judged(0.9)) is None


def run(
    arrays: ArrayData | None = None, **settings: object
) -> tuple[TrainResult, list[TrainEvent]]:
    one, events = imported(), []
    result = train(
        one,
        data=arrays or data(),
        binding=FakeBinding(one),
        config=config(**settings),
        hooks=Hooks(event=events.append),
    )
    return result, events


def test_a_run_ends_as_soon_as_it_is_good_enough() -> None:
    whole, _ = run(loss="cross-entropy")
    result, events = run(loss="cross-entropy", early_stop=True, max_accuracy_drop=0.3)
    assert (result.ended, result.is_within_drop) == ("good-enough", True)
    assert result.steps == 14  # the arrival: nothing may end before
    assert whole.steps == 24
    assert [event.code for event in events] == ["training-ended-early"]
    assert events[0].data["reason"] == "good-enough"
    assert len(result.solution) == len(whole.solution)


def test_a_run_that_is_not_good_enough_goes_to_its_end_and_says_so() -> None:
    result, events = run(early_stop=True, max_accuracy_drop=0.0, lr=1e-6, target_ratio=0.1)
    assert (result.ended, result.steps) == ("schedule", 24)
    assert result.is_within_drop is False
    assert [event.code for event in events] == ["accuracy-drop-exceeded"]
    assert events[0].data["original"] == result.original_accuracy


def test_a_run_that_gets_no_better_ends() -> None:
    # at this rate the weights stand still, up to what the schedule removes
    result, events = run(patience=1, lr=1e-30, epochs=12)
    assert result.ended == "no-progress"
    assert result.steps < 48
    assert events[-1].data["reason"] == "no-progress"


def test_what_cannot_be_judged_is_refused() -> None:
    nothing = ArrayData(train=samples(64, seed=1))
    with pytest.raises(InputError, match="patience needs validation"):
        run(nothing, validation_ratio=0.0, patience=2)
    with pytest.raises(InputError, match="early_stop needs validation"):
        run(data(labelled=False), max_accuracy_drop=0.1, early_stop=True)


def test_a_drop_that_cannot_be_counted_is_left_to_others() -> None:
    result, events = run(data(labelled=False), max_accuracy_drop=0.1)
    assert (result.is_within_drop, events) == (None, [])
