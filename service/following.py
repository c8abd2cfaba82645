"""A job's progress as a person wants to see it: one live line, or plain ones without terminal."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from service.schemas import Event

_METRICS = (
    ("loss", "loss", ".3f"),
    ("accuracy", "accuracy", ".3f"),
    ("token-accuracy", "token accuracy", ".3f"),
    ("f1", "F1", ".3f"),
    ("rmse", "RMSE", ".3g"),
    ("mae", "MAE", ".3g"),
    ("macs_ratio", "MACs", ".1%"),
)
_QUIET_SHARE = 0.1  # without a terminal, a new line after each tenth of a phase


class Follower:
    """Shows what is reported, as long as the ``with`` block lasts.

    Whatever is not progress (a search that found its groups, a checkpoint resumed from) gets a
    line of its own, so that it stays readable after the bar has moved on.

    Args:
        console: Where to; a terminal gets a bar, anything else plain lines.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task("waiting", total=1.0)
        self._shown: tuple[object, object, int] | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, kind: str, data: Mapping[str, Any]) -> None:
        """Show one event: its kind (``progress``, ``event``, ``status``, ...) and its data."""
        if kind != "progress":
            if text := _remark(kind, data):
                self._console.print(text, highlight=False, markup=False)
            return
        if self._bar is not None:
            fraction = float(data.get("fraction", 0.0))
            self._bar.update(self._task, completed=fraction, description=describe(data))
            return
        part = int(_share(data) / _QUIET_SHARE)
        now = (data.get("stage"), data.get("phase"), part)
        if now != self._shown:
            self._console.print(describe(data), highlight=False, markup=False)
            self._shown = now


def follow(events: Iterable[Event], console: Console) -> None:
    """Show ``events`` on ``console`` until there are no more."""
    with Follower(console) as follower:
        for event in events:
            follower.show(event.kind, event.data)


def describe(data: Mapping[str, Any]) -> str:
    """One line for a progress event: stage, phase, step, and the metrics it carries.

    Example:
        >>> describe({"stage": "train", "phase": "hybrid", "step": 3, "total": 9,
        ...           "metrics": {"loss": 0.25, "macs_ratio": 0.5}})
        'train: hybrid  step 3/9  loss 0.250  MACs 50.0%'
    """
    parts = [": ".join(str(data[key]) for key in ("stage", "phase") if data.get(key))]
    if data.get("total"):
        parts.append(f"step {data.get('step', 0)}/{data['total']}")
    metrics = data.get("metrics") or {}
    parts += [
        f"{title} {metrics[key]:{form}}"
        for key, title, form in _METRICS
        if metrics.get(key) is not None
    ]
    return "  ".join(part for part in parts if part)


def _share(data: Mapping[str, Any]) -> float:
    total = data.get("total")
    return data.get("step", 0) / total if total else 0.0


def _remark(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "status":
        return f"  {data.get('status', '')}"
    if kind == "event":
        return f"  {data.get('message', '')}"
    return ""
