"""Voices made of pulses and resonances, whose pitch, syllables and pauses are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.prosody import Prosody

RATE = 16_000
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def voice(f0_hz: float | Float64, duration_s: float = 3.0, level: float | Float64 = 0.3) -> Float32:
    """Return a vowel, whose pitch and level are constant or change over its samples (n,)."""
    num_samples = round(duration_s * RATE)
    f0 = np.broadcast_to(np.asarray(f0_hz, np.float64), num_samples)
    phase = np.cumsum(f0) / RATE
    sound = np.zeros(num_samples)
    for harmonic in range(1, 40):
        hz = harmonic * f0
        resonance = sum(1 / (1 + ((hz - peak) / width) ** 2) for peak, width in _RESONANCES)
        audible = np.where(hz < 0.45 * RATE, resonance / harmonic, 0)
        sound += audible * np.sin(2 * np.pi * harmonic * phase)
    return (sound / np.abs(sound).max() * level).astype(np.float32)


_RESONANCES = ((600, 150), (1200, 200), (2500, 300))


def syllables(count: int, each_s: float = 0.2, f0_hz: float = 140.0) -> Float32:
    """Return a vowel in bursts, one a syllable, with dips of 20 dB between them."""
    times = np.arange(round(count * each_s * RATE)) / RATE
    burst = 0.1 + 0.9 * np.sin(np.pi * times / each_s) ** 2
    return voice(f0_hz, count * each_s, 0.3 * burst)


def silence(duration_s: float) -> Float32:
    """Return digital silence."""
    return np.zeros(round(duration_s * RATE), np.float32)


def noise(duration_s: float, level: float = 0.05, seed: int = 0) -> Float32:
    """Return white noise."""
    drawn = np.random.default_rng(seed).normal(size=round(duration_s * RATE))
    return (level * drawn).astype(np.float32)


def whisper(duration_s: float = 3.0) -> Float32:
    """Return noise with the resonances of a vowel."""
    drawn = np.random.default_rng(1).normal(size=round(duration_s * RATE))
    spectrum = np.fft.rfft(drawn)
    hz = np.fft.rfftfreq(len(drawn), 1 / RATE)
    spectrum *= sum(1 / (1 + ((hz - peak) / width) ** 2) for peak, width in _RESONANCES)
    shaped = np.fft.irfft(spectrum, len(drawn))
    return (0.1 * shaped / np.abs(shaped).max()).astype(np.float32)


def measured(*parts: Float32, before_s: float = 0, gain: float = 1) -> Prosody:
    """Return the prosody of ``parts``, each a span of speech unless it is silent, ``before_s`` of
    silence after the start of a recording."""
    lead = silence(before_s)
    spans, at = [], len(lead)
    for part in parts:
        if part.any():
            spans.append((at, at + len(part)))
        at += len(part)
    meter = ProsodyMeter()
    recording = np.concatenate([lead, *parts]) * np.float32(gain)
    meter.add(recording, spans)
    found = meter.result()
    assert found is not None
    return found
