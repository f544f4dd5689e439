"""What an application sees of its calls: their events, and that a callback costs nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.calls.events import (
    AudioRead,
    BlockSent,
    CallEvent,
    CaptionFailed,
    CaptionFinished,
    CaptionStarted,
    ClipEncoded,
    VerdictReceived,
)
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import AudioError, CaptionTimeout

from tests.doubles.speech import recorded_speech

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def test_events_follow_a_verified_caption(new_captioner: New, fake: Any, voice: Voice) -> None:
    events: list[CallEvent] = []
    with new_captioner(on_event=events.append) as captioner:
        captioner.wait_until_connected()
        caption = captioner.caption(voice, 16_000)
    blocks, verdicts = events[3:-1:2], events[4:-1:2]
    assert [type(event) for event in events[:3]] == [CaptionStarted, AudioRead, ClipEncoded]
    assert [event.num_tokens for event in blocks] == [len(block.tokens) for block in fake.blocks]
    assert sum(event.bytes_sent for event in blocks) == caption.usage.bytes_sent
    assert [event.num_accepted for event in verdicts] == [len(b.tokens) for b in fake.blocks]
    assert {*map(type, blocks)} == {BlockSent}
    assert {*map(type, verdicts)} == {VerdictReceived}
    assert events[-1] == CaptionFinished(caption.latency_ms.total, 5, None)
    assert events[1].duration_s == 1.0
    assert 0 < events[1].speech_s <= 1.0


def test_unverified_caption_says_why(new_captioner: New, fake: Any, voice: Voice) -> None:
    fake.answer = lambda block: None
    events: list[CallEvent] = []
    with new_captioner(on_event=events.append) as captioner:
        captioner.wait_until_connected()
        captioner.caption(voice, 16_000)
    assert events[-1].unverified_reason is ReasonCode.DEADLINE
    assert VerdictReceived not in map(type, events)


def test_failed_call_names_its_error(voice: Voice) -> None:
    events: list[CallEvent] = []
    with Captioner(ScriptedDrafter(), on_event=events.append) as captioner:
        with pytest.raises(AudioError):
            captioner.caption(b"secret name of a file")
        with pytest.raises(CaptionTimeout):
            captioner.caption(voice, 16_000, timeout_s=1e-9)
    assert events == [
        CaptionStarted(),
        CaptionFailed("UnreadableAudio"),
        CaptionStarted(),
        CaptionFailed("CaptionTimeout"),
    ]


def test_silence_is_reported_without_a_drafter() -> None:
    events: list[CallEvent] = []
    with Captioner(ScriptedDrafter(), on_event=events.append) as captioner:
        captioner.caption(np.zeros(32_000), 16_000)
    assert [type(event) for event in events] == [CaptionStarted, AudioRead, CaptionFinished]
    assert events[1] == AudioRead(2.0, 0.0)


def test_events_come_on_the_captions_thread(voice: Voice) -> None:
    threads: set[str] = set()

    def note(event: CallEvent) -> None:
        threads.add(threading.current_thread().name)

    with Captioner(ScriptedDrafter(), on_event=note) as captioner:
        captioner.caption(voice, 16_000)
        assert threads == {threading.current_thread().name}
        threads.clear()
        list(captioner.caption_many([voice], 16_000))
        assert threads == {"ugsd-captions"}


def test_callback_that_raises_costs_no_caption(
    voice: Voice, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: CallEvent) -> None:
        raise ZeroDivisionError("a secret")

    with Captioner(ScriptedDrafter(), on_event=fail) as captioner:
        for _ in range(3):
            assert captioner.caption(voice, 16_000).text
    assert caplog.messages.count("on_event raised ZeroDivisionError") == 1
    assert "secret" not in caplog.text


def test_events_hold_nothing_of_a_clip(
    new_captioner: New, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import soundfile

    path = tmp_path / "a-secret-name.wav"
    soundfile.write(path, recorded_speech(1.0), 16_000)
    events: list[CallEvent] = []
    with (
        caplog.at_level(logging.DEBUG),
        new_captioner(on_event=events.append, user="secret-user") as captioner,
    ):
        captioner.wait_until_connected()
        text = captioner.caption(path).text
    said = " ".join(map(repr, events))
    assert "secret" not in said
    assert not any(word in said for word in text.split() if len(word) > 3)


def test_callback_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="on_event"):
        Captioner(ScriptedDrafter(), on_event="print")  # type: ignore[arg-type]


def test_prewarming_makes_no_caption(voice: Voice) -> None:
    events: list[CallEvent] = []
    encoded: list[int] = []

    class Counted(ScriptedDrafter):
        def encode(self, *arguments: Any) -> Any:
            encoded.append(1)
            return super().encode(*arguments)

    with Captioner(Counted(profiles=True), user="ada", on_event=events.append) as captioner:
        captioner.prewarm()
        profile = captioner.profile_of()
        assert profile is not None
        assert (len(encoded), events, profile.num_clips) == (1, [], 0)
        first = captioner.caption(voice, 16_000)
    assert first.latency_ms.load > 0
