"""Latency in turns, accuracy, size. No test here looks at how fast this machine is."""

from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporters import measure
from exporters.measure import accuracy, file_bytes, latencies
from graph_analysis.errors import InputError
from tests.unit.exporters.graphs import build, node


def classifier(batch: int | str = "n", *, labels: str = "") -> onnx.ModelProto:
    """Scores = the three inputs themselves."""
    return build({"x": [batch, 3]}, {"y": [batch, 3]}, [node("Identity", "x", "y")], {})


def one_hot(*classes: int) -> np.ndarray:
    return np.eye(3)[list(classes)]


def test_models_take_turns_and_the_first_one_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Session:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, names, feeds) -> None:
            order.append(self.name)

    monkeypatch.setattr(measure, "open_session", lambda m, **_: Session(m.producer_name))
    models = {}
    for name in "abc":
        models[name] = classifier()
        models[name].producer_name = name

    latencies(models, rounds=2, warm_up=1)

    assert "".join(order) == "abcbcacab"


def test_percentiles_come_from_the_clock_without_the_warm_up() -> None:
    ticks = count(0)
    steps = [9_000_000, 9_000_000, *(i * 1_000_000 for i in range(1, 22))]
    times: list[int] = []
    for step in steps:
        start = 1_000_000_000 * next(ticks)
        times += [start, start + step]
    clock = iter(times)

    found = latencies({"m": classifier()}, rounds=21, warm_up=2, clock=lambda: next(clock))["m"]

    assert (found.p50_ms, found.p95_ms, found.runs) == (11.0, 20.0, 21)


def test_a_fixed_batch_is_reported_as_what_it_is() -> None:
    found = latencies({"free": classifier(), "fixed": classifier(2)}, batch=4, rounds=1, warm_up=0)
    assert (found["free"].batch, found["fixed"].batch) == (4, 2)


@pytest.mark.parametrize("batch", ["n", 1, 2, 4])
def test_accuracy_counts_right_answers_whatever_the_batch(batch: int | str) -> None:
    inputs = one_hot(0, 1, 2, 0, 1)
    labels = np.asarray([0, 1, 2, 1, 0])
    assert accuracy(classifier(batch), {"": inputs}, labels, batch_size=2) == pytest.approx(3 / 5)


def test_accuracy_of_a_choice_per_position() -> None:
    model = build({"x": ["n", 2, 3]}, {"y": ["n", 2, 3]}, [node("Identity", "x", "y")], {})
    inputs = np.stack([one_hot(0, 1), one_hot(2, 2)])
    assert accuracy(model, {"x": inputs}, np.asarray([[0, 1], [2, 0]])) == 0.75


@pytest.mark.parametrize(
    "inputs, labels, message",
    [
        ({"z": one_hot(0)}, [0], "no samples for input 'x'; there are some for \\['z'\\]"),
        ({"": np.zeros((1, 4))}, [0], "does not run on samples 0 to"),
        ({"": one_hot(0)}, [[0, 1]], "labels hold \\[2\\]"),
        ({"": np.zeros((0, 3))}, [], "no samples"),
    ],
)
def test_data_that_do_not_fit_are_named(inputs, labels, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        accuracy(classifier(), inputs, np.asarray(labels))
    assert caught.value.code == "dataset-shape-mismatch"


def test_a_model_without_scores_has_no_accuracy() -> None:
    model = build({"x": ["n", 3]}, {"y": ["n", 1]}, [node("ReduceSum", "x ax", "y")], {"ax": [1]})
    with pytest.raises(InputError, match="no float output with one score per class"):
        accuracy(model, {"": one_hot(0)}, np.asarray([0]))


def test_bytes_in_memory_are_those_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(classifier().SerializeToString())
    assert file_bytes(path) == file_bytes(classifier())


def test_weights_in_other_files_count_as_well(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weights = {"w": np.ones((100, 10), np.float32)}
    model = build({"x": [1, 100]}, {"y": [1, 10]}, [node("MatMul", "x w", "y")], weights)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert file_bytes(path) == path.stat().st_size + 4000


def test_a_slow_model_gets_fewer_rounds_but_one_at_least() -> None:
    ticks = iter(range(0, 10**15, 10**9))
    found = latencies(
        {"a": classifier()}, rounds=50, warm_up=5, seconds=4.5, clock=lambda: next(ticks)
    )
    assert 1 <= found["a"].runs < 5
