"""Augmentation: simulates what changes a voice on real devices (speaker, room, microphone,
codec)."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

__all__ = ["augmented", "drawn_speed", "reverberation"]

SAMPLE_RATE = 16_000

_Samples = NDArray[np.float32]
_Step = Callable[[_Samples, np.random.Generator], _Samples]


def _filtered(samples: _Samples, zeros: ArrayLike, poles: ArrayLike) -> _Samples:
    size = 1 << (len(samples) + np.size(zeros) + 256).bit_length()  # room for the poles to ring out
    response = np.fft.rfft(zeros, size) / np.fft.rfft(poles, size)
    output = np.fft.irfft(np.fft.rfft(samples, size) * response, size)
    return output[: len(samples)].astype(np.float32)


def drawn_speed(rng: np.random.Generator) -> float:
    """Draw the speed factor at which :func:`augmented` plays a clip; it is the first thing that it
    draws. Pitch and formants change with it (Ko et al. 2015)."""
    return float(rng.uniform(0.8, 1.2)) if rng.random() < 0.5 else 1.0


def reverberation(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Simulate a room as gaussian noise that decays by 60 dB in T60 (Polack 1988), with T60 0.1 to
    0.6 s and the direct sound -3 to 15 dB above the rest. Reverberation after the clip's end is
    cut."""
    t60_s, direct_db = rng.uniform(0.1, 0.6), rng.uniform(-3, 15)
    time_s = np.arange(1, round(t60_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / t60_s)
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.sum(tail**2))
    room = np.concatenate([[1], tail]) / np.sqrt(1 + np.sum(tail**2))  # of unit energy
    return _filtered(samples, room, [1])


def _noise(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Add gaussian noise of power 1/f^b (Timmer & König 1995), b from 0, white, to 2, brown, at an
    SNR of 5 to 35 dB. It is flat below 50 Hz, where a small microphone records nothing."""
    slope, snr_db = rng.uniform(0, 2), rng.uniform(5, 35)
    size = 1 << len(samples).bit_length()
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum = rng.standard_normal((len(hz), 2)) @ [1, 1j] * np.maximum(hz, 50) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[: len(samples)]
    power = np.mean(np.square(samples, dtype=np.float64)) * 10 ** (-snr_db / 10)
    noise *= np.sqrt(power / np.mean(noise**2))
    return samples + noise.astype(np.float32)


def _microphone(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Apply the random second-order filter that models a microphone in Valin 2018 (RNNoise)."""
    zeros, poles = rng.uniform(-3 / 8, 3 / 8, (2, 2))
    return _filtered(samples, [1, *zeros], [1, *poles])


def _level(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Apply a gain of -20 to 6 dB (Valin 2018 varies the level likewise)."""
    return samples * np.float32(10 ** (rng.uniform(-20, 6) / 20))


def _coded(samples: _Samples, rate: int, kind: tuple[str, str], **options: str | float) -> _Samples:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind[0], subtype=kind[1], **options)
    file.seek(0)
    decoded: _Samples = soundfile.read(file, dtype="float32")[0]
    return decoded


def _mu_law(samples: _Samples, _: np.random.Generator) -> _Samples:
    """Simulate a telephone line: 8 kHz and mu-law (ITU-T G.711)."""
    line = _coded(soxr.resample(samples, SAMPLE_RATE, 8_000), 8_000, ("WAV", "ULAW"))
    back = soxr.resample(line, 8_000, SAMPLE_RATE)[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back)))


def _mp3(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Simulate a voice memo: MPEG-2 layer III (ISO/IEC 13818-3) at about 26 to 40 kbit/s. At a
    constant rate libsndfile would not remove the encoder's delay."""
    kind, level = ("MP3", "MPEG_LAYER_III"), rng.uniform(0.5, 0.99)
    return _coded(samples, SAMPLE_RATE, kind, compression_level=level, bitrate_mode="VARIABLE")


def _opus(samples: _Samples, rng: np.random.Generator) -> _Samples:
    """Simulate a call over the internet: Opus (RFC 6716) at about 14 to 45 kbit/s."""
    level = rng.uniform(0.85, 0.98)
    return _coded(samples, SAMPLE_RATE, ("OGG", "OPUS"), compression_level=level)


_STEPS: tuple[tuple[_Step, float], ...] = (
    (reverberation, 0.4), (_noise, 0.6), (_microphone, 0.5), (_level, 0.5),
    (_mu_law, 0.15), (_mp3, 0.1), (_opus, 0.05),
)  # fmt: skip
"""Steps and their probabilities, in the order in which they affect a real recording. Codecs may
follow one another, as in a memo of a call; Opus, slower than all others together, is the least
likely."""


def augmented(samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Apply one random chain of steps to (n,) samples at 16 kHz in [-1, 1], n >= 1.

    The same samples and state of ``rng`` give the same chain. The result is again in [-1, 1] and
    between n / 1.2 and n / 0.8 samples long; a step that would clip has its peak scaled to 1.
    """
    samples = _within_one(soxr.resample(samples, SAMPLE_RATE * drawn_speed(rng), SAMPLE_RATE))
    for step, probability in _STEPS:
        if rng.random() < probability:
            samples = _within_one(step(samples, rng))
    return samples.astype(np.float32)


def _within_one(samples: _Samples) -> _Samples:
    scaled: _Samples = samples / np.maximum(np.abs(samples).max(), np.float32(1))
    return scaled
