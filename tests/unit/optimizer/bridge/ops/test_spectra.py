import numpy as np
import pytest
from onnx import TensorProto

from tests.unit.optimizer.bridge.onnx_models import assert_like_ort, assert_trains, floats


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("constant", [(), (0,)])
def test_windows(op_type: str, periodic: int, constant: tuple[int, ...]) -> None:
    size = np.array(9)
    assert_like_ort(op_type, [size], constant=constant, periodic=periodic)
    assert_like_ort(op_type, [size], periodic=periodic, output_datatype=TensorProto.DOUBLE)


@pytest.mark.parametrize(
    ("bands", "length", "low"), [(8, 64, 0.0), (20, 256, 125.0), (5, 16, 20.0)]
)
def test_mel_filters(bands: int, length: int, low: float) -> None:
    limits = [np.array(low, np.float32), np.array(7500.0, np.float32)]
    numbers = [np.array(bands), np.array(length), np.array(16000)]
    assert_like_ort("MelWeightMatrix", [*numbers, *limits])
    assert_like_ort("MelWeightMatrix", [*numbers, *limits], constant=range(5))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("axis", [1, 2, -2])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("length", [None, 4, 9])
def test_transform(parts: int, axis: int, inverse: int, length: int | None) -> None:
    inputs = [floats(2, 6, 5, parts), None if length is None else np.array(length)]
    assert_like_ort("DFT", [*inputs, np.array(axis)], opset=20, inverse=inverse)
    if axis > 0:
        assert_like_ort("DFT", inputs, opset=17, axis=axis, inverse=inverse)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_of_a_real_spectrum_and_back(dtype: type) -> None:
    signal = floats(2, 8, 3, 1, dtype=dtype)
    assert_like_ort("DFT", [signal, None, np.array(1)], opset=20, onesided=1)
    half = np.fft.rfft(signal[..., 0], axis=1)
    spectrum = np.stack([half.real, half.imag], -1).astype(dtype)
    assert_like_ort("DFT", [spectrum, None, np.array(1)], opset=20, onesided=1, inverse=1)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("constant", [(), (1, 2, 3)])
def test_spectrogram(onesided: int, constant: tuple[int, ...]) -> None:
    inputs = [floats(2, 33, 1), np.array(4), floats(8), np.array(8)]
    assert_like_ort("STFT", inputs, onesided=onesided, constant=constant)
    plain = [inputs[0], inputs[1], None, inputs[3]]
    constant = tuple(place for place in constant if place != 2)
    assert_like_ort("STFT", plain, onesided=onesided, constant=constant)


def test_spectrogram_of_a_complex_signal() -> None:
    inputs = [floats(2, 33, 2), np.array(5), floats(8), np.array(8)]
    assert_like_ort("STFT", inputs, onesided=0)


def test_spectra_pass_gradients_on() -> None:
    assert_trains("STFT", [floats(2, 33, 1), np.array(4), floats(8)], constant=[1])
    assert_trains("DFT", [floats(2, 6, 1)], opset=20, onesided=1)
