"""The two kernel interfaces: what is asked of them, by ABI version and by architecture."""

import ctypes
import struct
from pathlib import Path
from typing import Any

import pytest

from service.sandbox import landlock, seccomp, syscalls

_ALLOW, _REFUSE, _ABSENT = 0x7FFF0000, 0x00050001, 0x00050026


def _decide(program: bytes, *, number: int, machine: int, argument: int = 0) -> int:
    """A small interpreter of the few BPF instructions that the filter uses."""
    data = {0: number, 4: machine, 16: argument}
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value,
                     0x45: bool(accumulator & value)}[code]  # fmt: skip
            at += if_true if holds else if_false


@pytest.mark.parametrize(
    ("name", "machine", "execve", "socket", "clone", "read"),
    [("x86_64", 0xC000003E, 59, 41, 56, 0), ("aarch64", 0xC00000B7, 221, 198, 220, 63)],
)
def test_the_filter(
    name: str, machine: int, execve: int, socket: int, clone: int, read: int
) -> None:
    program = seccomp.build_filter(name)
    decide = lambda number, **more: _decide(program, number=number, **{"machine": machine} | more)  # noqa: E731
    assert decide(read) == _ALLOW
    assert decide(execve) == _REFUSE
    assert decide(socket) == _REFUSE
    assert decide(435) == _ABSENT
    assert decide(clone) == _REFUSE
    assert decide(clone, argument=0x10000) == _ALLOW
    assert decide(read, machine=0x40000003) == _REFUSE
    assert decide(0x40000000 + read) == _REFUSE
    assert len(program) // 8 < 256  # jumps are relative and short, but the whole must stay small


def test_seccomp_needs_a_known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "machine", lambda: None)
    assert not seccomp.is_available()
    with pytest.raises(OSError, match="not supported"):
        seccomp.deny()


def test_a_kernel_that_refuses_is_no_support(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "not implemented")

    monkeypatch.setattr(seccomp, "seccomp", refuse)
    monkeypatch.setattr(landlock, "syscall", refuse)
    assert not seccomp.is_available()
    assert landlock.abi_version() == 0


def test_deny_installs_the_filter_in_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(seccomp, "machine", lambda: "x86_64")
    monkeypatch.setattr(seccomp, "seccomp", lambda op, flags, _: calls.append((op, flags)))
    seccomp.deny()
    assert calls == [(1, 1)]


@pytest.mark.parametrize(
    ("abi", "size", "bits"),
    [(1, 8, 13), (2, 8, 14), (3, 8, 15), (4, 16, 15), (5, 16, 16), (6, 24, 16)],
)
def test_rules_fit_the_kernel(
    abi: int, size: int, bits: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[Any, ...]] = []

    def record(number: int, *arguments: Any) -> int:
        calls.append((number, *arguments))
        return abi if arguments[-1] == 1 else 99

    monkeypatch.setattr(landlock, "syscall", record)
    monkeypatch.setattr(landlock.os, "close", lambda _: None)
    file = tmp_path / "input"
    file.write_text("x")
    landlock.restrict(read=[file, tmp_path / "missing"], write=[tmp_path])
    ruleset = calls[1]
    assert ruleset[2] == size
    attribute = ruleset[1]._obj
    assert attribute.handled_access_fs == (1 << bits) - 1
    assert attribute.handled_access_net == (3 if abi >= 4 else 0)
    assert attribute.scoped == (3 if abi >= 6 else 0)
    rules = [call[3]._obj.allowed_access for call in calls if call[0] == 445]
    assert rules == [1 << 2, (1 << bits) - 2]  # a file: read only; the folder: all but execute
    assert calls[-1][0] == 446


def test_system_calls_report_errors() -> None:
    with pytest.raises(OSError, match=r"."):
        syscalls.syscall(syscalls.LANDLOCK_ADD_RULE, -1, 1, None, 0)
    with pytest.raises(OSError, match=r"."):
        syscalls.prctl(-1, 0)
    assert ctypes.sizeof(landlock._PathBeneath) == 12


def test_other_systems_have_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls.sys, "platform", "darwin")
    assert syscalls.machine() is None
