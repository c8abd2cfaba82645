"""One JSON object per line, whatever is logged."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.logs import configure_logs, printable


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(process="test", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_extra_fields_and_the_process_are_in_the_line(stream: io.StringIO) -> None:
    logging.getLogger("a.b").info("it %s", "works", extra={"action": "start", "job_id": "job_1"})
    line = json.loads(stream.getvalue())
    assert line["event"] == "it works"
    assert (line["action"], line["job_id"]) == ("start", "job_1")
    assert (line["process"], line["level"], line["logger"]) == ("test", "info", "a.b")


def test_control_characters_cannot_start_a_line_of_their_own(stream: io.StringIO) -> None:
    logging.getLogger("a").warning("x\n{}\x1b[2J", extra={"name_of": "a\r\nb\u2028"})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line["event"] == "x\\n{}\\x1b[2J"
    assert line["name_of"] == "a\\r\\nb\\u2028"


def test_an_exception_stays_on_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad\nvalue")  # noqa: EM101, TRY301
    except ValueError:
        logging.getLogger("a").exception("it failed")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "ValueError: bad" in json.loads(lines[0])["exception"]


def test_noisy_libraries_are_quiet(stream: io.StringIO) -> None:
    logging.getLogger("dbos").info("chatter")
    assert stream.getvalue() == ""


def test_long_text_is_cut() -> None:
    assert len(printable("x" * 5000)) < 2100
