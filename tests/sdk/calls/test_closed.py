"""Closed means closed: for every method, for callers in flight, and while it is being loaded."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.calls.call import current_call
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import CaptionerClosed
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.silent_transport import SilentTransport
from tests.doubles.waiting_drafters import LoadingDrafter

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
CLOSE_S = 6.0
"""More than the 2.5 s that closing may wait, and far less than any of the waits it ends."""
PATIENT = Settings(verifier=VerifierSettings(deadline_s=30, caption_deadline_s=30))
ENDS = {"close", "aclose"}
GIVEN: dict[str, tuple[Any, ...]] = {
    "acaption": (b"",),
    "acaption_many": ([],),
    "astream": ([], 16_000),
    "atimeline": (b"",),
    "caption": (b"",),
    "caption_many": ([],),
    "forget_user": ("ada",),
    "stream": ([], 16_000),
    "timeline": (b"",),
}
"""Arguments of methods that need any."""


def methods() -> list[str]:
    names = [name for name, _ in inspect.getmembers(Captioner, inspect.isfunction)]
    return [name for name in names if not name.startswith("_") and name not in ENDS]


def called(captioner: Captioner, name: str) -> None:
    found = getattr(captioner, name)(*GIVEN.get(name, ()))
    if inspect.iscoroutine(found):
        asyncio.run(found)


@pytest.mark.parametrize("name", [*methods(), "__enter__", "__aenter__"])
@pytest.mark.parametrize("is_loaded", [True, False])
def test_every_method_raises_after_closing(name: str, is_loaded: bool) -> None:
    captioner = Captioner(ScriptedDrafter())
    if is_loaded:
        captioner.load()
    captioner.close()
    captioner.close()
    with pytest.raises(CaptionerClosed, match="create another"):
        called(captioner, name)
    assert captioner._loaded is None


def test_utterances_of_a_stream_end_as_well(voice: Voice) -> None:
    captioner = Captioner(ScriptedDrafter())
    caption = captioner._utterance_captioner(None, CaptionOptions())
    assert caption(voice).text
    captioner.close()
    with pytest.raises(CaptionerClosed):
        caption(voice)


def test_open_streams_end_with_the_captioner() -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def silence() -> Iterator[NDArray[np.int16]]:
        waiting.set()
        go_on.wait(20)
        yield np.zeros(320, np.int16)

    captioner = Captioner(ScriptedDrafter())
    threading.Thread(target=lambda: waiting.wait(10) and captioner.close(), daemon=True).start()
    with pytest.raises(CaptionerClosed):
        for _ in captioner.stream(silence(), 16_000):
            pass
    go_on.set()


def test_open_asynchronous_streams_end_with_the_captioner() -> None:
    captioner = Captioner(ScriptedDrafter())
    waiting = threading.Event()

    async def silence() -> AsyncIterator[NDArray[np.int16]]:
        waiting.set()
        await asyncio.sleep(20)
        yield np.zeros(320, np.int16)

    async def main() -> None:
        async with asyncio.timeout(10):
            async for _ in captioner.astream(silence(), 16_000):
                pass

    threading.Thread(target=lambda: waiting.wait(10) and captioner.close(), daemon=True).start()
    with pytest.raises(CaptionerClosed):
        asyncio.run(main())


class Callers:
    """Threads that caption until the captioner is closed."""

    def __init__(self, captioner: Captioner, voice: Voice, num_threads: int) -> None:
        self.captions: list[Any] = []
        self.errors: list[Exception] = []
        self._captioner, self._voice = captioner, voice
        self._threads = [
            threading.Thread(target=self._run, args=(f"user{number % 3}",), daemon=True)
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, user: str) -> None:
        try:
            while True:
                caption = self._captioner.caption(self._voice, 16_000, user=user)
                self.captions.append(caption)
        except Exception as error:
            self.errors.append(error)

    def end(self) -> None:
        ends_s = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(ends_s - time.monotonic(), 0))
        assert not any(thread.is_alive() for thread in self._threads)
        assert {type(error) for error in self.errors} == {CaptionerClosed}
        assert len(self.errors) == len(self._threads)


@pytest.mark.parametrize("is_silent", [True, False])
def test_callers_in_flight_end_in_time(
    new_captioner: New, fake: Any, voice: Voice, is_silent: bool
) -> None:
    if is_silent:
        fake.answer = lambda block: None
    waiting = threading.Event()

    def transport() -> MemoryTransport:
        real = fake.transport()
        return SilentTransport(real, waiting=waiting) if is_silent else real

    captioner = new_captioner(verifier=transport, config=PATIENT)
    callers = Callers(captioner, voice, 12)
    while not (waiting.is_set() if is_silent else callers.captions):
        time.sleep(0.001)
    started_s = time.monotonic()
    captioner.close()
    assert time.monotonic() - started_s < CLOSE_S
    callers.end()
    assert all(caption.tokens for caption in callers.captions)


def test_long_work_has_some_time_to_finish(voice: Voice) -> None:
    class Long(ScriptedDrafter):
        seconds = 0.5

        def encode(self, *arguments: Any) -> Any:
            within.set()
            list(current_call().slices(self.seconds))
            return super().encode(*arguments)

    for seconds, is_finished in ((0.5, True), (30.0, False)):
        within = threading.Event()
        drafter = Long()
        drafter.seconds = seconds
        captioner = Captioner(drafter)
        callers = Callers(captioner, voice, 1)
        assert within.wait(10)
        captioner.close()
        callers.end()
        assert len(callers.captions) == is_finished


def test_loading_that_began_after_closing_is_undone(voice: Voice) -> None:
    drafter = LoadingDrafter()
    captioner = Captioner(drafter)
    callers = Callers(captioner, voice, 3)
    assert drafter.within.wait(10)
    closing = threading.Thread(target=captioner.close)
    closing.start()
    drafter.go_on.set()
    closing.join(10)
    callers.end()
    assert captioner._loaded is None


def test_callback_may_close_the_captioner(voice: Voice) -> None:
    captioner = Captioner(ScriptedDrafter(), on_event=lambda event: captioner.close())
    with suppress(CaptionerClosed):
        captioner.caption(voice, 16_000)
    with pytest.raises(CaptionerClosed):
        captioner.load()
