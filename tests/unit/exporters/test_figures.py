"""The JSON form of a proof."""

import json

from exporters.figures import GateFigure, Proof


def figure(gate: str, difference: float) -> GateFigure:
    return GateFigure(
        gate=gate, level="off", batch=1, source="real", output="y",
        max_difference=difference, scale=1.0, limit=1e-5, passed=False,
    )  # fmt: skip


def test_the_headline_is_the_largest_difference_with_optimisations_off() -> None:
    figures = (figure("G3", 1e-7), figure("G3", 3e-7), figure("G4", 1.0))
    assert Proof(passed=True, figures=figures).max_difference == 3e-7
    assert Proof(passed=False).max_difference == 0.0


def test_json_has_no_infinities() -> None:
    data = Proof(passed=False, figures=(figure("G3", float("inf")),)).to_dict()
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text)["figures"][0]["max_difference"] is None
    assert data["max_difference"] is None
