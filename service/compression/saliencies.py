"""What the search compared groups by, kept from the decisions of the training for the report.

The file is whole at every moment, and a training that resumes goes on with it: a decision that is
made again writes what it wrote before.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graph_analysis.solution import Solution

Values = Mapping[str, npt.NDArray[np.float64]]
# Marks a unit that goes only for want of others (optimizer.trainer.profiles): a rank, no measure.
_NO_MEASURE = 1e9


class Saliencies:
    """Takes down every decision: of a unit counts the last one that it was still there for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, npt.NDArray[np.float64]] = {}
        if path.exists():
            found = json.loads(path.read_text())
            self._values = {key: np.asarray(values, np.float64) for key, values in found.items()}

    def __call__(self, values: Values, removed: Mapping[str, Sequence[int]]) -> None:
        """Note the saliencies of a decision.

        Args:
            values: Group id -> saliency of each of its units.
            removed: Group id -> units that had gone before.
        """
        for key, given in values.items():
            noted = given.astype(np.float64, copy=True)
            gone = list(removed.get(key, ()))
            if key in self._values:
                noted[gone] = self._values[key][gone]
            self._values[key] = noted
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({key: v.tolist() for key, v in self._values.items()}))
        draft.replace(self._path)


def summary(path: Path, solution: Solution) -> Mapping[str, Mapping[str, float | None]]:
    """Group id -> lowest, median, highest saliency, and the highest that was removed.

    Units without a measure are left out; nothing is there if no decision was taken down.
    """
    if not path.exists():
        return {}
    found: Mapping[str, Any] = json.loads(path.read_text())
    summaries = {}
    for key, values in found.items():
        given = np.asarray(values, np.float64)
        is_measured = np.isfinite(given) & (given < _NO_MEASURE)
        gone = np.zeros(len(given), bool)
        gone[list(solution.removed.get(key, ()))] = True
        some, removed = given[is_measured], given[is_measured & gone]
        summaries[key] = {
            "lowest": float(some.min()) if some.size else None,
            "median": float(np.median(some)) if some.size else None,
            "highest": float(some.max()) if some.size else None,
            "highest_removed": float(removed.max()) if removed.size else None,
        }
    return summaries
