"""The inputs of a proof: real ones as given, random ones at two batch sizes and at longer axes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from exporters import samples as inputs
from exporters.comparison import Outputs
from exporters.runner import Runner
from exporters.sessions import OFF, Feeds

_BATCH = 3  # the second batch size; odd, so that no power-of-two kernel hides a mistake
_DRAWS = 2  # random inputs per batch size
_MAX_REAL = 8  # real feeds looked at


@dataclass
class Case:
    """One input with what the reference makes of it."""

    feeds: Feeds
    source: str
    batch: int
    reference: Outputs = field(default_factory=dict)
    result: Outputs = field(default_factory=dict)


def cases(
    runner: Runner,
    samples: Sequence[Feeds],
    *,
    known: Mapping[str, Sequence[int]],
    rng: np.random.Generator,
) -> Iterator[Case]:
    """Every input to compare on.

    1. Real samples, as they are.
    2. Random ones: batches of 1 and 3 where the batch axis is free, else of its fixed length; 1
       where only some inputs fix theirs.
    3. One with all other free axes longer, if the original takes it: a length that was written
       into the file by mistake shows there.
    """
    for feeds in samples[:_MAX_REAL]:
        yield Case(feeds=feeds, source="real", batch=inputs.batch_of(feeds))
    for batch in (1, _BATCH) if inputs.has_free_batch(runner.specs) else (1,):
        shapes = inputs.bound_shapes(runner.specs, batch=batch, known=known)
        for _ in range(_DRAWS):
            yield _random(runner, shapes, rng)
    stretched = inputs.stretched_shapes(runner.specs, known=known)
    if stretched:
        case = _random(runner, stretched, rng)
        if runner.runs("original", OFF, case.feeds):
            yield case


def _random(runner: Runner, shapes: Mapping[str, Sequence[int]], rng: np.random.Generator) -> Case:
    feeds = inputs.random_feeds(runner.specs, shapes, rng)
    return Case(feeds=feeds, source="random", batch=inputs.batch_of(feeds))
