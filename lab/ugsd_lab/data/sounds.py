"""Synthetic sounds without a voice, and noise at a given signal-to-noise ratio.

They stand for what microphones pick up when nobody speaks. Each is drawn by a seeded generator, at
16 kHz, with a peak of at most 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SOUNDS", "coloured_noise", "draw_sound", "with_noise"]

SAMPLE_RATE = 16_000
_LOWEST_HZ = 50
"""Below this, noise is flat: small microphones hear little of it."""

Float32 = NDArray[np.float32]
_Rng = np.random.Generator


def coloured_noise(num_samples: int, slope: float, rng: _Rng) -> Float32:
    """Return Gaussian noise (n,) of power 1/f^``slope`` and unit power (Timmer & König 1995)."""
    size = 1 << max(num_samples, 2).bit_length()
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum = rng.standard_normal((len(hz), 2)) @ [1, 1j]
    spectrum *= np.maximum(hz, _LOWEST_HZ) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, size)[:num_samples]
    unit: Float32 = (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)
    return unit


def with_noise(
    recording: Float32, speech_power: float, snr_db: float, slope: float, rng: _Rng
) -> Float32:
    """Add noise of power 1/f^``slope`` to ``recording`` (n,), ``snr_db`` below ``speech_power``,
    which is the mean square of its speech."""
    gain = np.sqrt(speech_power * 10 ** (-snr_db / 10))
    noise = np.float32(gain) * coloured_noise(len(recording), slope, rng)
    return np.asarray(recording + noise, dtype=np.float32)


def draw_sound(kind: str, duration_s: float, rng: _Rng) -> Float32:
    """Return one sound (n,) of :data:`SOUNDS`, at a level between -40 and -6 dBFS of its peak."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = SOUNDS[kind](time_s, rng)
    peak = np.abs(sound).max()
    level = 10 ** (rng.uniform(-40, -6) / 20)
    return (sound * (level / peak if peak else 0)).astype(np.float32)


_Time = NDArray[np.float64]
_Sound = Callable[[_Time, _Rng], NDArray[Any]]


def _noise(slope: float) -> _Sound:
    return lambda t, rng: coloured_noise(len(t), slope, rng)


def _hum(t: _Time, rng: _Rng) -> NDArray[Any]:
    """Mains hum of 50 or 60 Hz with its harmonics, and a little hiss."""
    base = rng.choice([50.0, 60.0])
    parts = [rng.uniform(0, 1) / n * np.sin(2 * np.pi * n * base * t) for n in range(1, 9)]
    hum: NDArray[Any] = np.sum(parts, axis=0) + 0.02 * rng.standard_normal(len(t))
    return hum


def _tone(t: _Time, rng: _Rng) -> NDArray[Any]:
    tone: NDArray[Any] = np.sin(2 * np.pi * rng.uniform(80, 4000) * t)
    return tone


def _dialling(t: _Time, rng: _Rng) -> NDArray[Any]:
    """Keys of a telephone, 0.1 to 0.3 s each (ITU-T Q.23)."""
    low, high = (697, 770, 852, 941), (1209, 1336, 1477)
    sound, at = np.zeros(len(t)), 0
    while at < len(t):
        length = int(rng.uniform(0.1, 0.3) * SAMPLE_RATE)
        part = t[at : at + length]
        sound[at : at + length] = np.sin(2 * np.pi * rng.choice(low) * part)
        sound[at : at + length] += np.sin(2 * np.pi * rng.choice(high) * part)
        at += 2 * length
    return sound


def _clicks(t: _Time, rng: _Rng) -> NDArray[Any]:
    sound = np.zeros(len(t))
    sound[rng.integers(len(t), size=rng.integers(1, 2 + len(t) // 4000))] = 1
    return sound


def _hits(t: _Time, rng: _Rng, rate_hz: float, ring_s: float) -> NDArray[Any]:
    """Bursts of noise that ring out, at random times."""
    ring = np.arange(int(5 * ring_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(t) + len(ring))
    for at in rng.integers(len(t), size=max(1, rng.poisson(rate_hz * len(t) / SAMPLE_RATE))):
        burst = rng.standard_normal(len(ring)) * np.exp(-ring / ring_s)
        sound[at : at + len(ring)] += rng.uniform(0.3, 1) * burst
    return sound[: len(t)]


def _door(t: _Time, rng: _Rng) -> NDArray[Any]:
    """A thump below 200 Hz with a knock of the lock."""
    thump = np.sin(2 * np.pi * rng.uniform(50, 150) * t)
    at = rng.uniform(0, max(t[-1] - 0.5, 0.01))
    after = np.maximum(t - at, 0)
    sound: NDArray[Any] = (t >= at) * np.exp(-after / 0.12) * thump
    return sound + 0.3 * _hits(t, rng, 0.3, 0.02)


def _applause(t: _Time, rng: _Rng) -> NDArray[Any]:
    return _hits(t, rng, rng.uniform(20, 200), 0.008)


def _music(t: _Time, rng: _Rng) -> NDArray[Any]:
    """Notes of a plucked instrument in chords, with a drum now and then."""
    sound, at = np.zeros(len(t)), 0
    root = rng.uniform(110, 330)
    while at < len(t):
        length = int(rng.choice([0.25, 0.5, 1.0]) * SAMPLE_RATE)
        part = t[at : at + length] - t[at]
        for step in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], size=3, replace=False):
            hz = root * 2 ** (step / 12)
            for overtone in range(1, 6):
                decay = np.exp(-part * (2 + overtone))
                sound[at : at + length] += decay * np.sin(2 * np.pi * hz * overtone * part)
        at += length
    drums: NDArray[Any] = np.abs(sound).max() * _hits(t, rng, 2, 0.03)
    return sound + 0.5 * drums


SOUNDS: Mapping[str, _Sound] = {
    "silence": lambda t, rng: np.zeros(len(t)),
    "white noise": _noise(0),
    "pink noise": _noise(1),
    "brown noise": _noise(2),
    "hum": _hum,
    "tone": _tone,
    "dialling tones": _dialling,
    "clicks": _clicks,
    "door": _door,
    "applause": _applause,
    "music": _music,
}
"""By name: time in seconds (n,) and a generator to samples (n,)."""
