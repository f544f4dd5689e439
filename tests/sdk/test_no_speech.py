"""A recording without a voice gets no emotion, sends nothing, and enrols nobody."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.sounds import SOUNDS, draw_sound
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ModelError
from ugsd_sdk.profile.profile_file import stored_profile
from ugsd_sdk.settings.config import Settings

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


@pytest.mark.parametrize("kind", SOUNDS)
def test_sound_without_a_voice_is_not_captioned(kind: str, new_captioner: New, fake: Any) -> None:
    with new_captioner() as captioner:
        caption = captioner.caption(draw_sound(kind, 3.0, np.random.default_rng(5)), 16_000)

    assert caption.text == "No speech."
    assert caption.tokens == caption.decisions == caption.receipts == ()
    assert caption.speech.share == 0
    assert caption.unverified_reason is None
    assert caption.usage.num_frames == caption.usage.num_drafted_tokens == 0
    assert fake.blocks == []


def test_noise_does_not_enrol_a_speaker(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, drafter: ScriptedDrafter
) -> None:
    drafter._profiles = True
    noise = (0.1 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)
    with new_captioner(user="ada", config=Settings(min_enrolment=3)) as captioner:
        for _ in range(3):
            captioner.caption(noise, 16_000)
        caption = captioner.caption(voice, 16_000)

    assert caption.unverified_reason is not None
    assert caption.unverified_reason.code == "not_enrolled"
    assert fake.blocks == []
    assert stored_profile(tmp_path / "home" / "habits", "ada").count == 1


def test_constant_shape_covers_a_silent_recording(new_captioner: New, fake: Any) -> None:
    settings = Settings(traffic_shape=TrafficShape.CONSTANT)
    with new_captioner(config=settings) as captioner:
        captioner.wait_until_connected()
        caption = captioner.caption(np.zeros(16_000, np.float32), 16_000)

    assert caption.text == "No speech."
    assert (caption.usage.num_frames, caption.usage.num_blocks) == (1, 0)
    assert fake.covers == 1
    assert caption.id is not None, "the log has the frame under this name"
    assert {receipt.index for receipt in caption.receipts} == {1}, "after the hello"


def test_two_hours_of_silence_are_read_in_pieces(drafter: Any, tmp_path: Path) -> None:
    file = tmp_path / "night.wav"
    header_and_silence(file, seconds=7200)
    with Captioner(drafter) as captioner:
        caption = captioner.caption(file)

    assert caption.text == "No speech."


def test_drafter_of_another_sample_rate_is_refused(drafter: ScriptedDrafter) -> None:
    drafter._info = replace(drafter.info, sample_rate=8_000)

    with pytest.raises(ModelError, match=r"reads 8000 Hz.*at 16000 Hz"):
        Captioner(drafter).load()


def test_spans_count_from_the_start_of_the_recording(drafter: Any, voice: Voice) -> None:
    recording = np.zeros(70 * 16_000, np.float32)
    recording[65 * 16_000 : 65 * 16_000 + len(voice)] = voice
    with Captioner(drafter) as captioner:
        caption = captioner.caption(recording, 16_000)

    ((start_s, end_s),) = caption.speech.spans
    assert 64.7 < start_s < end_s < 66.3
    assert caption.speech.duration_s == pytest.approx(end_s - start_s)
    assert caption.text != "No speech."


def test_command_prints_that_there_is_no_speech(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "silence.wav"
    header_and_silence(file, seconds=2)

    assert main(["caption", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "No speech." in printed
    assert re.search(r"^  no block was sent; \d+ ms$", printed, re.MULTILINE)


def header_and_silence(file: Path, *, seconds: int) -> None:
    import wave

    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8_000)
        for _ in range(seconds):
            out.writeframes(bytes(16_000))
