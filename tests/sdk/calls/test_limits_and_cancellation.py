"""A call ends soon after its time limit or its cancellation, whatever it waits for."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import (
    CaptionCancelled,
    CaptionerClosed,
    CaptionTimeout,
    UnreadableAudio,
)
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.lock_holder import Hold
from tests.doubles.silent_transport import SilentTransport
from tests.doubles.waiting_drafters import HeldDrafter

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
SOON_S = 2.0
"""Far more than a call takes to end, and far less than anything that it would wait for."""
LONG_S = 30.0
PATIENT = Settings(verifier=VerifierSettings(deadline_s=LONG_S, caption_deadline_s=LONG_S))


class Running:
    """A caption on another thread."""

    def __init__(self, captioner: Captioner, clip: Any, rate: int | None, **given: Any) -> None:
        self.call = Call()
        self.error: Exception | None = None
        self.caption: Any = None
        self._arguments = captioner, clip, rate, given
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        captioner, clip, rate, given = self._arguments
        try:
            user, options = given.get("user"), CaptionOptions()
            self.caption = captioner._caption(self.call, clip, rate, user, options)
        except Exception as error:
            self.error = error

    def ended(self) -> Any:
        self._thread.join(SOON_S)
        assert not self._thread.is_alive(), "the call goes on"
        return self.error

    def cancelled(self) -> Any:
        time.sleep(0.1)
        assert self._thread.is_alive()
        self.call.cancel()
        return self.ended()


@contextmanager
def soon() -> Iterator[None]:
    started_s = time.monotonic()
    yield
    assert time.monotonic() - started_s < SOON_S


def test_waiting_for_a_verdict_is_cancelled(new_captioner: New, fake: Any, voice: Voice) -> None:
    fake.answer = lambda block: None
    transport = SilentTransport(fake.transport())
    with new_captioner(verifier=lambda: transport, config=PATIENT) as captioner:
        captioner.wait_until_connected()
        transport.waiting.clear()
        running = Running(captioner, voice, 16_000)
        assert transport.waiting.wait(10)
        assert isinstance(running.cancelled(), CaptionCancelled)


def test_time_limit_gives_up_the_verifier_first(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    fake.answer = lambda block: None
    transport = SilentTransport(fake.transport())
    with new_captioner(verifier=lambda: transport, config=PATIENT) as captioner:
        captioner.wait_until_connected()
        with soon():
            caption = captioner.caption(voice, 16_000, timeout_s=1.0)
        assert caption.unverified_reason is not None
        assert caption.unverified_reason.code is ReasonCode.CALL_TIMEOUT
        assert caption.tokens
        assert captioner._pipeline().links.is_connected, "the verifier is not to blame"


def test_nothing_is_sent_without_time_left(new_captioner: New, fake: Any, voice: Voice) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        with pytest.raises(CaptionTimeout):
            captioner.caption(voice, 16_000, timeout_s=1e-9)
    assert fake.blocks == []


def test_connecting_is_waiting_no_longer(new_captioner: New, fake: Any, voice: Voice) -> None:
    config = Settings(
        verifier=VerifierSettings(
            deadline_s=LONG_S, caption_deadline_s=LONG_S, connect_timeout_s=LONG_S
        )
    )
    transport = SilentTransport(fake.transport(), connects=False)
    captioner = new_captioner(verifier=lambda: transport, config=config)
    running = Running(captioner, voice, 16_000)
    assert isinstance(running.cancelled(), CaptionCancelled)
    captioner.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there")
def test_held_ledger_is_waiting_no_longer(
    new_captioner: New, voice: Voice, tmp_path: Path, hold: Hold
) -> None:
    captioner = new_captioner(config=PATIENT)
    captioner.caption(voice, 16_000)
    hold("ledger", tmp_path / "home" / "ledger" / "ledger.sqlite3")
    running = Running(captioner, voice, 16_000)
    assert isinstance(running.cancelled(), CaptionCancelled)
    captioner.close()


def test_turn_of_a_user_is_waiting_no_longer(voice: Voice) -> None:
    drafter = HeldDrafter(profiles=True)
    captioner = Captioner(drafter, user="ada")
    first = Running(captioner, voice, 16_000)
    assert drafter.within.wait(10)
    second = Running(captioner, voice, 16_000)
    assert isinstance(second.cancelled(), CaptionCancelled)
    with soon(), pytest.raises(CaptionTimeout):
        captioner.caption(voice, 16_000, timeout_s=0.1)
    drafter.go_on.set()
    assert first.ended() is None
    captioner.close()


class Endless(io.RawIOBase):
    """A file object whose ``read`` never returns."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def read(self, size: int = -1) -> bytes:
        self.go_on.wait(LONG_S)
        return b""


def test_file_object_is_read_no_longer() -> None:
    clip = Endless()
    with Captioner(ScriptedDrafter()) as captioner:
        assert isinstance(Running(captioner, clip, None).cancelled(), CaptionCancelled)
        with soon(), pytest.raises(CaptionTimeout):
            captioner.caption(clip, timeout_s=0.1)
    clip.go_on.set()


def test_error_of_a_file_object_is_its_own() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise TimeoutError

    with (
        Captioner(ScriptedDrafter()) as captioner,
        pytest.raises(UnreadableAudio, match="TimeoutError"),
    ):
        captioner.caption(Broken())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipe_is_read_no_longer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, b"RIFF")
    with Captioner(ScriptedDrafter()) as captioner:
        assert isinstance(Running(captioner, pipe, None).cancelled(), CaptionCancelled)
        os.write(writer, b"RIFF")
        with soon(), pytest.raises(CaptionTimeout):
            captioner.caption(pipe, timeout_s=0.1)
    os.close(writer)


def test_long_recording_ends_between_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    from ugsd_sdk.speech import windows

    encoded: list[int] = []
    call = Call()

    def encode(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        encoded.append(len(frames))
        call.cancel()
        return np.zeros((len(frames), 4), np.float32)

    speech = [np.zeros(36_000, np.float32)] * 12
    with call.running(), pytest.raises(CaptionCancelled):
        windows.embed_windows(encode, speech)
    assert len(encoded) == 1


@pytest.mark.parametrize("timeout_s", [1e-6, 1e-9])
def test_passed_limit_costs_no_work(voice: Voice, timeout_s: float) -> None:
    with Captioner(ScriptedDrafter()) as captioner, pytest.raises(CaptionTimeout):
        captioner.caption(voice, 16_000, timeout_s=timeout_s)


def test_generous_limit_changes_nothing(voice: Voice) -> None:
    with Captioner(ScriptedDrafter()) as captioner:
        caption = captioner.caption(voice, 16_000)
        limited = captioner.caption(voice, 16_000, timeout_s=LONG_S)
    assert (limited.text, limited.tokens) == (caption.text, caption.tokens)


def test_call_that_was_ended_before_it_began(voice: Voice) -> None:
    call = Call()
    call.cancel(CaptionerClosed)
    with Captioner(ScriptedDrafter()) as captioner, pytest.raises(CaptionerClosed):
        captioner._caption(call, voice, 16_000, None, CaptionOptions())
