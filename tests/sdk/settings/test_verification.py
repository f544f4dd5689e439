"""What a block is, and how far a verifier goes on: what does not fit the drafter is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import BlockUnit, Continuation

from tests.doubles.slot_drafter import SlotDrafter, slot_table


def test_file_and_environment_set_unit_and_continuation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ugsd.toml"
    file.write_text('block_unit = "tokens"\n')
    monkeypatch.setenv("UGSD_CONTINUATION", "clause")
    settings = Settings.load(file)
    assert (settings.block_unit, settings.continuation) == (BlockUnit.TOKENS, Continuation.CLAUSE)


@pytest.mark.parametrize("name", ["block_unit", "continuation"])
def test_unknown_unit_or_continuation_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "ugsd.toml"
    file.write_text(f'{name} = "words"\n')
    with pytest.raises(ConfigError, match=f"key {name}: "):
        Settings.load(file)


@pytest.mark.parametrize("block_unit", BlockUnit)
def test_continuation_to_caption_is_refused_at_loading(block_unit: BlockUnit) -> None:
    settings = Settings(block_unit=block_unit, continuation=Continuation.CAPTION)
    with pytest.raises(ConfigError, match=r"continuation = caption.*set clause or nothing"):
        Captioner(SlotDrafter(), config=settings).load()
    with Captioner(ScriptedDrafter(), config=settings):
        pass  # it has no slots


@pytest.mark.parametrize(
    ("block_unit", "has_slots", "slot", "continue_to"),
    [
        (BlockUnit.SLOT, True, AskedSlot.EMOTION, ContinueTo.NOTHING),
        (BlockUnit.TOKENS, True, AskedSlot.ANY_TOKEN, ContinueTo.CLAUSE),
        (BlockUnit.SLOT, False, AskedSlot.ANY_TOKEN, ContinueTo.CAPTION),
        (BlockUnit.TOKENS, False, AskedSlot.ANY_TOKEN, ContinueTo.CAPTION),
    ],
)
def test_default_continuation_follows_from_question(
    block_unit: BlockUnit, has_slots: bool, slot: AskedSlot, continue_to: ContinueTo
) -> None:
    rules = BlockRules(slot_table() if has_slots else None, block_unit=block_unit)
    assert (rules.slot, rules.continue_to) == (slot, continue_to)


@pytest.mark.parametrize(
    ("has_slots", "continuation"),
    [
        (False, Continuation.NOTHING),
        (True, Continuation.CLAUSE),
        (False, Continuation.CAPTION),
    ],
)
def test_continuation_that_was_set_is_asked_for(
    has_slots: bool, continuation: Continuation
) -> None:
    table = slot_table() if has_slots else None
    rules = BlockRules(table, block_unit=BlockUnit.TOKENS, continuation=continuation)
    assert rules.continue_to == ContinueTo[continuation.name]
