"""Settings of the service: the ``SECATEUR_*`` variables, read once and passed on.

Every offending variable is named at once. The environment is read here and by the entry points of
processes, which hand it over.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from graph_analysis.errors import InputError

PREFIX = "SECATEUR_"
_WORKER_ID = re.compile(r"[A-Za-z0-9_.-]{3,64}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_MIB = 1024 * 1024


def default_data_dir() -> Path:
    """``$XDG_DATA_HOME/secateur``, or the usual place below the home folder."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "secateur"


def default_worker_id() -> str:
    """The host's name, so that a restarted worker recognises its own jobs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"worker-{socket.gethostname()}")[:64]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings; each is the variable of the same name with the prefix ``SECATEUR_``.

    Attributes:
        data_dir: Folder for everything that the service keeps.
        database_url: Default: SQLite below ``data_dir``.
        store_url: Where artifacts go; default: files below ``data_dir``.
        worker_id: Name of the worker; two live workers never share one.
        inline_limit: Largest model in a one-call submission, in bytes.
        require_sandbox: Refuse to parse uploads if the kernel cannot isolate the parser.
        dataset_roots: Folders below which ``file://`` data sets may lie; none by default.
        host: Address that the API listens on.
        port: Port that the API listens on; 0 = any free one.
        runner: What runs the stages of a job; ``local`` = child processes of the worker.
        fault: Failpoints for tests, ``name:action@hit,...``.
        stall_timeout: Seconds without a sign of life after which a stage is killed.
        checkpoint_interval: Seconds of training between two checkpoints.
        max_runtime: Longest run of one attempt, in seconds.
        max_attempts: Starts that a job may use up.
        lease: Seconds without a heartbeat after which a worker counts as frozen.
        poll_interval: Seconds between two looks into the queue.
        sweep_interval: Seconds between two looks for dead workers.
        stop_grace: Seconds between asking a stage to stop and killing it.
        compression: Module with the stages; tests put a fast fake here.
    """

    data_dir: Path = field(default_factory=default_data_dir)
    database_url: str = ""
    store_url: str = ""
    worker_id: str = field(default_factory=default_worker_id)
    inline_limit: int = 64 * _MIB
    require_sandbox: bool = False
    dataset_roots: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    runner: str = "local"
    fault: str = ""
    stall_timeout: float = 600.0
    checkpoint_interval: float = 30.0
    max_runtime: float = 24 * 3600.0
    max_attempts: int = 3
    lease: float = 30.0
    poll_interval: float = 0.5
    sweep_interval: float = 3.0
    stop_grace: float = 8.0
    compression: str = "service.compression"

    def __post_init__(self) -> None:
        """Fill in what depends on ``data_dir``, and check everything.

        Raises:
            InputError: At least one setting is not legal; all that are not are named.
        """
        data_dir = self.data_dir.expanduser().absolute()
        _set(self, "data_dir", data_dir)
        _set(self, "database_url", self.database_url or f"sqlite:///{data_dir / 'secateur.db'}")
        _set(self, "store_url", self.store_url or (data_dir / "store").as_uri())
        offenders = [text for text in map(self._offence, _RULES) if text]
        if offenders:
            raise InputError("; ".join(offenders), param=offenders[0].split(" ", 1)[0])

    def _offence(self, rule: tuple[str, Callable[[Any], bool], str]) -> str:
        name, is_legal, legal = rule
        return "" if is_legal(getattr(self, name)) else f"{PREFIX}{name.upper()} must be {legal}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **overrides: Any) -> "Settings":
        """Read the variables; ``overrides`` (of the command line) win unless they are None.

        Raises:
            InputError: A variable cannot be read or is not legal; all that are not are named.
        """
        values: dict[str, Any] = {}
        offenders: list[str] = []
        for item in fields(cls):
            text = environment.get(PREFIX + item.name.upper())
            if text is None or text == "":
                continue
            parse, kind = _PARSERS.get(item.name, (str, "text"))
            try:
                values[item.name] = parse(text)
            except ValueError:
                offenders.append(f"{PREFIX}{item.name.upper()} must be {kind}, not {text[:40]!r}")
        if offenders:
            raise InputError("; ".join(offenders), param=offenders[0].split(" ", 1)[0])
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """The variables that make a child process read the same settings."""
        names = [item.name for item in fields(self)]
        return {PREFIX + name.upper(): _text(getattr(self, name)) for name in names}

    @property
    def jobs_dir(self) -> Path:
        """Work folders of the jobs: ``<id>/run-<fence>``."""
        return self.data_dir / "jobs"

    @property
    def locks_dir(self) -> Path:
        """Lock files: one per worker, one for migrations."""
        return self.data_dir / "locks"


def _set(settings: Settings, name: str, value: object) -> None:
    object.__setattr__(settings, name, value)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value))
    return str(value)


def _flag(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


_WHOLE = (int, "a whole number")
_SECONDS = (float, "a number of seconds")
_PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "data_dir": (Path, "a folder"),
    "inline_limit": (int, "a number of bytes"),
    "require_sandbox": (_flag, "true or false"),
    "dataset_roots": (_folders, "folders"),
    "port": _WHOLE,
    "max_attempts": _WHOLE,
    "stall_timeout": _SECONDS,
    "checkpoint_interval": _SECONDS,
    "max_runtime": _SECONDS,
    "lease": _SECONDS,
    "poll_interval": _SECONDS,
    "sweep_interval": _SECONDS,
    "stop_grace": _SECONDS,
}


def _is_positive(value: float) -> bool:
    return 0 < value < float("inf")


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("database_url", lambda v: v.startswith("sqlite:////"), "sqlite:////absolute/path"),
    ("store_url", lambda v: urlsplit(v).scheme in ("file", "memory"), "file:///absolute/folder"),
    ("worker_id", lambda v: bool(_WORKER_ID.fullmatch(v)), "3 to 64 of A-Z a-z 0-9 _ . -"),
    ("inline_limit", lambda v: 0 < v < 2**31, "between 1 and 2147483647 bytes"),
    ("dataset_roots", lambda v: all(p.is_absolute() for p in v), "absolute folders"),
    ("port", lambda v: 0 <= v < 2**16, "between 0 and 65535"),
    ("runner", lambda v: v == "local", "local"),
    ("compression", lambda v: bool(_MODULE.fullmatch(v)), "the name of a module"),
    ("max_attempts", lambda v: 1 <= v <= 100, "between 1 and 100"),
    *(
        (name, _is_positive, "a positive number of seconds")
        for name, (parse, _) in _PARSERS.items()
        if parse is float
    ),
)
