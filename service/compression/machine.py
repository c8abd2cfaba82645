"""What this process may use of the machine."""

import os


def num_cpus() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))
