"""Raw system calls through ctypes, for what Python's standard library has no function.

Only numbers and calling conventions; what they are used for is in the neighbouring modules.
"""

import ctypes
import os
import platform
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE_RULESET = 444  # the landlock numbers are the same on every architecture
LANDLOCK_ADD_RULE = 445
LANDLOCK_RESTRICT_SELF = 446
_SECCOMP_NUMBERS = {"x86_64": 317, "aarch64": 277}
_libc: ctypes.CDLL | None = None


def machine() -> str | None:
    """``x86_64`` or ``aarch64`` on Linux; None elsewhere, where nothing of this works."""
    name = platform.machine()
    return name if sys.platform == "linux" and name in _SECCOMP_NUMBERS else None


def prctl(option: int, argument: int) -> None:
    """Call ``prctl(option, argument, 0, 0, 0)``.

    Raises:
        OSError: The kernel refused.
    """
    _check(_library().prctl(option, argument, 0, 0, 0))


def seccomp(operation: int, flags: int, argument: object) -> int:
    """Call ``seccomp(2)``.

    Raises:
        OSError: The kernel refused, or has no seccomp.
    """
    return syscall(_SECCOMP_NUMBERS[platform.machine()], operation, flags, argument)


def syscall(number: int, *arguments: object) -> int:
    """Call the kernel directly; None is passed as a null pointer.

    Raises:
        OSError: The kernel refused.
    """
    return _check(int(_library().syscall(number, *arguments)))


def _library() -> ctypes.CDLL:
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
