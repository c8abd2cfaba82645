"""A file is loaded by a child process before anything else is done with it."""

import pytest

from exporters.formats import trial
from graph_analysis.errors import InputError
from tests.unit.exporters.formats.networks import convolutions


def test_a_file_that_loads_passes() -> None:
    trial.check_loads(convolutions().SerializeToString(), "file")


def test_a_file_that_does_not_load_is_refused_with_the_reason() -> None:
    model = convolutions()
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(
        InputError, match=r"no file can be made .* does not load .*Unheard"
    ) as caught:
        trial.check_loads(model.SerializeToString(), "file")
    assert caught.value.code == "export-unsupported"


def test_a_crash_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LOAD", "import os; os.kill(os.getpid(), 6)")
    with pytest.raises(InputError, match=r"crashes while it loads the file \(signal 6\)"):
        trial.check_loads(b"", "file")


def test_a_load_that_does_not_end_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LOAD", "import time; time.sleep(60)")
    monkeypatch.setattr(trial, "_SECONDS", 0.2)
    with pytest.raises(InputError, match=r"has not loaded the file within 0\.2 s"):
        trial.check_loads(b"", "file")
