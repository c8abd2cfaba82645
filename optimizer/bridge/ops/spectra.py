"""Spectra: window functions, mel filters, and Fourier transforms of whole or cut-up signals.

ONNX keeps complex numbers as a last axis of two, real numbers as a last axis of one.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor

from optimizer.bridge.arrays import DTYPES
from optimizer.bridge.call import Call
from optimizer.bridge.host import HostValue, only
from optimizer.bridge.registry import UnsupportedVariant, operator
from optimizer.bridge.values import Value

_COSINES = {  # factors of cos(0), cos(2 pi n / N), cos(4 pi n / N)
    "BlackmanWindow": (0.42, -0.5, 0.08),
    "HammingWindow": (25 / 46, -21 / 46),
    "HannWindow": (0.5, -0.5),
}
_NARROW = frozenset({torch.float16, torch.bfloat16})  # torch's transforms want at least single


@operator(*_COSINES)
def window(call: Call) -> Value:
    """A sum of cosines; periodic ones leave the last element of the symmetric form out."""
    periodic, dtype = bool(call.attribute("periodic", 1)), _output_dtype(call)
    cosines = _COSINES[call.node.op_type]
    return call.write.emit(
        cosine_window, call.numbers(0), cosines, dtype, call.write.anchor, periodic=periodic
    )


def _output_dtype(call: Call) -> torch.dtype:
    dtype = DTYPES.get(call.attribute("output_datatype", 1))
    if dtype is None:
        message = "with an output_datatype that torch cannot hold"
        raise UnsupportedVariant(message)
    return dtype


def cosine_window(
    size: HostValue,
    cosines: tuple[float, ...],
    dtype: torch.dtype,
    anchor: Tensor,
    *,
    periodic: bool,
) -> Tensor:
    """Return ``sum_k cosines[k] * cos(2 pi k n / N)`` for ``n`` from 0 on, ``(size,)``."""
    count = int(only(size))
    period = max(count if periodic else count - 1, 1)
    phase = torch.arange(count, device=anchor.device, dtype=torch.float64) * (2 * math.pi / period)
    total = torch.zeros_like(phase)
    for number, factor in enumerate(cosines):
        total = total + factor * torch.cos(number * phase)
    return total.to(dtype)


@operator("MelWeightMatrix")
def mel_weight_matrix(call: Call) -> Value:
    """Triangular filters that are spaced evenly on the mel scale."""
    settings = [call.numbers(position) for position in range(5)]
    return call.write.emit(mel_filters, *settings, _output_dtype(call), call.write.anchor)


def mel_filters(
    num_bands: HostValue,
    dft_length: HostValue,
    sample_rate: HostValue,
    low_hertz: HostValue,
    high_hertz: HostValue,
    dtype: torch.dtype,
    anchor: Tensor,
) -> Tensor:
    """Return ``(dft_length // 2 + 1, num_bands)``; ``mel(f) = 2595 * log10(1 + f / 700)``."""
    bands, length = int(only(num_bands)), int(only(dft_length))
    low, high = (2595 * math.log10(1 + only(hertz) / 700) for hertz in (low_hertz, high_hertz))
    step = (high - low) / (bands + 2)
    hertz = [700 * (10 ** ((low + step * number) / 2595) - 1) for number in range(bands + 2)]
    edges = [int((length + 1) * frequency // only(sample_rate)) for frequency in hertz]
    rows = [[0.0] * bands for _ in range(length // 2 + 1)]
    for band, ((left, centre), right) in enumerate(zip(pairwise(edges), edges[2:], strict=False)):
        rows[centre][band] = 1.0
        for position in range(left, centre):
            rows[position][band] = (position - left) / (centre - left)
        for position in range(centre, right):
            rows[position][band] = (right - position) / (right - centre)
    return torch.tensor(rows, dtype=dtype, device=anchor.device)


@operator("DFT")
def dft_attribute(call: Call) -> Value:
    """Version 17: the axis is an attribute."""
    return _dft(call, call.attribute("axis", 1))


@operator("DFT", since=20)
def dft(call: Call) -> Value:
    """From version 20: the axis is an input."""
    return _dft(call, call.numbers(2) if call.has(2) else -2)


def _dft(call: Call, axis: Value | HostValue) -> Value:
    length = call.numbers(1) if call.has(1) else None
    inverse, onesided = (bool(call.attribute(name, 0)) for name in ("inverse", "onesided"))
    return call.write.emit(
        transformed, call.tensor(0), length, axis, inverse=inverse, onesided=onesided
    )


def transformed(
    x: Tensor, length: HostValue | None, axis: HostValue, *, inverse: bool, onesided: bool
) -> Tensor:
    """Return the Fourier transform of ``x`` (..., 1 or 2) along ``axis``.

    1. The inverse of half a spectrum is real, ``(..., 1)``.
    2. Of a real signal the half spectrum is computed as such, of a complex one cut off.
    """
    dim = int(only(axis)) % x.dim()
    count = None if length is None else int(only(length))
    signal = _complex(x)
    if inverse and onesided:
        real: Tensor = torch.fft.irfft(signal, count, dim).unsqueeze(-1).to(x.dtype)
        return real
    if inverse:
        spectrum = torch.fft.ifft(signal, count, dim)
    elif onesided and not signal.is_complex():
        spectrum = torch.fft.rfft(signal, count, dim)
    else:
        spectrum = torch.fft.fft(signal, count, dim)
        if onesided:
            spectrum = spectrum.narrow(dim, 0, spectrum.shape[dim] // 2 + 1)
    parts: Tensor = torch.view_as_real(spectrum.resolve_conj()).to(x.dtype)
    return parts


def _complex(x: Tensor) -> Tensor:
    """Drop the last axis: of size 1 the numbers are real, of size 2 complex."""
    wide = x.float() if x.dtype in _NARROW else x
    return wide.squeeze(-1) if x.shape[-1] == 1 else torch.view_as_complex(wide.contiguous())


@operator("STFT")
def stft(call: Call) -> Value:
    """Fourier transforms of a window that slides over the signal."""
    step = call.numbers(1)
    length = call.numbers(3) if call.has(3) else None
    onesided = bool(call.attribute("onesided", 1))
    signal, weights = call.tensor(0), call.optional(2)
    return call.write.emit(spectrogram, signal, step, weights, length, onesided=onesided)


def spectrogram(
    signal: Tensor,
    step: HostValue,
    window: Tensor | None,
    length: HostValue | None,
    *,
    onesided: bool,
) -> Tensor:
    """Return ``(batch, frames, frequencies, 2)`` of a signal ``(batch, time, 1 or 2)``."""
    if signal.dim() == 2:
        signal = signal.unsqueeze(-1)
    whole = signal.shape[1] if window is None else window.shape[0]
    size = whole if length is None else int(only(length))
    frames = signal.unfold(1, size, int(only(step))).transpose(2, 3)
    if window is not None:
        frames = frames * window.unsqueeze(-1)
    return transformed(frames, None, 2, inverse=False, onesided=onesided)
