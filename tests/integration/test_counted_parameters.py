"""What is counted as a parameter is what trains, also where a setting is put together."""

import pytest

from optimizer.bridge.roles import trainable_initializers
from tests.unit.graph_analysis.test_costs import resized


@pytest.mark.parametrize("is_split", [True, False])
def test_what_is_counted_is_what_trains(is_split: bool) -> None:
    analysis = resized(is_split=is_split)
    assert analysis.costs.parameters == trainable_initializers(analysis.loaded.flat.graph)
