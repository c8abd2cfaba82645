"""Which normalisations of a module take their statistics over the batches of all processes.

Those in the graph itself. In a body of If, Loop or Scan the data decides how often they run, so the
processes could wait for each other forever; these keep the statistics of their own part.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import fx

from optimizer.bridge.checkpointing import Part
from optimizer.bridge.control import (
    BatchedScanModule,
    IfModule,
    LoopModule,
    ScanModule,
    SequenceMapModule,
)
from optimizer.bridge.folding import InsertedNorm
from optimizer.bridge.ops.normalization import BatchNorm

Norm = BatchNorm | InsertedNorm
_BODIES = (IfModule, LoopModule, ScanModule, BatchedScanModule, SequenceMapModule)


def synchronise(module: fx.GraphModule, *, on: bool = True) -> bool:
    """Switch the statistics over all processes on or off, in place.

    Returns:
        Whether every normalisation of ``module`` that takes batch statistics is now synchronised,
        so that running statistics are the same in all processes without further ado.
    """
    in_graph = _norms_in_graph(module) if on else []
    for norm in norms_of(module):
        norm.is_synchronised = any(norm is other for other in in_graph)
    return is_synchronised(module)


def is_synchronised(module: torch.nn.Module) -> bool:
    """Whether all its normalisations that take batch statistics are, if it has any."""
    return all(norm.is_synchronised for norm in norms_of(module))


@contextlib.contextmanager
def unsynchronised(module: torch.nn.Module) -> Iterator[None]:
    """Let each process run ``module`` on batches of its own, as long as the block lasts."""
    norms = [norm for norm in norms_of(module) if norm.is_synchronised]
    for norm in norms:
        norm.is_synchronised = False
    try:
        yield
    finally:
        for norm in norms:
            norm.is_synchronised = True


def has_bodies(module: torch.nn.Module) -> bool:
    """Whether what runs, and so which parameters get a gradient, may depend on the data."""
    return any(isinstance(inner, _BODIES) for inner in module.modules())


def norms_of(module: torch.nn.Module) -> list[Norm]:
    """The normalisations that take batch statistics, those in bodies too."""
    return [inner for inner in module.modules() if isinstance(inner, BatchNorm | InsertedNorm)]


def _norms_in_graph(module: fx.GraphModule) -> list[Norm]:
    found: list[Norm] = []
    for node in module.graph.nodes:
        if node.op != "call_module":
            continue
        called = module.get_submodule(str(node.target))
        if isinstance(called, Part):
            found += _norms_in_graph(called.inner)
        elif isinstance(called, BatchNorm | InsertedNorm):
            found.append(called)
    return found
