"""What every format refuses alike."""

import pytest

from exporters.formats import refusing, to_float16, to_int8, to_int8_weights, to_ort
from graph_analysis.errors import InputError
from tests.unit.exporters.formats.networks import convolutions


def test_a_model_that_does_not_fit_into_one_file_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "_MOST_BYTES", 10_000)
    model = convolutions()
    for convert in (to_float16, to_int8_weights, to_ort, lambda model: to_int8(model, iter(()))):
        with pytest.raises(
            InputError, match=r"bytes of weights do not fit into the 2 GiB"
        ) as caught:
            convert(model)
        assert caught.value.code == "export-unsupported"
