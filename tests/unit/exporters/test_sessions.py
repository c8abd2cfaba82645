"""ONNX Runtime's settings."""

import numpy as np
import pytest

from exporters.sessions import ALL, OFF, open_session, run
from tests.unit.exporters.graphs import build, node


def test_both_levels_and_bytes_give_the_same() -> None:
    model = build({"x": ["n", 2]}, {"y": ["n", 2]}, [node("Exp", "x", "y")], {})
    feeds = {"x": np.ones((1, 2), np.float32)}
    results = [
        run(open_session(model, level=OFF), feeds),
        run(open_session(model.SerializeToString(), level=ALL, threads=2), feeds),
    ]
    np.testing.assert_allclose(results[0]["y"], results[1]["y"], rtol=1e-6)


def test_a_refused_input_is_an_exception_and_nothing_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nodes = [node("Reshape", "x four", "y")]
    model = build({"x": ["n", 2]}, {"y": [4]}, nodes, {"four": np.asarray([4])})
    with pytest.raises(Exception, match="Reshape"):
        run(open_session(model, level=OFF), {"x": np.ones((3, 2), np.float32)})
    assert capfd.readouterr() == ("", "")
