"""Structured logging: one JSON object per line on stderr, whatever is logged by whomever.

Control characters in names that users chose are escaped, so that a line stays one line and cannot
repaint an operator's terminal.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TEXT_LIMIT = 2000
_NOISY = ("dbos", "alembic", "httpx", "uvicorn.access")


def escaped(text: str) -> str:
    r"""Replace control characters by what a Python programmer would write for them.

    Example:
        >>> escaped("a\nb\x1b[2J")
        'a\\nb\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def printable(text: str) -> str:
    """Escape control characters, and cut very long text."""
    plain = escaped(text)
    return plain if len(plain) <= _TEXT_LIMIT else f"{plain[:_TEXT_LIMIT]}..."


def _strip_control(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and name != "exception":
            event[name] = printable(value)
    return event


def _extra(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Lift ``logger.info(..., extra={...})`` of stdlib loggers into the event."""
    record = event.get("_record")
    if record is not None:
        known = vars(logging.LogRecord("", 0, "", 0, "", None, None)).keys()
        for name, value in vars(record).items():
            if name not in known and name not in ("message", "asctime", "taskName"):
                event.setdefault(name, value)
    event.pop("color_message", None)  # uvicorn's second copy of its text
    return event


def configure_logs(
    *, process: str, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Send everything that this process logs to ``stream`` (stderr) as JSON lines.

    Args:
        process: ``api``, ``worker``, ``supervisor``: a field of every line.
        stream: Where to write.
        level: Lowest level that is written.
    """

    def add_process(_logger: Any, _method: str, event: EventDict) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_process,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _extra],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _strip_control,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
