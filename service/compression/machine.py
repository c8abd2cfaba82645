"""What this process may use of the machine."""

import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def num_cpus() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def load() -> float | None:
    """How many processes wanted to run in the last minute, on average; None if nobody knows."""
    try:
        return round(os.getloadavg()[0], 1)
    except OSError:
        return None


def processor(listing: Path = _CPUINFO) -> str:
    """What the processor is called; its architecture where that is not known."""
    try:
        lines = listing.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine() or "unknown"
