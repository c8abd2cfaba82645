"""What a report says beside the figures: the command, the saliencies, the machine."""

import json
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command

from graph_analysis.solution import Solution
from service import cli, graph_layout
from service.compression import describing
from service.compression.describing import command_of, drawn
from service.compression.machine import processor
from service.compression.saliencies import Saliencies, summary
from service.compression.subject import Subject, open_subject
from service.recipe import Recipe
from tests.unit.service.compression.runs import digits_run, recipe

OTHERS = {
    "target_macs": 0.4, "epochs": 3, "batch_size": 16, "lr": 0.02, "optimizer": "adamw",
    "loss": "mix", "saliency": "0.5*magnitude+0.5*taylor", "measure_every": 2,
    "comparison": "relative", "renormalise": "off", "feature_weight": 0.5, "ignore_index": -1,
    "augment": "rand", "augment_magnitude": 0.4, "mixup": 0.1, "cutmix": 0.2,
    "lr_schedule": "step", "precision": "bfloat16", "accumulate": 2, "checkpointing": 2,
    "layout": "plain", "ema_decay": 0.9, "early_stop": True, "patience": 3,
    "cut_during_training": "off", "sync_batch_norm": "off", "seed": 5, "time_budget": 60.0,
    "max_accuracy_drop": 0.02, "kinds": "channel,head", "multiple": 4, "min_units": 2,
    "protect": "a b*,c'd", "device": "cpu", "exports": "float16,int8", "max_export_drop": 0.03,
}  # fmt: skip
LATENCY = {"target_latency": 0.5, "latency_threads": 2, "latency_batch": 4}
SETTINGS = [field.name for field in fields(Recipe)]


def parsed(command: str) -> Recipe:
    """The recipe that the command line makes of a command."""
    words = shlex.split(command)
    assert words[:3] == ["secateur", "compress", "model.onnx"]
    application = get_command(cli.app) if isinstance(cli.app, typer.Typer) else cli.app
    compress = application.commands["compress"]  # type: ignore[attr-defined]
    known = {option for parameter in compress.params for option in parameter.opts}
    settings: dict[str, object] = {}
    rest = iter(words[3:])
    for word in rest:
        assert word in known, word
        key = word.removeprefix("--").replace("-", "_")
        if key not in SETTINGS:
            next(rest)
        elif key == "early_stop":
            settings[key] = True
        elif key == "protect":
            settings[key] = [*settings.get(key, ()), next(rest)]  # type: ignore[misc]
        else:
            settings[key] = next(rest)
    return Recipe.parse(settings)


@pytest.mark.parametrize("given", [{"target_macs": 0.3}, OTHERS, LATENCY])
def test_the_command_makes_the_same_recipe(given: dict[str, object]) -> None:
    recipe = Recipe.parse(given)
    assert parsed(command_of(recipe)) == recipe


def test_every_setting_was_tried() -> None:
    tried = {*OTHERS, *LATENCY, "target_params", "target_bytes", "start"}
    assert set(SETTINGS) == tried, "a new setting belongs into the command of the report"


def test_the_command_says_no_more_than_it_must() -> None:
    assert command_of(Recipe.parse({"target_params": 0.5})) == (
        "secateur compress model.onnx --data data.npz -o compressed.onnx --target-params 0.5 "
        "--seed 0 --report report"
    )


def test_a_unit_has_the_saliency_of_its_last_decision(tmp_path: Path) -> None:
    path = tmp_path / "saliency.json"
    first = {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([5.0])}
    Saliencies(path)(first, {})
    again = Saliencies(path)  # as after an interruption
    again({"a": np.array([0.0, 7.0, 8.0, 2e9]), "b": np.array([6.0])}, {"a": [0]})
    assert json.loads(path.read_text()) == {"a": [1.0, 7.0, 8.0, 2e9], "b": [6.0]}
    found = summary(path, Solution(space="", removed={"a": (0, 1)}))
    assert found["a"] == {"lowest": 1.0, "median": 7.0, "highest": 8.0, "highest_removed": 7.0}
    assert found["b"]["highest_removed"] is None


def test_without_decisions_there_are_no_saliencies(tmp_path: Path) -> None:
    assert summary(tmp_path / "none.json", Solution(space="", removed={})) == {}


def test_units_without_a_measure_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "saliency.json"
    Saliencies(path)({"a": np.array([1e9, np.inf])}, {})
    found = summary(path, Solution(space="", removed={"a": (0,)}))["a"]
    assert set(found.values()) == {None}


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Some CPU 9\nmodel name\t: other\n")
    assert processor(listing) == "Some CPU 9"
    assert processor(tmp_path / "none") != ""


@pytest.fixture(scope="module", name="subject")
def subject_(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    run = digits_run(tmp_path_factory.mktemp("run") / "run")
    return open_subject(run, recipe())


def test_the_picture_is_drawn(subject: Subject) -> None:
    key = next(group.id for group in subject.analysis.space.groups if group.units == 1)
    svg = drawn(subject, Solution.of(subject.analysis.space, {key: [0]}))
    assert svg is not None
    assert "struck" in svg


def test_a_picture_that_cannot_be_drawn_costs_no_job(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        message = "the layout broke"
        raise RuntimeError(message)

    with monkeypatch.context() as patched:
        patched.setattr(graph_layout, "place", broken)
        assert drawn(subject, subject.nothing) is None
    monkeypatch.setattr(describing, "_MOST_SEGMENTS", 1)
    assert drawn(subject, subject.nothing) is None
