"""Many clips: in order, side by side, read as their results are taken, and ended together."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_sdk.calls.call import current_call
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import (
    AudioError,
    CaptionCancelled,
    CaptionerClosed,
    CaptionTimeout,
    ConfigError,
    ModelError,
)

from tests.doubles.waiting_drafters import MeetingDrafter

Voice = NDArray[np.float32]
LONG_S = 30.0


@pytest.fixture
def captioner() -> Iterator[Captioner]:
    with Captioner(ScriptedDrafter()) as captioner:
        yield captioner


def test_results_are_in_order_with_their_errors(
    captioner: Captioner, voice: Voice, tmp_path: Path
) -> None:
    clips = [voice, np.zeros(10), voice, np.full(16_000, np.nan)]
    results = list(captioner.caption_many(clips, 16_000))
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert [result.caption is None for result in results] == [False, True, False, True]
    assert [isinstance(result.error, AudioError) for result in results] == [
        False,
        True,
        False,
        True,
    ]
    assert {result.name for result in results} == {None}


def test_results_name_their_files(captioner: Captioner, tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    empty = tmp_path / "empty.wav"
    empty.touch()
    with empty.open("rb") as file:
        results = list(captioner.caption_many([missing, str(empty), file]))
    assert [result.name for result in results] == [str(missing), str(empty), str(empty)]
    assert all(isinstance(result.error, AudioError) for result in results)


def test_captions_are_those_of_single_calls(captioner: Captioner, voice: Voice) -> None:
    expected = captioner.caption(voice, 16_000, seed=5, length="short")
    for result in captioner.caption_many([voice] * 5, 16_000, seed=5, length="short"):
        assert result.caption is not None
        assert (result.caption.text, result.caption.length) == (expected.text, expected.length)


def test_progress_is_reported_with_the_total(captioner: Captioner, voice: Voice) -> None:
    def count(done: int, total: int | None) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.append((done, total))

    seen: list[tuple[int, int | None]] = []
    list(captioner.caption_many([voice] * 3, 16_000, on_progress=count))
    list(captioner.caption_many(iter([voice] * 2), 16_000, on_progress=count))
    assert seen == [(1, 3), (2, 3), (3, 3), (1, None), (2, None)]


def test_clips_are_captioned_side_by_side(voice: Voice) -> None:
    with Captioner(MeetingDrafter(3)) as captioner:
        assert len(list(captioner.caption_many([voice] * 3, 16_000, workers=3))) == 3


def test_clips_are_read_only_as_results_are_taken(captioner: Captioner, voice: Voice) -> None:
    read = 0

    def clips() -> Iterator[Voice]:
        nonlocal read
        while True:
            read += 1
            yield voice

    many = captioner.caption_many(clips(), 16_000, workers=2)
    assert read == 0
    for taken in range(1, 20):
        assert next(many).index == taken - 1
        assert read <= taken + 4
    many.close()  # type: ignore[attr-defined]


def test_error_of_the_source_comes_last(captioner: Captioner, voice: Voice) -> None:
    def clips() -> Iterator[Voice]:
        yield voice
        yield voice
        raise ZeroDivisionError

    many = captioner.caption_many(clips(), 16_000, workers=4)
    assert [next(many).index, next(many).index] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(many)


class Waiting(ScriptedDrafter):
    """Encodes for as long as its call lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self.begun = threading.Semaphore(0)

    def encode(self, *arguments: Any) -> Any:
        self.begun.release()
        try:
            list(current_call().slices(LONG_S))
        except Exception as error:
            self.errors.append(error)
            raise
        return super().encode(*arguments)


def test_closing_the_iterator_cancels_the_rest(voice: Voice) -> None:
    class Empty(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert drafter.begun.acquire(timeout=10)
            return b""

    drafter = Waiting()
    voice_file = io.BytesIO()
    soundfile.write(voice_file, voice, 16_000, format="WAV")
    clips = [Empty(), *[voice_file.getvalue()] * 20]
    with Captioner(drafter) as captioner:
        many = captioner.caption_many(clips, workers=3)
        assert isinstance(next(many).error, AudioError)
        many.close()  # type: ignore[attr-defined]
        assert captioner._calls.wait(0), "they have ended"
    assert {type(error) for error in drafter.errors} == {CaptionCancelled}
    assert len(drafter.errors) <= 6


def test_time_limit_is_that_of_each_clip(voice: Voice) -> None:
    with Captioner(Waiting()) as captioner:
        clips = [voice, np.zeros(10), voice]
        results = list(captioner.caption_many(clips, 16_000, workers=1, timeout_s=0.2))
    assert [type(result.error) for result in results][::2] == [CaptionTimeout] * 2
    assert isinstance(results[1].error, AudioError)


def test_other_errors_end_the_iteration(voice: Voice) -> None:
    class Broken(ScriptedDrafter):
        def encode(self, *arguments: Any) -> Any:
            raise ModelError("broken")

    with Captioner(Broken()) as captioner, pytest.raises(ModelError):
        list(captioner.caption_many([voice] * 9, 16_000))


def test_closed_captioner_captions_no_more_clips(voice: Voice) -> None:
    captioner = Captioner(ScriptedDrafter())
    many = captioner.caption_many([voice] * 30, 16_000, workers=1)
    next(many)
    captioner.close()
    with pytest.raises(CaptionerClosed):
        list(many)
    with pytest.raises(CaptionerClosed):
        captioner.caption_many([voice], 16_000)


@pytest.mark.parametrize(
    "clips", ["one.wav", Path("one.wav"), b"RIFF", np.zeros((2, 16_000)), 5, None]
)
def test_one_clip_is_not_many(captioner: Captioner, clips: Any) -> None:
    with pytest.raises(TypeError, match="clips must be"):
        captioner.caption_many(clips, 16_000)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"workers": 0}, ConfigError),
        ({"workers": 65}, ConfigError),
        ({"workers": 2.0}, TypeError),
        ({"workers": True}, TypeError),
        ({"seed": -1}, ConfigError),
        ({"length": "endless"}, ConfigError),
        ({"profile": "ada"}, TypeError),
        ({"timeout_s": "1"}, TypeError),
        ({"lenght": "short"}, TypeError),
    ],
)
def test_bad_arguments_are_refused_at_once(
    captioner: Captioner, voice: Voice, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        captioner.caption_many([voice], 16_000, **given)
