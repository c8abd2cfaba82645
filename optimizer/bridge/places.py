"""Where a dotted path leads in a module that is being put together."""

import torch


def holder(root: torch.nn.Module, path: str) -> tuple[torch.nn.Module, str]:
    """The module that holds what ``path`` names, made on the way if it is not there, and its leaf.

    Args:
        root: Where the path begins.
        path: Names with dots between them.
    """
    *parents, leaf = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, torch.nn.Module())
        root = root.get_submodule(parent)
    return root, leaf
