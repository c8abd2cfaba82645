"""A child process that never outlives its parent; stdlib only, imported before anything heavy."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Ask the kernel to send ``number`` to this process when its parent ends; must come first.

    The signal is sent when the *thread* that started this process ends. The parent may have ended
    before the call; then this process leaves at once. Without Linux nothing happens.

    Args:
        parent: Process id of the parent, as the parent itself passed it on.
        number: Which signal.
    """
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(75)
