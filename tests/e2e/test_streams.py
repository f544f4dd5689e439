"""Streams of real speech through a real captioner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from ugsd_sdk import (
    Captioner,
    ConfigError,
    DraftCaption,
    FinalCaption,
    Profile,
    SpeechStarted,
    StreamGap,
)
from ugsd_sdk.speech.reader import WholeRecording
from ugsd_sdk.streams.chunks import AudioChunk

from tests.doubles.speech import recorded_clips
from tests.doubles.streams import in_chunks, silence


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioner]:
    with Captioner() as captioner:
        yield captioner


@pytest.fixture(scope="module")
def conversation() -> np.ndarray:
    """Return three clips with a second of silence around each."""
    parts = [part for clip in recorded_clips()[:3] for part in (silence(1), clip)]
    return np.concatenate([*parts, silence(1)])


def test_each_utterance_gets_its_caption(captioner: Captioner, conversation: np.ndarray) -> None:
    events = list(captioner.stream(in_chunks(conversation), 16_000))

    finals = [event for event in events if isinstance(event, FinalCaption)]
    assert len(finals) == 3
    assert any(isinstance(event, DraftCaption) for event in events)
    assert sum(isinstance(event, SpeechStarted) for event in events) == 3
    for final in finals:
        cut = conversation[round(final.start_s * 16_000) : round(final.end_s * 16_000)]
        assert final.caption.text == captioner.caption(cut, 16_000).text


def test_drafts_change_no_profile(captioner: Captioner, conversation: np.ndarray) -> None:
    profile = Profile()

    events = captioner.stream(in_chunks(conversation), 16_000, profile=profile)
    counts = [(type(event), profile.num_clips) for event in events]

    assert [count for kind, count in counts if kind is FinalCaption] == [1, 2, 3]
    assert next(count for kind, count in counts if kind is DraftCaption) == 0


def test_streams_of_two_users_run_side_by_side(
    captioner: Captioner, conversation: np.ndarray
) -> None:
    found: dict[str, int] = {}

    def listen(user: str) -> None:
        stream = captioner.stream(in_chunks(conversation), 16_000, user=user, drafts=False)
        found[user] = sum(isinstance(event, FinalCaption) for event in stream)

    threads = [threading.Thread(target=listen, args=(user,)) for user in ("ada", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {"ada": 3, "ben": 3}


def test_asynchronous_stream_says_the_same(captioner: Captioner, conversation: np.ndarray) -> None:
    async def chunks() -> AsyncIterator[AudioChunk]:
        for number, chunk in enumerate(in_chunks(conversation)):
            yield AudioChunk(chunk, 16_000, start_s=7 + 0.02 * number)

    async def collect() -> list[object]:
        return [event async for event in captioner.astream(chunks())]

    events = asyncio.run(collect())

    expected = list(captioner.stream(in_chunks(conversation), 16_000))
    assert [type(event) for event in events if not isinstance(event, DraftCaption)] == [
        type(event) for event in expected if not isinstance(event, DraftCaption)
    ]
    assert not any(isinstance(event, StreamGap) for event in events)


def test_wrong_arguments_are_refused_before_reading(captioner: Captioner) -> None:
    with pytest.raises(ConfigError, match="max_segment_s"):
        captioner.stream([], 16_000, max_segment_s=1)
    with pytest.raises(ConfigError, match="seed"):
        captioner.stream([], 16_000, seed=-1)


def test_detector_for_recordings_alone_is_named() -> None:
    with (
        Captioner(detector=WholeRecording()) as captioner,
        pytest.raises(ConfigError, match="read_windows"),
    ):
        next(captioner.stream([], 16_000))
