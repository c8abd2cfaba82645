"""Landlock: which folders the child may read and the one it may write; no TCP, no signals outside.

Everything that is not listed is refused by the kernel, whatever the process tries. Works without
privileges. The bit values are those of ``linux/landlock.h``; later ABIs only add bits.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from service.sandbox.syscalls import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_ABI_BITS = (1 << 13) - 1
_NET_BITS = 0b11  # bind and connect over TCP
_SCOPE_BITS = 0b11  # abstract UNIX sockets and signals
_READ_BITS = _READ_FILE | _READ_DIR
_FILE_BITS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


class _RulesetAttribute(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi_version() -> int:
    """Version of the kernel's Landlock interface; 0 if there is none."""
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(*, read: Iterable[Path], write: Iterable[Path]) -> None:
    """Confine this process, for good, to reading ``read`` and to working below ``write``.

    Paths that do not exist are skipped. ``PR_SET_NO_NEW_PRIVS`` must be set.

    Raises:
        OSError: The kernel has no Landlock.
    """
    abi = abi_version()
    handled = _handled_bits(abi)
    attribute = _RulesetAttribute(
        handled, _NET_BITS if abi >= 4 else 0, _SCOPE_BITS if abi >= 6 else 0
    )
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(attribute), size, 0)
    try:
        for path in read:
            _allow(ruleset, path, _READ_BITS)
        for path in write:
            _allow(ruleset, path, handled & ~_EXECUTE)
        syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _handled_bits(abi: int) -> int:
    bits = _FIRST_ABI_BITS
    bits |= _REFER if abi >= 2 else 0
    bits |= _TRUNCATE if abi >= 3 else 0
    return bits | (_IOCTL_DEV if abi >= 5 else 0)


def _allow(ruleset: int, path: Path, bits: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = bits if path.is_dir() else bits & _FILE_BITS
        rule = _PathBeneath(allowed, descriptor)
        syscall(LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
