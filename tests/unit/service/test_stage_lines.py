"""The line protocol, both sides."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from service.stage_lines import LINE_LIMIT, LineWriter, parse_line


class Sent:
    """What a writer has sent, and the clock it goes by."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.time = 100.0
        self.writer = LineWriter(self._descriptor, clock=lambda: self.time)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    sent = Sent(tmp_path / "lines")
    yield sent
    sent.close()


def test_two_progress_lines_per_second_and_the_last_is_never_lost(sent: Sent) -> None:
    for step in range(100):
        sent.writer.report({"kind": "progress", "step": step})
        sent.time += 0.1
    sent.writer.report({"kind": "checkpoint", "step": 99})
    steps = [line["step"] for line in sent.lines() if line["kind"] == "progress"]
    assert len(steps) <= 22
    assert steps[-1] == 99
    assert sent.lines()[-1]["kind"] == "checkpoint"
    assert [line["seq"] for line in sent.lines()] == list(range(1, len(sent.lines()) + 1))


def test_flush_sends_what_was_held_back(sent: Sent) -> None:
    sent.writer.report({"kind": "progress", "step": 1})
    sent.writer.report({"kind": "progress", "step": 2})
    assert len(sent.lines()) == 1
    sent.writer.flush()
    sent.writer.flush()
    assert [line["step"] for line in sent.lines()] == [1, 2]


def test_what_json_does_not_know_is_made_plain(sent: Sent) -> None:
    data = {
        "loss": float("nan"),
        "lr": np.float64(0.5),
        "shape": (1, np.int64(2)),
        "where": Path("a"),
    }
    sent.writer.report({"kind": "metric", "data": data, "rest": [float("inf"), None, True]})
    line = sent.lines()[0]
    assert line["data"] == {"loss": None, "lr": 0.5, "shape": [1, "2"], "where": "a"}
    assert line["rest"] == [None, None, True]


def test_a_line_that_is_too_long_is_replaced(sent: Sent) -> None:
    sent.writer.report({"kind": "event", "step": 3, "text": "x" * LINE_LIMIT})
    assert sent.lines() == [{"kind": "event", "seq": 1, "step": 3, "truncated": True}]


def test_unknown_kinds_are_a_bug(sent: Sent) -> None:
    with pytest.raises(ValueError, match="'news'"):
        sent.writer.report({"kind": "news"})


@pytest.mark.parametrize(
    "raw",
    [
        b"epoch 1: loss 0.5",
        b"",
        b'{"kind": "news"}',
        b'{"step": 1}',
        b'{"kind": "event"',
        b'[{"kind": "event"}]',
        b'{"kind": "event", "x": ' + b"[" * 50_000,
        b'{"kind": "event", "x": "' + b"y" * LINE_LIMIT + b'"}',
    ],
)
def test_foreign_text_is_recognised(raw: bytes) -> None:
    assert parse_line(raw) is None


def test_a_line_is_read() -> None:
    assert parse_line(b'{"kind":"event","seq":1}') == {"kind": "event", "seq": 1}
