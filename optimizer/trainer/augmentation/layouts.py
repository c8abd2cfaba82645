"""Which axis of a model's images counts channels."""

from torch import fx

from optimizer.bridge.module import ImportedModule

_CHANNELS_LAST = (0, 3, 1, 2)  # a transposition that makes room for convolutions
_FEW = 4  # channels of a picture: grey, colours, colours and transparency


def is_channels_last(imported: ImportedModule, shape: tuple[int, ...]) -> bool:
    """Whether the images of ``imported`` are (N, H, W, C) and not (N, C, H, W).

    1. A model that transposes its input to channels first has them last.
    2. Else the axis that is no longer than 4 counts channels, if only one of both is.
    3. Else they come first, as in most files.

    Args:
        imported: Takes the images as its only input.
        shape: Of a batch of them.
    """
    inputs = [node for node in imported.module.graph.nodes if node.op == "placeholder"]
    if any(_is_to_channels_first(user) for node in inputs for user in node.users):
        return True
    return shape[3] <= _FEW < shape[1]


def _is_to_channels_first(node: fx.Node) -> bool:
    values = [value for argument in node.args[1:] for value in _flat(argument)]
    return node.op == "call_function" and tuple(values) == _CHANNELS_LAST


def _flat(argument: object) -> list[object]:
    return list(argument) if isinstance(argument, list | tuple) else [argument]
