"""Coroutines get the same captions, on threads of the captioner, cancelled with their tasks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.calls.call_threads import CallThreads
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

from tests.doubles.waiting_drafters import HeldDrafter, MeetingDrafter

Voice = NDArray[np.float32]
SOON_S = 2.0


async def is_within(drafter: HeldDrafter) -> None:
    assert await asyncio.to_thread(drafter.within.wait, 10)


def test_coroutine_returns_the_same_caption(voice: Voice) -> None:
    async def main() -> Any:
        async with Captioner(ScriptedDrafter()) as captioner:
            return await captioner.acaption(voice, 16_000, seed=4)

    with Captioner(ScriptedDrafter()) as captioner:
        expected = captioner.caption(voice, 16_000, seed=4)
    caption = asyncio.run(main())
    assert (caption.text, caption.tokens) == (expected.text, expected.tokens)


def test_errors_are_those_of_the_plain_call(voice: Voice) -> None:
    async def main() -> None:
        captioner = Captioner(ScriptedDrafter())
        with pytest.raises(AudioError):
            await captioner.acaption(b"no audio")
        with pytest.raises(CaptionTimeout):
            await captioner.acaption(voice, 16_000, timeout_s=1e-9)
        with pytest.raises(ConfigError, match="length"):
            await captioner.acaption(voice, 16_000, length="endless")
        with pytest.raises(TypeError, match="lenght"):
            await captioner.acaption(voice, 16_000, lenght="short")  # type: ignore[call-arg]
        await captioner.aclose()
        with pytest.raises(CaptionerClosed):
            await captioner.acaption(voice, 16_000)
        with pytest.raises(CaptionerClosed):
            await captioner.aload()

    asyncio.run(main())


def test_timeout_of_asyncio_cancels_the_caption(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def main() -> float:
        captioner = Captioner(drafter)
        started_s = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await captioner.acaption(voice, 16_000)
        assert [type(error) for error in drafter.errors] == [CaptionCancelled], "before its task"
        return time.monotonic() - started_s

    assert asyncio.run(main()) < SOON_S


def test_task_group_cancels_the_other_captions(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def fail() -> None:
        await is_within(drafter)
        raise ZeroDivisionError

    async def main() -> None:
        captioner = Captioner(drafter)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(captioner.acaption(voice, 16_000))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(main())
    assert raised.group_contains(ZeroDivisionError)
    assert {type(error) for error in drafter.errors} == {CaptionCancelled}


def test_cancelling_twice_still_ends_in_order(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def main() -> None:
        captioner = Captioner(drafter)
        task = asyncio.create_task(captioner.acaption(voice, 16_000))
        await is_within(drafter)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(drafter.errors) == 1

    asyncio.run(main())


def test_waiting_captions_are_cancelled_unbegun(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def main() -> None:
        captioner = Captioner(drafter)
        captioner._threads = CallThreads(1, "one")
        first = asyncio.create_task(captioner.acaption(voice, 16_000))
        await is_within(drafter)
        second = asyncio.create_task(captioner.acaption(voice, 16_000))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        drafter.go_on.set()
        assert (await first).text

    asyncio.run(main())
    assert drafter.errors == []


def test_captions_run_side_by_side(voice: Voice) -> None:
    async def main() -> list[Any]:
        async with Captioner(MeetingDrafter(4)) as captioner:
            return await asyncio.gather(*(captioner.acaption(voice, 16_000) for _ in range(4)))

    assert len({caption.text for caption in asyncio.run(main())}) == 1


def test_one_captioner_serves_many_loops(voice: Voice) -> None:
    captioner = Captioner(ScriptedDrafter())
    texts: list[str] = []

    def run() -> None:
        for _ in range(3):
            caption = asyncio.run(captioner.acaption(voice, 16_000))  # type: ignore[var-annotated]
            texts.append(caption.text)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    captioner.close()
    assert len(texts) == 9
    assert len(set(texts)) == 1


def test_closed_loop_leaves_no_error(voice: Voice, capsys: pytest.CaptureFixture[str]) -> None:
    drafter = HeldDrafter()
    captioner = Captioner(drafter)
    loop = asyncio.new_event_loop()
    task = loop.create_task(captioner.acaption(voice, 16_000))
    loop.run_until_complete(is_within(drafter))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    drafter.go_on.set()
    assert captioner._calls.wait(10)
    captioner.close()
    assert capsys.readouterr().err == ""


def test_closing_ends_captions_of_coroutines(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def main() -> float:
        captioner = Captioner(drafter)
        tasks = [asyncio.create_task(captioner.acaption(voice, 16_000)) for _ in range(20)]
        await is_within(drafter)
        started_s = time.monotonic()
        await captioner.aclose()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in found} == {CaptionerClosed}
        return time.monotonic() - started_s

    assert asyncio.run(main()) < 4.0


def test_plain_captions_load_no_coroutines() -> None:
    code = """
import sys, numpy
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
with Captioner(ScriptedDrafter()) as captioner:
    rate = 16000
    captioner.caption(numpy.ones(rate), rate)
    list(captioner.caption_many([numpy.ones(rate)], rate))
print([name for name in sys.modules if name.endswith(("awaiting", "futures.thread"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- many clips


async def numbered(clips: list[Any], seen: list[int] | None = None) -> AsyncIterator[Any]:
    for index, clip in enumerate(clips):
        if seen is not None:
            seen.append(index)
        await asyncio.sleep(0)
        yield clip


@pytest.mark.parametrize("source", [list, numbered])
def test_many_clips_come_in_order(voice: Voice, source: Callable[[list[Any]], Any]) -> None:
    clips = [voice, b"no audio", voice]

    async def main() -> list[Any]:
        progress: list[Any] = []
        async with Captioner(ScriptedDrafter()) as captioner:
            many = captioner.acaption_many(
                source(clips), 16_000, on_progress=lambda *counts: progress.append(counts)
            )
            found = [result async for result in many]
        total = 3 if source is list else None
        assert progress == [(1, total), (2, total), (3, total)]
        return found

    found = asyncio.run(main())
    assert [result.index for result in found] == [0, 1, 2]
    assert [result.error is None for result in found] == [True, False, True]


def test_result_does_not_wait_for_the_next_clip(voice: Voice) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def clips() -> AsyncIterator[Voice]:
            yield voice
            await more.wait()
            yield voice

        async with Captioner(ScriptedDrafter()) as captioner:
            many = captioner.acaption_many(clips(), 16_000)
            async with asyncio.timeout(10):
                assert (await anext(many)).index == 0
            more.set()
            assert [result.index async for result in many] == [1]

    asyncio.run(main())


def test_clips_are_read_as_results_are_taken(voice: Voice) -> None:
    async def main() -> None:
        seen: list[int] = []
        async with Captioner(ScriptedDrafter()) as captioner:
            many = captioner.acaption_many(numbered([voice] * 50, seen), 16_000, workers=2)
            await anext(many)
            await asyncio.sleep(0.2)
            assert len(seen) <= 1 + 2 * 2
            await many.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_error_of_the_source_comes_after_its_clips(voice: Voice) -> None:
    async def clips() -> AsyncIterator[Voice]:
        yield voice
        raise ZeroDivisionError

    async def main() -> None:
        async with Captioner(ScriptedDrafter()) as captioner:
            many = captioner.acaption_many(clips(), 16_000)
            assert (await anext(many)).caption is not None
            with pytest.raises(ZeroDivisionError):
                await anext(many)

    asyncio.run(main())


def test_cancelling_many_ends_all_calls(voice: Voice) -> None:
    drafter = HeldDrafter()

    async def main() -> None:
        captioner = Captioner(drafter)

        async def take() -> None:
            async for _ in captioner.acaption_many([voice] * 9, 16_000, workers=3):
                pass

        task = asyncio.create_task(take())
        await is_within(drafter)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert captioner._calls.wait(0)

    asyncio.run(main())
    assert {type(error) for error in drafter.errors} <= {CaptionCancelled}


def test_fault_of_the_drafter_ends_many(voice: Voice) -> None:
    class Broken(ScriptedDrafter):
        def encode(self, *arguments: Any) -> Any:
            raise ModelError("broken")

    async def main() -> None:
        async with Captioner(Broken()) as captioner:
            with pytest.raises(ModelError):
                await anext(captioner.acaption_many([voice] * 5, 16_000))

    asyncio.run(main())
