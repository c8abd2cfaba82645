"""Shares of time: the arithmetic on made-up times, and one measurement that cannot go wrong."""

import numpy as np
import pytest

from exporters.measured_share import ShareMeter, share_of
from graph_analysis.testing import BATCH, GraphBuilder


def network(width: int) -> GraphBuilder:
    graph = GraphBuilder("plain")
    x = graph.relu(graph.conv(graph.input((BATCH, 3, 32, 32)), 3, width))
    graph.classify(graph.relu(graph.conv(x, width, width)), width)
    return graph


def test_a_share_is_the_ratio_of_medians_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    before = 10 + rng.random(100)
    found = share_of(before.tolist(), (before * 0.4 + 0.1 * rng.random(100)).tolist())
    assert found.low <= found.median <= found.high
    assert found.median == pytest.approx(0.405, abs=0.004)
    assert found.high - found.low < 0.01
    assert found.rounds == 100


def test_drift_of_the_machine_is_in_both() -> None:
    drift = np.linspace(1, 3, 60)
    found = share_of((drift * 10).tolist(), (drift * 5).tolist())
    assert found.high - found.low < 1e-9
    assert found.median == pytest.approx(0.5)


def test_more_rounds_make_the_interval_smaller() -> None:
    rng = np.random.default_rng(1)
    times = [rng.lognormal(0, 0.2, (2, count)) for count in (16, 256)]
    few, many = (share_of(list(before), list(after)) for before, after in times)
    assert many.high - many.low < (few.high - few.low) / 2


def test_measuring_ends_when_the_spread_is_small_or_time_is_up() -> None:
    model = network(4).build()
    ticks = iter(range(0, 10**12, 1000))
    steady = ShareMeter(model, clock=lambda: next(ticks), threads=1).of(model)
    assert (steady.median, steady.low, steady.high, steady.rounds) == (1.0, 1.0, 1.0, 16)
    rng = np.random.default_rng(2)
    now = 0

    def jumping() -> int:
        nonlocal now
        now += int(rng.integers(10**6, 10**8))
        return now

    late = ShareMeter(model, clock=jumping, threads=1, seconds=4.0).of(model)
    assert 16 <= late.rounds < 100
    assert late.high > late.low


def test_a_network_that_does_a_hundredth_of_the_work_takes_less_time() -> None:
    meter = ShareMeter(network(96).build(), threads=1, seconds=1.0)
    found = meter.of(network(4).build())
    assert found.median < 0.6
    assert found.rounds >= 16
