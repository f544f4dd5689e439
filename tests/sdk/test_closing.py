"""Closing and connecting return in time, whatever other threads, children and peers do."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import CaptionerClosed, TransportError, VerifierTimeout
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.users.models import Models

from tests.doubles.reasons import why_of
from tests.doubles.silent_transport import SilentTransport
from tests.doubles.waiting_drafters import LoadingDrafter

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
CLOSE_S = 3.0
PATIENT = Settings(verifier=VerifierSettings(deadline_s=30, caption_deadline_s=30))


def closes_in_time(captioner: Captioner) -> None:
    started_s = time.monotonic()
    captioner.close()
    assert time.monotonic() - started_s < CLOSE_S


def test_close_ends_waits_of_other_threads(new_captioner: New, fake: Any, voice: Voice) -> None:
    fake.answer = lambda block: None
    transport = SilentTransport(fake.transport())
    captioner = new_captioner(verifier=lambda: transport, config=PATIENT)
    captioner.wait_until_connected(10)
    transport.waiting.clear()
    captions: list[Any] = []
    captioning = threading.Thread(
        target=lambda: captions.append(captioner.caption(voice, 16_000)), daemon=True
    )
    captioning.start()
    assert transport.waiting.wait(10)
    closes_in_time(captioner)
    captioning.join(5)
    assert [why_of(caption.unverified_reason) for caption in captions] == ["verifier_unreachable"]


def test_close_ends_a_waiting_connect(new_captioner: New, fake: Any) -> None:
    transport = SilentTransport(fake.transport(), connects=False)
    captioner = new_captioner(verifier=lambda: transport, config=PATIENT)
    failures: list[Exception] = []

    def connect() -> None:
        try:
            captioner.wait_until_connected(30)
        except TransportError as error:
            failures.append(error)

    connecting = threading.Thread(target=connect, daemon=True)
    connecting.start()
    assert transport.waiting.wait(10)
    closes_in_time(captioner)
    connecting.join(5)
    assert len(failures) == 1


def test_hanging_drafter_does_not_block_close(new_captioner: New, voice: Voice) -> None:
    within, go_on = threading.Event(), threading.Event()

    class Hanging(ScriptedDrafter):
        def encode(self, *arguments: Any) -> Any:
            within.set()
            go_on.wait(20)
            return super().encode(*arguments)

    captioner = Captioner(Hanging())
    errors: list[CaptionerClosed] = []

    def caption() -> None:
        try:
            captioner.caption(voice, 16_000)
        except CaptionerClosed as error:
            errors.append(error)

    captioning = threading.Thread(target=caption, daemon=True)
    captioning.start()
    assert within.wait(10)
    closes_in_time(captioner)
    go_on.set()
    captioning.join(10)
    assert len(errors) == 1


def test_connect_timeout_includes_other_threads(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    fake.answer = lambda block: None
    transport = SilentTransport(fake.transport())
    one = PATIENT.verifier.model_copy(update={"connections_per_user": 1})
    captioner = new_captioner(verifier=lambda: transport, config=Settings(verifier=one))
    captioner.wait_until_connected(10)
    transport.waiting.clear()
    captioning = threading.Thread(target=lambda: captioner.caption(voice, 16_000), daemon=True)
    captioning.start()
    assert transport.waiting.wait(10)
    started_s = time.monotonic()
    with pytest.raises(VerifierTimeout, match="other captions of this user"):
        captioner.wait_until_connected(0.2)
    assert time.monotonic() - started_s < 1.9
    captioner.close()
    captioning.join(10)


def test_close_during_loading_leaves_nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    drafter = LoadingDrafter()
    captioner = Captioner(drafter)
    monkeypatch.setattr(Models, "close", lambda self: closed.append("models"))
    loading = threading.Thread(target=captioner.load, daemon=True)
    loading.start()
    assert drafter.within.wait(10)
    begun, close = threading.Event(), captioner._close

    def closes() -> None:
        begun.set()
        close()

    monkeypatch.setattr(captioner, "_close", closes)
    closing = threading.Thread(target=captioner.close, daemon=True)
    closing.start()
    assert begun.wait(10)
    drafter.go_on.set()
    loading.join(10)
    closing.join(10)
    assert captioner._loaded is None
    assert len(closed) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there")
def test_stopped_child_is_ended_in_time(tmp_path: Path) -> None:
    verifier = EmbeddedVerifier(tmp_path / "home")
    verifier.start(60)
    process = verifier._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    started_s = time.monotonic()
    verifier.close()
    assert time.monotonic() - started_s < CLOSE_S
    assert process.returncode == -signal.SIGKILL


def test_grandchild_with_the_pipe_blocks_no_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, time\n"
        'print(\'{"url": "ws://127.0.0.1:9", "public_key": "k"}\', flush=True)\n'
        "if not os.fork(): time.sleep(8)\n"
    )
    monkeypatch.setattr(EmbeddedVerifier, "_command", lambda self: [sys.executable, "-c", code])
    verifier = EmbeddedVerifier(tmp_path / "home")
    verifier.start(20)
    started_s = time.monotonic()
    verifier.close()
    assert time.monotonic() - started_s < CLOSE_S
