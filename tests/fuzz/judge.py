"""What becomes of one model: analysed, refused with a clear error, or a failure of ours."""

import traceback
from dataclasses import dataclass

from graph_analysis.errors import SecateurError
from graph_analysis.explain import explain
from graph_analysis.loading import load_model
from graph_analysis.pipeline import analyze
from graph_analysis.solution import Solution

_LONGEST_MESSAGE = 600  # characters: one line that a person reads


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``kind`` is what cases are counted and failures told apart by."""

    kind: str
    is_failure: bool
    detail: str = ""


def judge(data: bytes) -> Verdict:
    """Load, analyse, explain, write the search space down, and ask for its validity."""
    try:
        analysis = analyze(load_model(data))
        explain(analysis)
        analysis.space.to_json()
        nothing = Solution.of(analysis.space, {})
        analysis.macs(nothing)
        analysis.bytes(nothing)
        analysis.violations(nothing)
    except SecateurError as error:
        return _of_refusal(error)
    except Exception as error:  # noqa: BLE001  whatever else is raised is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "graph_analysis" in frame.filename]
        place = ours[-1] if ours else frames[-1]
        where = f"{place.filename.rpartition('graph_analysis/')[2]}:{place.name}"
        kind = f"{type(error).__name__} at {where}"
        return Verdict(kind=kind, is_failure=True, detail=traceback.format_exc(limit=-12))
    return Verdict(kind="analysed", is_failure=False)


def _of_refusal(error: SecateurError) -> Verdict:
    text = str(error)
    if error.exit_code != 2 or not text or "\n" in text or len(text) > _LONGEST_MESSAGE:
        kind = f"unclear refusal {error.code}"
        return Verdict(kind=kind, is_failure=True, detail=text[:2000])
    return Verdict(kind=f"refused: {error.code}", is_failure=False, detail=text)
