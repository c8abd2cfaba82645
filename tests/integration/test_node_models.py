"""Every operator model of the onnx package: analysed, and cut exactly where there is a group.

The whole list is analysed each time; a share of the solutions is run in ONNX Runtime, all of them
by ``SECATEUR_NODE_MODELS=all``. Nothing is passed over in silence: what is refused, and what ONNX
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


def why_not_run(model: onnx.ModelProto) -> str:
    """Why the model, as it is, says nothing about a cut; empty if it does."""
    try:
        specs = samples.input_specs(model)
        feeds = samples.random_feeds(
            specs, samples.bound_shapes(specs, batch=1), np.random.default_rng(0)
        )
        first, second = (run(open_session(model, level=OFF), feeds) for _ in range(2))
    except Exception:  # noqa: BLE001  the runtime raises a type per failure
        return "ONNX Runtime does not run it"
    floats = [value for value in first.values() if value.dtype.kind == "f"]
    if not all(np.isfinite(value).all() for value in floats):
        return "not finite on random inputs"
    if any(node.op_type == "Dropout" and len(node.input) > 2 for node in model.graph.node):
        return "random"  # the same for the same shape only
    same = all(np.array_equal(first[name], second[name]) for name in first)
    return "" if same else "random"


def test_every_cut_is_exact(analyses: dict[str, Analysis | str]) -> None:
    failures, tried, unable = [], 0, []
    searched = [
        (name, analysis)
        for name, analysis in analyses.items()
        if not isinstance(analysis, str) and analysis.space.groups
    ]
    for name, analysis in searched[::EVERY]:
        why = why_not_run(analysis.loaded.model)
        if why:
            unable.append(f"{name} ({why})")
            continue
        for seed, share in enumerate((0.3, 0.6, 0.8, 0.9)):
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
    print("\n".join(failures))  # noqa: T201
    assert failures == []
    assert tried > 50 / EVERY
