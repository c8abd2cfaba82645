"""Signs of life during what is no training step: between the batches of an evaluation, say."""

from collections.abc import Callable

Alive = Callable[[], None]


def nobody_listens() -> None:
    """The sign of life where nobody waits for one."""
