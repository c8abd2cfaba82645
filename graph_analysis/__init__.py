"""ONNX in, search space out: what of a model can be removed, at what price, and why the rest stays.

Stands alone on numpy and onnx. The names below are loaded when they are first used, so that
``graph_analysis.errors`` costs a web process neither numpy nor onnx.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graph_analysis.effects import Effects
    from graph_analysis.loading import LoadedModel, load_model
    from graph_analysis.pipeline import Analysis, AnalysisOptions, analyze
    from graph_analysis.search_space import Group, GroupKind, SearchSpace
    from graph_analysis.solution import Solution
    from graph_analysis.solving import solve

_HOME = {
    "Analysis": "pipeline",
    "AnalysisOptions": "pipeline",
    "Effects": "effects",
    "Group": "search_space",
    "GroupKind": "search_space",
    "LoadedModel": "loading",
    "SearchSpace": "search_space",
    "Solution": "solution",
    "analyze": "pipeline",
    "load_model": "loading",
    "solve": "solving",
}

__all__ = [
    "Analysis",
    "AnalysisOptions",
    "Effects",
    "Group",
    "GroupKind",
    "LoadedModel",
    "SearchSpace",
    "Solution",
    "analyze",
    "load_model",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'graph_analysis' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"graph_analysis.{_HOME[name]}"), name)
