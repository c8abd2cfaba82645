"""What stages report to, and the lines that several of them report."""

from collections.abc import Callable, Mapping
from typing import Any

Report = Callable[[Mapping[str, Any]], None]  # takes the lines of service.stage_lines
ShouldStop = Callable[[], bool]


def say(report: Report, code: str, message: str, data: Mapping[str, Any] | None = None) -> None:
    """Report something that belongs into the job's history."""
    report({"kind": "event", "message": message, "data": {"code": code, **(data or {})}})


class Phases:
    """Progress of a stage that is a list of named phases, one line as each begins."""

    def __init__(self, report: Report, stage: str, names: tuple[str, ...]) -> None:
        self._report = report
        self._stage = stage
        self._names = names
        self._latest = (names[0], 1, 0.0)

    def begin(self, name: str) -> None:
        """Report that the phase ``name`` begins."""
        step = self._names.index(name)
        self._show(name, step + 1, step / len(self._names))

    def end(self) -> None:
        """Report that the last phase is done."""
        self._show(self._names[-1], len(self._names), 1.0)

    def alive(self) -> None:
        """Report again where the stage is: a phase that takes long is not a stage that hangs."""
        self._show(*self._latest)

    def _show(self, name: str, step: int, fraction: float) -> None:
        self._latest = (name, step, fraction)
        self._report(
            {
                "kind": "progress",
                "stage": self._stage,
                "phase": name,
                "step": step,
                "total": len(self._names),
                "fraction": fraction,
                "metrics": {},
            }
        )
