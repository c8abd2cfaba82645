"""Every operator model of the onnx package: analysed, and cut exactly where there is a group.

The whole list is analysed each time; a share of the solutions is run in ONNX Runtime, all of them by
``SECATEUR_NODE_MODELS=all``. Nothing is passed over in silence: what is refused, and what ONNX
Runtime does not run even before it is cut, is listed here.
"""

import os
from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from exporters import samples
from exporters.sessions import OFF, open_session, run
from graph_analysis.errors import ModelError
from graph_analysis.loading import load_model
from graph_analysis.pipeline import Analysis, analyze
from tests.integration.node_models import NodeModel, behind_a_layer, node_models, with_weights
from tests.sweep.random_solutions import KINDS, failures_of, random_solution

VARIANTS = {"plain": lambda e: e.model, "weights": with_weights, "layers": behind_a_layer}
EVERY = 1 if os.environ.get("SECATEUR_NODE_MODELS") == "all" else 4
# only operators of other domains: the default operator set is not even named
REFUSED = ("model-opset",)


def variants() -> Iterator[tuple[NodeModel, str, onnx.ModelProto]]:
    for entry in node_models():
        for variant, build in VARIANTS.items():
            model = build(entry)
            if model is not None:
                yield entry, variant, model


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis | str]:
    """Analysis of every variant, or what else came of it."""
    found: dict[str, Analysis | str] = {}
    for entry, variant, model in variants():
        name = f"{entry.name} {variant}"
        try:
            found[name] = analyze(load_model(model.SerializeToString()))
        except ModelError as error:
            found[name] = error.code
        except Exception as error:  # noqa: BLE001  a crash is what is looked for
            found[name] = f"{type(error).__name__}: {error}"
    return found


def test_there_are_many(analyses: dict[str, Analysis | str]) -> None:
    assert len(analyses) > 2000


def test_every_one_is_analysed(analyses: dict[str, Analysis | str]) -> None:
    other = {name: result for name, result in analyses.items() if isinstance(result, str)}
    assert {n: r for n, r in other.items() if r not in REFUSED} == {}
    assert {
        entry.name
        for entry in node_models()
        if f"{entry.name} plain" in other
        and any(o.domain in ("", "ai.onnx") for o in entry.model.opset_import)
    } == set()


def test_every_weight_is_in_a_group_or_stays_with_a_reason(
    analyses: dict[str, Analysis | str],
) -> None:
    for name, analysis in analyses.items():
        if isinstance(analysis, str):
            continue
        named = {s.initializer for group in analysis.space.groups for s in group.cut}
        named |= {entry.initializer for entry in analysis.space.frozen}
        assert analysis.costs.parameters <= named, name


def runs(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime takes the model as it is."""
    try:
        specs = samples.input_specs(model)
        shapes = samples.bound_shapes(specs, batch=1)
        rng = np.random.default_rng(0)
        run(open_session(model, level=OFF), samples.random_feeds(specs, shapes, rng))
    except Exception:  # noqa: BLE001  the runtime raises a type per failure
        return False
    return True


def test_every_cut_is_exact(analyses: dict[str, Analysis | str]) -> None:
    failures, tried, unable = [], 0, []
    searched = [
        (name, analysis)
        for name, analysis in analyses.items()
        if not isinstance(analysis, str) and analysis.space.groups
    ]
    for name, analysis in searched[::EVERY]:
        if not runs(analysis.loaded.model):
            unable.append(name)
            continue
        for seed, share in enumerate((0.3, 0.8)):
            solution = random_solution(analysis, KINDS["mixed"], share, seed)
            if not solution.removed:
                continue
            tried += 1
            try:
                found = list(failures_of(analysis, solution, seed))
            except Exception as error:  # noqa: BLE001  listed with the others
                found = [f"{type(error).__name__}: {error}"]
            failures += [f"{name} (share {share}, seed {seed}): {what}" for what in found]
    print(f"{tried} solutions of {len(searched[::EVERY])} models; not run: {unable}")  # noqa: T201
    assert failures == []
    assert tried > 50 / EVERY
