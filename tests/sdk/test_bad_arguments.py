"""Public calls refuse bad arguments with errors of one base, whatever is passed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import ugsd
import ugsd_privacy
import ugsd_sdk
import ugsd_server
from ugsd_sdk import Caption, Captioner, Profile, Settings, Timeline, UgsdError
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import WrongType, WrongValue
from ugsd_sdk.speech.reader import WholeRecording

BAD: tuple[object, ...] = (
    *(0, -1, 3.5, float("nan"), float("inf"), True, 10**400, 1j),
    *("", "nope", "a\0b", "x" * 5000, "\udcff", b"", b"\0" * 40),
    *([], {}, (), [object()], {"a": 1}, [[1], [2, 3]]),
    *(object(), np.zeros(3), np.zeros((2, 0))),
)
SAMPLES = np.zeros(1_600, np.float32)
CAPTION = ("user", "profile", "length", "seed", "timeout_s")
STREAM = ("user", "profile", "length", "seed", "drafts", "end_pause_s", "max_segment_s", "other")
MANY = ("user", "profile", "length", "seed", "timeout_s", "workers", "on_progress")
TIMELINE = ("channels", *CAPTION, "on_progress", "checkpoint")
CALLS = {
    "caption": (SAMPLES, CAPTION),
    "acaption": (SAMPLES, CAPTION),
    "caption_many": ([SAMPLES], MANY),
    "acaption_many": ([SAMPLES], MANY),
    "stream": ([SAMPLES], STREAM),
    "astream": ([SAMPLES], STREAM),
    "timeline": (SAMPLES, TIMELINE),
    "atimeline": (SAMPLES, TIMELINE),
}


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioner]:
    with Captioner(ScriptedDrafter()) as captioner:
        yield captioner


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def _last(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


def attempt(call: Callable[..., Any], *given: object, **named: object) -> None:
    """Call it, and read what it returns to its end. Any error but one of ours is a failure."""
    try:
        answer = call(*given, **named)
        if inspect.iscoroutine(answer):
            asyncio.run(answer)
        elif isinstance(answer, AsyncIterator):
            asyncio.run(_last(answer))
        elif isinstance(answer, Iterator):
            list(answer)
    except UgsdError:
        pass
    except Exception as error:
        pytest.fail(f"{call} with {given} {named} raised {error!r}"[:500])


@pytest.mark.parametrize("name", CALLS)
def test_calls_raise_errors_of_one_base(name: str, captioner: Captioner) -> None:
    usable, keywords = CALLS[name]
    call = getattr(captioner, name)
    for bad in BAD:
        attempt(call, bad)
        attempt(call, usable, bad)
        for keyword in keywords:
            attempt(call, usable, 16_000, **{keyword: bad})


def test_constructors_raise_errors_of_one_base() -> None:
    for bad in BAD:
        for name in list(inspect.signature(Captioner.__init__).parameters)[1:]:
            given = {"drafter": ScriptedDrafter(), "detector": WholeRecording()} | {name: bad}
            attempt(lambda given=given: Captioner(**given).load())
        for name in Settings.model_fields:
            attempt(Settings, **{name: bad})


def test_other_methods_raise_errors_of_one_base(captioner: Captioner) -> None:
    timeline = captioner.timeline(np.zeros(16_000, np.float32), 16_000)
    methods: tuple[Callable[..., Any], ...] = (
        *(captioner.profile_of, captioner.forget_user, Settings.load, Settings().for_user),
        *(Profile.load, Profile().save, Profile().is_enrolled),
        *(timeline.to_text, timeline.write, Timeline.from_json, Caption.from_json),
    )
    for bad in BAD:
        for method in methods:
            attempt(method, bad)


def test_wrong_types_and_values_are_builtin_too() -> None:
    with pytest.raises(TypeError, match="a user's name must be text, not int"):
        Settings().for_user(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not the JSON of a caption") as caught:
        Caption.from_json("{}")
    assert isinstance(caught.value, WrongValue)
    with pytest.raises(WrongType, match="on_progress must be a function, not int"):
        Captioner().caption_many([], on_progress=3)  # type: ignore[arg-type]


def errors_in(module: ModuleType) -> Iterator[type]:
    """Yield the exceptions that the module defines."""
    for one in vars(module).values():
        is_error = inspect.isclass(one) and issubclass(one, Exception)
        if is_error and one.__module__ == module.__name__:
            yield one


def test_every_exception_has_one_base() -> None:
    found: set[type] = set(errors_in(import_module("ugsd_lab.errors")))
    for package in (ugsd_privacy, ugsd_sdk, ugsd_server):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                found.update(errors_in(import_module(module.name)))
    others = {one.__name__ for one in found if not issubclass(one, ugsd.UgsdError)}
    assert others == {"StandardOutputFailed", "_Closing"}, "these two reach no caller"
    assert len(found) > 50
