"""A job's events as a person wants to see them: one live line, or plain lines without one."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from service.schemas import Event

_METRICS = (("loss", "loss", ".3f"), ("accuracy", "accuracy", ".3f"), ("macs_ratio", "MACs", ".1%"))
_QUIET_SHARE = 0.1  # without a terminal, a new line after each tenth of a phase


def follow(events: Iterable[Event], console: Console) -> None:
    """Show ``events`` on ``console`` until there are no more.

    Whatever is not progress (a search that found its groups, a checkpoint resumed from) gets a
    line of its own, so that it stays readable after the bar has moved on.
    """
    if not console.is_terminal:
        _follow_plainly(events, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("waiting", total=1.0)
        for event in events:
            if event.kind == "progress":
                fraction = float(event.data.get("fraction", 0.0))
                progress.update(task, completed=fraction, description=describe(event.data))
            elif text := _remark(event):
                console.print(text, highlight=False)


def _follow_plainly(events: Iterable[Event], console: Console) -> None:
    shown: tuple[object, object, int] | None = None
    for event in events:
        if event.kind != "progress":
            if text := _remark(event):
                console.print(text, highlight=False)
            continue
        part = int(_share(event.data) / _QUIET_SHARE)
        now = (event.data.get("stage"), event.data.get("phase"), part)
        if now != shown:
            console.print(describe(event.data), highlight=False)
            shown = now


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
    parts += [f"{title} {metrics[key]:{form}}" for key, title, form in _METRICS if key in metrics]
    return "  ".join(part for part in parts if part)


def _share(data: Mapping[str, Any]) -> float:
    total = data.get("total")
    return data.get("step", 0) / total if total else 0.0


def _remark(event: Event) -> str:
    if event.kind == "status":
        return f"  {event.data.get('status', '')}"
    if event.kind == "event":
        return f"  {event.data.get('message', '')}"
    return ""
