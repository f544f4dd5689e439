"""Whatever an argument is, only errors of this product come out, and they name the argument."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ugsd_sdk import Captioner, ConfigError, Profile, Settings, UgsdError
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import WrongType

Call = Callable[..., object]

VALUES = [None, -1, 0, 5, float("nan"), True, b"x", "", "a\0b", [1], {"a": 1}, object()]
SILENCE = np.zeros(4_000, np.float32)
CAPTION = ("user", "profile", "length", "seed", "timeout_s")
STREAM = (*CAPTION[:4], "drafts", "end_pause_s", "max_segment_s")
TIMELINE = (*CAPTION, "channels", "on_progress", "checkpoint")


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioner]:
    with Captioner(ScriptedDrafter()) as one:
        yield one


async def _all(items: AsyncIterator[object]) -> list[object]:
    return [item async for item in items]


def awaited(method: Call) -> Call:
    async def call(*arguments: Any, **keywords: Any) -> object:
        return await method(*arguments, **keywords)  # type: ignore[misc]

    return lambda *arguments, **keywords: asyncio.run(call(*arguments, **keywords))


def calls_of(captioner: Captioner) -> dict[str, Call]:
    """Return the methods that caption, each of which ends before it returns."""
    return {
        "caption": captioner.caption,
        "acaption": awaited(captioner.acaption),
        "caption_many": lambda clip, *rest, **given: list(
            captioner.caption_many([clip], *rest, **given)
        ),
        "acaption_many": lambda clip, *rest, **given: asyncio.run(
            _all(captioner.acaption_many([clip], *rest, **given))
        ),
        "stream": lambda clip, *rest, **given: list(captioner.stream(iter([clip]), *rest, **given)),
        "timeline": captioner.timeline,
        "atimeline": awaited(captioner.atimeline),
    }


def keywords_of(name: str) -> tuple[str, ...]:
    many = ("on_progress", "workers") if "many" in name else ()
    return {"stream": STREAM, "timeline": TIMELINE, "atimeline": TIMELINE}.get(
        name, (*CAPTION, *many)
    )


def try_all(call: Call) -> None:
    for value in VALUES:
        try:
            call(value)
        except UgsdError as error:
            assert str(error)  # noqa: PT017  # most values are refused, and some are allowed


@pytest.mark.parametrize("name", ["caption", "acaption", "caption_many", "stream", "timeline"])
def test_captions_refuse_arguments_by_typed_errors(
    name: str, captioner: Captioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = calls_of(captioner)[name]
    try_all(lambda value: call(SILENCE, value))
    try_all(lambda value: call(value, 16_000))
    for keyword in keywords_of(name):
        try_all(lambda value, keyword=keyword: call(SILENCE, 16_000, **{keyword: value}))


def test_other_methods_refuse_by_typed_errors(
    captioner: Captioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (
        captioner.profile_of,
        captioner.forget_user,
        captioner.caption_many,
        captioner.wait_until_connected,
        lambda value: captioner.wait_until_connected(1, user=value),
        Profile.load,
        Profile().save,
        Settings.load,
        Settings().for_user,
    ):
        try_all(call)
    for name in Settings.model_fields:
        try_all(lambda value, name=name: Settings(**{name: value}))


@pytest.mark.parametrize(
    "name", ["drafter", "verifier", "verifier_root", "verifier_key", "user", "home", "config",
             "detector", "meter", "on_event"],
)  # fmt: skip
def test_captioner_refuses_arguments_by_typed_errors(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def caption(value: object) -> None:
        given = {"drafter": ScriptedDrafter(), name: value}
        with Captioner(**given) as captioner:  # type: ignore[arg-type]
            captioner.caption(SILENCE, 16_000)

    try_all(caption)


@pytest.mark.parametrize("name", ["caption", "acaption", "caption_many", "acaption_many", "stream",
                                  "timeline", "atimeline"])  # fmt: skip
def test_wrong_keywords_and_values_are_named(name: str, captioner: Captioner) -> None:
    call = calls_of(captioner)[name]
    with pytest.raises(WrongType, match="unexpected keyword argument 'lenght': do you mean 'leng"):
        call(SILENCE, 16_000, lenght="short")
    with pytest.raises(WrongType, match="a user's name must be text, not int"):
        call(SILENCE, 16_000, user=5)
    if name != "stream":
        for timeout_s in (0, -1):
            with pytest.raises(ConfigError, match="timeout_s must be above 0"):
                call(SILENCE, 16_000, timeout_s=timeout_s)


def test_wrong_arguments_are_refused_at_the_call(captioner: Captioner) -> None:
    for wrong in ({"drfats": True}, {"user": b"ada"}):
        for method in (captioner.stream, captioner.astream):
            with pytest.raises(UgsdError):
                method(iter([SILENCE]), 16_000, **wrong)  # type: ignore[arg-type]
        for method in (captioner.caption_many, captioner.acaption_many):
            with pytest.raises(UgsdError):
                method([SILENCE], 16_000, **wrong)  # type: ignore[arg-type]
