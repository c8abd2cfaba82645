"""Calling something that may be out of order for a while, from the worker's event loop."""

import asyncio
import random
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from graph_analysis.errors import SecateurError

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0

P = ParamSpec("P")
T = TypeVar("T")


async def patiently(
    call: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a blocking call in a thread, again and again while the database does not answer."""
    return await _repeated(lambda: call(*args, **kwargs), code="unavailable", tries=None)


async def with_tries(call: Callable[[], T], *, code: str, tries: int) -> T:
    """Run a blocking call in a thread, up to ``tries`` times while it fails with ``code``.

    Raises:
        SecateurError: It failed with that code every time, or with another one.
    """
    return await _repeated(call, code=code, tries=tries)


async def _repeated(call: Callable[[], T], *, code: str, tries: int | None) -> T:
    pause = FIRST_PAUSE
    while True:
        try:
            return await asyncio.to_thread(call)
        except SecateurError as error:
            tries = None if tries is None else tries - 1
            if error.code != code or tries == 0:
                raise
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE)
