"""What a cut model takes of the original's time: the two in turns, until the spread is small.

A machine drifts, is shared and throttles; that both models see the same of it is why the share can
be known much better than either time. With one thread a run is timed by what its thread computes,
which is its latency on a core of its own, whatever else the machine does meanwhile; with several,
by the clock on the wall.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from exporters.samples import bound_shapes, input_specs, random_feeds
from exporters.sessions import ALL, Feeds, open_session
from graph_analysis.timing import MeasuredShare

DEFAULT_THREADS = 1  # the share carries over best to a machine with another number of cores
_WIDTH = 0.01  # of the interval, relative to the share, that is small enough
_ROUNDS = (16, 400)  # at least, and at most
_SECONDS = 3.0  # after so long the spread is what it is
_WARM_UP = 3
_SLICE = 2_000_000  # nanoseconds; a model that is faster runs several times in a turn
_NORMAL = 1.96  # 95 % of a normal distribution lie within so many standard deviations


class ShareMeter:
    """Measures cuts of one original model.

    Args:
        original: The model that the shares are of.
        shapes: Shapes per input that are known to work; bind free axes but the batch.
        batch: Samples per run; a model with a fixed batch axis runs at that.
        threads: For each session; 0 is ONNX Runtime's own choice.
        seconds: A measurement takes hardly longer than this.
        alive: Called after every turn.
        clock: Nanoseconds, of the runs and of ``seconds``; None takes those that are right for
            ``threads``.
    """

    def __init__(
        self,
        original: onnx.ModelProto,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
        batch: int = 1,
        threads: int = DEFAULT_THREADS,
        seconds: float = _SECONDS,
        alive: Callable[[], None] | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        specs = input_specs(original)
        bound = bound_shapes(specs, batch=batch, known=shapes)
        self.batch = batch
        self.threads = threads
        self._feeds = random_feeds(specs, bound, np.random.default_rng(0))
        self._seconds = seconds
        self._alive = alive
        self._wall = clock or time.perf_counter_ns
        self._clock = clock or (time.thread_time_ns if threads == 1 else time.perf_counter_ns)
        self._original = open_session(original, level=ALL, threads=threads)

    def of(self, model: onnx.ModelProto) -> MeasuredShare:
        """The share that a cut of the original takes, with the interval that holds it.

        The share is the ratio of the two medians; the interval, at 95 %, is that of the median of
        the ratios of single turns, moved onto it.
        """
        sessions = (self._original, open_session(model, level=ALL, threads=self.threads))
        repeats = [self._repeats(session) for session in sessions]
        times: tuple[list[float], list[float]] = ([], [])
        began = self._wall()
        while len(times[0]) < _ROUNDS[1]:
            first = len(times[0]) % 2
            for number in (first, 1 - first):
                times[number].append(self._time(sessions[number], repeats[number]))
            if self._alive is not None:
                self._alive()
            if len(times[0]) >= _ROUNDS[0] and len(times[0]) % 8 == 0:
                found = share_of(*times)
                is_late = self._wall() - began > self._seconds * 1e9
                if is_late or found.high - found.low <= _WIDTH * found.median:
                    break
        return share_of(*times)

    def _repeats(self, session: onnxruntime.InferenceSession) -> int:
        """Warm up; how many runs make a turn that a clock can tell."""
        shortest = min(self._time(session, 1) for _ in range(_WARM_UP))
        return max(1, ceil(_SLICE / max(shortest, 1.0)))

    def _time(self, session: onnxruntime.InferenceSession, repeats: int) -> float:
        feeds: Feeds = dict(self._feeds)
        start = self._clock()
        for _ in range(repeats):
            session.run(None, feeds)
        return (self._clock() - start) / repeats


def share_of(before: Sequence[float], after: Sequence[float]) -> MeasuredShare:
    """The share and its interval, from times of runs that took turns.

    Args:
        before: Of the original, one per turn.
        after: Of the cut model, in the same turns.
    """
    ratios = np.sort(np.asarray(after, np.float64) / np.asarray(before, np.float64))
    median = float(np.median(after) / np.median(before))
    count = len(ratios)
    half = _NORMAL * sqrt(count) / 2
    low = max(0, int(np.floor(count / 2 - half)))
    high = min(count - 1, int(np.ceil(count / 2 + half)) - 1)
    middle = _median(ratios)
    return MeasuredShare(
        median=median,
        low=median * float(ratios[low]) / middle,
        high=median * float(ratios[high]) / middle,
        rounds=count,
    )


def _median(values: npt.NDArray[np.float64]) -> float:
    return float(np.median(values))
