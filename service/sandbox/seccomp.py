"""seccomp: a deny list of system calls that reading a model never needs.

A refused call fails with EPERM, so that a library which merely tries ends in an ordinary error.
Threads stay possible (``clone`` with CLONE_THREAD); new processes do not.
"""

import ctypes
import errno
import struct

from service.sandbox.syscalls import machine, seccomp

_SET_MODE_FILTER = 1
_GET_ACTION_AVAILABLE = 2
_FLAG_ALL_THREADS = 1
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_FIRST_ARGUMENT = 0, 4, 16
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: number on x86_64, number on aarch64 (None: the call does not exist there)
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "kill": (62, 129), "tkill": (200, 130), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "setuid": (105, 146), "setgid": (106, 144), "setsid": (112, 157), "setpgid": (109, 154),
    "memfd_create": (319, 279), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mknod": (133, None), "mknodat": (259, 33), "chown": (92, None), "fchownat": (260, 54),
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_available() -> bool:
    """Whether the kernel can filter system calls with an error number as the answer."""
    if machine() is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    try:
        seccomp(_GET_ACTION_AVAILABLE, 0, ctypes.byref(action))
    except OSError:
        return False
    return True


def deny() -> None:
    """Install the deny list in all threads of this process, for good.

    ``PR_SET_NO_NEW_PRIVS`` must be set.

    Raises:
        OSError: The kernel has no seccomp.
    """
    name = machine()
    if name is None:
        raise OSError(errno.ENOSYS, "seccomp is not supported on this machine")
    code = ctypes.create_string_buffer(build_filter(name))
    length = (len(code) - 1) // 8
    program = _Program(length, ctypes.cast(code, ctypes.c_void_p))
    seccomp(_SET_MODE_FILTER, _FLAG_ALL_THREADS, ctypes.byref(program))


def build_filter(name: str) -> bytes:
    """The BPF program for machine ``name``, eight bytes an instruction.

    1. Another architecture than ``name``, or the x32 variant of x86_64: refused.
    2. ``clone3``: "does not exist", so that the C library falls back to ``clone``.
    3. ``clone`` without CLONE_THREAD, and every call of the deny list: refused.
    4. All else: allowed.
    """
    column = 0 if name == "x86_64" else 1
    refuse, absent = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    program = [
        _op(_LOAD, _OFFSET_ARCHITECTURE),
        _op(_EQUAL, _ARCHITECTURE[name], 1, 0),
        _op(_RETURN, refuse),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_AT_LEAST, _X32_BIT, 0, 1),
        _op(_RETURN, refuse),
        _op(_EQUAL, _CLONE3, 0, 1),
        _op(_RETURN, absent),
        _op(_EQUAL, _CLONE[name], 0, 4),
        _op(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _op(_ANY_BIT, _CLONE_THREAD, 0, 1),
        _op(_RETURN, _ALLOW),
        _op(_RETURN, refuse),
    ]
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            program += [_op(_EQUAL, number, 0, 1), _op(_RETURN, refuse)]
    program.append(_op(_RETURN, _ALLOW))
    return b"".join(program)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
