"""Settings of a job: defaults, texts and values, and every way to get one wrong."""

from typing import Any

import pytest

from graph_analysis.errors import InputError
from optimizer import config
from optimizer.config import TrainConfig
from optimizer.saliency_names import SALIENCIES, is_saliency
from service.recipe import CHOICES, Recipe


def test_formats_are_a_list_of_texts() -> None:
    given = {"target_macs": 0.4, "exports": "int8, bundle", "max-export-drop": "0"}
    found = Recipe.parse(given)
    assert (found.exports, found.max_export_drop) == (("int8", "bundle"), 0.0)
    assert Recipe.parse({"target_macs": 0.4}).exports == ()


def test_texts_and_values_mean_the_same() -> None:
    texts = {"target-macs": "0.4", "epochs": "3", "lr": "0.05", "kinds": "channel, operator"}
    values = {"target_macs": 0.4, "epochs": 3, "lr": 0.05, "kinds": ["channel", "operator"]}
    assert Recipe.parse(texts) == Recipe.parse(values)
    assert Recipe.parse(texts).target == ("macs", 0.4)
    assert Recipe.parse({"target_params": 0.3}).target == ("parameters", 0.3)
    assert Recipe.parse({"target_latency": 0.3}).target == ("latency", 0.3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"zzz": 3}, "unknown setting 'zzz'"),
        ({"epochs": 0}, "from 1"),
        ({"min_units": 0}, "from 1"),
        ({"measure_every": 0}, "from 1"),
        ({"epochs": True}, "whole number"),
        ({"epochs": "three"}, "whole number"),
        ({"lr": "nan"}, "above 0"),
        ({"lr": -1}, "above 0"),
        ({"target_macs": 1}, "below 1"),
        ({"target_macs": True}, "below 1"),
        ({"optimizer": "lion"}, "adamw"),
        ({"saliency": "size"}, "one of magnitude, taylor, .*hesso, or a mix"),
        ({"saliency": "magnitude+"}, "or a mix"),
        ({"saliency": "x*magnitude+taylor"}, "or a mix"),
        ({"saliency": "-1*magnitude+taylor"}, "or a mix"),
        ({"saliency": "magnitude+magnitude"}, "or a mix"),
        ({"saliency": "paper+taylor"}, "without paper and hesso"),
        ({"saliency": 3}, "or a mix"),
        ({"kinds": "petal"}, "channel"),
        ({"exports": "int4"}, "list of float16, int8, int8-weights, ort, bundle"),
        ({"exports": "int8,int8"}, "each once"),
        ({"max_export_drop": 0.02}, "max_export_drop does nothing without exports"),
        ({"exports": "int8", "max_export_drop": 2}, "at least 0 and at most 1"),
        ({"comparison": "size"}, "relative"),
        ({"protect": 3}, "list of texts"),
        ({"precision": "float8"}, "bfloat16"),
        ({"lr_schedule": "linear"}, "one-cycle"),
        ({"start": "middle"}, "scratch"),
        ({"layout": "nhwc"}, "channels-last"),
        ({"accumulate": 0}, "from 1"),
        ({"checkpointing": "many"}, "whole number"),
        ({"patience": 0}, "from 1"),
        ({"ema_decay": 1}, "above 0 and below 1"),
        ({"early_stop": "maybe"}, "true or false"),
        ({"target_params": 0.5}, "exactly one"),
        ({"loss": "l2"}, "huber"),
        ({"augment": "flip"}, "flip-crop"),
        ({"augment_magnitude": 1.5}, "at least 0 and at most 1"),
        ({"mixup": -0.1}, "at least 0"),
        ({"cutmix": "much"}, "at least 0"),
        ({"ignore_index": "none"}, "whole number"),
        ({"target_latency": 0.5}, "exactly one"),
        ({"latency_threads": -1}, "from 0"),
        ({"latency_batch": 0}, "from 1"),
        ({"latency_batch": 4}, "latency_batch does nothing without target_latency"),
        ({"latency_threads": "0"}, "latency_threads does nothing without target_latency"),
        ({"augment_magnitude": 0.5}, "does nothing without augment 'rand'"),
        ({"augment_magnitude": 0.5, "augment": "flip-crop"}, "does nothing without augment 'rand'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Recipe.parse({"target_macs": 0.5, **settings})


@pytest.mark.parametrize(
    "text", [*SALIENCIES, "magnitude+taylor", "0.7*magnitude + 3*cosine", "2*fisher"]
)
def test_what_the_recipe_takes_for_a_saliency_the_optimizer_takes_too(text: str) -> None:
    assert Recipe.parse({"target_macs": 0.5, "saliency": text}).saliency == text
    assert is_saliency(text)


@pytest.mark.parametrize(
    ("given", "value"), [(True, True), ("true", True), ("On", True), ("off", False), (False, False)]
)
def test_flags_are_texts_or_values(given: object, value: bool) -> None:
    settings = {"target_macs": 0.5, "max_accuracy_drop": 0.1, "early-stop": given}
    assert Recipe.parse(settings).early_stop is value


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"early_stop": True}, "early_stop"),
        ({"accumulate": 9, "batch_size": 8}, "accumulate"),
        ({"accumulate": 65}, "accumulate"),
        ({"start": "scratch", "loss": "mix"}, "loss"),
        ({"start": "scratch", "loss": "distillation"}, "loss"),
        ({"start": "scratch", "feature_weight": 0.5}, "feature_weight"),
        ({"start": "scratch", "max_accuracy_drop": 0.5}, "max_accuracy_drop"),
    ],
)
def test_contradictions_are_refused_where_training_would_refuse_them(
    settings: dict[str, Any], name: str
) -> None:
    with pytest.raises(InputError) as ours:
        Recipe.parse({"target_macs": 0.5, **settings})
    with pytest.raises(InputError) as theirs:
        TrainConfig(target_ratio=0.5, **settings)
    assert ours.value.param == theirs.value.param == name


def test_settings_go_with_those_that_they_belong_to() -> None:
    timed = Recipe.parse({"target_latency": 0.5, "latency_threads": 0, "latency_batch": 4})
    assert (timed.latency_threads, timed.latency_batch) == (0, 4)
    moved = {"target_macs": 0.5, "augment": "rand", "augment_magnitude": 0}
    assert Recipe.parse(moved).augment_magnitude == 0


def test_what_can_be_chosen_is_what_the_trainer_knows() -> None:
    expected = {
        "optimizer": tuple(config.DEFAULT_LR),
        "loss": config.LOSSES,
        "comparison": config.COMPARISONS,
        "renormalise": config.RENORMALISE,
        "augment": config.AUGMENT,
        "lr_schedule": config.LR_SCHEDULES,
        "precision": config.PRECISIONS,
        "start": config.STARTS,
        "layout": config.LAYOUTS,
        "cut_during_training": ("on", "off"),  # true or false there
        "sync_batch_norm": config.SYNC_BATCH_NORM,
        "device": config.DEVICES,
    }
    assert expected == CHOICES


def test_a_target_is_needed() -> None:
    with pytest.raises(InputError, match="exactly one"):
        Recipe.parse({})


def test_lists_are_texts_with_commas_or_lists_of_them() -> None:
    for given in ("a,b", ["a", "b"], ["a,b"]):
        assert Recipe.parse({"target_macs": 0.5, "protect": given}).protect == ("a", "b")


def test_no_loss_of_accuracy_may_be_asked_for() -> None:
    assert Recipe.parse({"target_macs": 0.5, "max_accuracy_drop": 0}).max_accuracy_drop == 0
    for value in (-0.1, 1.1, 10**400):
        with pytest.raises(InputError, match="at least 0 and at most 1"):
            Recipe.parse({"target_macs": 0.5, "max_accuracy_drop": value})
