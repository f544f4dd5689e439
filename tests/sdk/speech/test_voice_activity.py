"""The voice activity detector on real speech, and on sounds that hold none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr
from ugsd_lab.data.corpora import load_corpora, read_samples
from ugsd_lab.data.sounds import SOUNDS, draw_sound
from ugsd_sdk.errors import ModelError
from ugsd_sdk.speech.voice_activity import DETECTOR_FILE, VoiceActivityDetector

CLIPS = [clip for clip in load_corpora(None) if clip.split == "test"][::20]


@pytest.fixture(scope="module")
def detector() -> VoiceActivityDetector:
    return VoiceActivityDetector()


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.id)
def test_silence_around_a_voice_is_dropped(detector: VoiceActivityDetector, clip: object) -> None:
    samples = read_samples(clip)  # type: ignore[arg-type]
    silence = np.zeros(5 * 16_000, np.float32)

    plain = detector.find(samples)
    padded = detector.find(np.concatenate([silence, samples, silence]))

    assert plain.share > 0.5
    assert abs(padded.duration_s - plain.duration_s) < 0.25


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound_without_a_voice_is_none(detector: VoiceActivityDetector, kind: str) -> None:
    found = [
        detector.find(draw_sound(kind, 3.0, np.random.default_rng(seed))).is_enough
        for seed in range(5)
    ]

    assert not any(found)


@pytest.mark.parametrize("gain", [1e-4, 1e-2, 1.0])
def test_quiet_voice_is_found_as_well(detector: VoiceActivityDetector, gain: float) -> None:
    samples = read_samples(CLIPS[0])

    assert detector.find(samples * np.float32(gain)).spans == detector.find(samples).spans


def test_knock_does_not_hide_a_quiet_voice(detector: VoiceActivityDetector) -> None:
    voices = [read_samples(clip) for clip in load_corpora(None) if clip.split == "test"][:6]
    knock = np.zeros(8_600, np.float32)
    knock[:600] = np.random.default_rng(0).uniform(-1, 1, 600)
    for voice in voices:
        quiet = voice * np.float32(0.003 / np.sqrt(np.mean(voice**2)))
        assert detector.find(np.concatenate([knock, quiet])).duration_s > 0.5


def test_shout_is_found(detector: VoiceActivityDetector) -> None:
    """At twice the pitch the detector's first attempt misses most voices."""
    angry = [c for c in load_corpora(None) if c.split == "test" and c.emotion == "angry"][:8]
    shouts = [soxr.resample(read_samples(clip), 32_000, 16_000) for clip in angry]
    missed = [shout for shout in shouts if not detector._spans(shout).is_enough]
    assert missed
    for shout in missed:
        found = detector.find(shout)
        assert found.share > 0.5
        assert found.num_samples == len(shout)


def test_recording_without_samples_has_no_speech(detector: VoiceActivityDetector) -> None:
    assert detector.find(np.zeros(0, np.float32)).spans == ()


def test_detector_cut_short_is_named(tmp_path: Path) -> None:
    file = tmp_path / "detector.onnx"
    file.write_bytes(DETECTOR_FILE.read_bytes()[:-1000])

    with pytest.raises(ModelError, match=r"cut short: reinstall"):
        VoiceActivityDetector(file).load()


def test_missing_detector_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: No such file.*: reinstall"):
        VoiceActivityDetector(tmp_path / "none.onnx").load()
