"""One small rule per operator: which labels its inputs tie, and what labels its outputs carry."""

from graph_analysis.rules.registry import apply_rules

__all__ = ["apply_rules"]
