"""How a verifier is asked: settings that do not fit the drafter are refused when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.questions import Questions
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.asking import Asking, Continuation
from ugsd_sdk.settings.config import Settings

from tests.doubles.slot_drafter import SlotDrafter, slot_table


def test_file_and_environment_say_how_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ugsd.toml"
    file.write_text('asking = "tokens"\n')
    monkeypatch.setenv("UGSD_CONTINUATION", "clause")
    settings = Settings.load(file)
    assert (settings.asking, settings.continuation) == (Asking.TOKENS, Continuation.CLAUSE)


@pytest.mark.parametrize("name", ["asking", "continuation"])
def test_unknown_way_to_ask_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "ugsd.toml"
    file.write_text(f'{name} = "words"\n')
    with pytest.raises(ConfigError, match=f"key {name}: "):
        Settings.load(file)


@pytest.mark.parametrize("asking", Asking)
def test_continuation_to_caption_is_refused_at_loading(asking: Asking) -> None:
    settings = Settings(asking=asking, continuation=Continuation.CAPTION)
    with pytest.raises(ConfigError, match=r"continuation = caption.*set clause or nothing"):
        Captioner(SlotDrafter(), config=settings).load()
    with Captioner(ScriptedDrafter(), config=settings):
        pass  # it has no slots


@pytest.mark.parametrize(
    ("asking", "has_slots", "slot", "continue_to"),
    [
        (Asking.SLOTS, True, AskedSlot.EMOTION, ContinueTo.NOTHING),
        (Asking.TOKENS, True, AskedSlot.CAPTION, ContinueTo.CLAUSE),
        (Asking.SLOTS, False, AskedSlot.CAPTION, ContinueTo.CAPTION),
        (Asking.TOKENS, False, AskedSlot.CAPTION, ContinueTo.CAPTION),
    ],
)
def test_default_continuation_follows_from_question(
    asking: Asking, has_slots: bool, slot: AskedSlot, continue_to: ContinueTo
) -> None:
    questions = Questions(slot_table() if has_slots else None, asking=asking)
    assert (questions.slot, questions.continue_to) == (slot, continue_to)


@pytest.mark.parametrize("continuation", Continuation)
def test_continuation_that_was_set_is_asked_for(continuation: Continuation) -> None:
    questions = Questions(None, continuation=continuation)
    assert questions.continue_to == ContinueTo[continuation.name]
