"""People who are not named: what each choice sends, whose budget it charges, and what it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of
from tests.doubles.speech import recorded_clips

New = Callable[..., Captioner]
CLIPS = recorded_clips()
FROM_SECOND_CLIP = {"min_enrolment": 1, "min_enrolment_s": 0.0}


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """A drafter that uses speaker profiles; its captions have five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


@pytest.fixture
def used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], int]:
    """Return how many blocks were charged to a user this day."""

    def blocks(user: str) -> int:
        at = ["--home", str(tmp_path / "home")]
        assert main(["budget", "show", "--json", "--user", user, *at]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        (row,) = (row for row in rows if row["cap"] == "blocks_per_day")
        return int(row["used"])

    return blocks


def voice_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "home" / "habits").glob("*"))


def test_visitor_with_a_profile_sends_after_enrolment(
    new_captioner: New, tmp_path: Path, used: Callable[[str], int]
) -> None:
    with new_captioner() as captioner:
        visitors = [Profile(), Profile()]
        found = [
            [captioner.caption(clip, 16_000, profile=visitor) for clip in CLIPS[:4]]
            for visitor in visitors
        ]
    for captions in found:
        reasons = [why_of(caption.unverified_reason) for caption in captions]
        assert reasons == ["not_enrolled"] * 3 + [None]
        assert captions[3].usage.num_disclosed_states > 0
    assert voice_files(tmp_path) == []
    assert used("default") == 2 * 5


def test_users_default_is_for_people_not_named(
    new_captioner: New, fake: Any, tmp_path: Path
) -> None:
    settings = Settings(users={"default": {"min_enrolment": 0}})
    with new_captioner(config=settings) as captioner:
        unnamed = captioner.caption(CLIPS[0], 16_000)
        named = captioner.caption(CLIPS[0], 16_000, user="ada")
    assert unnamed.unverified_reason is None
    assert unnamed.usage.num_disclosed_states > 0
    assert why_of(named.unverified_reason) == "not_enrolled"
    assert voice_files(tmp_path), "the named user's, as a check of where profiles are stored"
    assert len(fake.blocks) == 5


def test_visitor_may_send_from_the_second_clip(new_captioner: New) -> None:
    settings = Settings(users={"default": FROM_SECOND_CLIP})
    visitor = Profile()
    with new_captioner(config=settings) as captioner:
        captions = [captioner.caption(clip, 16_000, profile=visitor) for clip in CLIPS[:2]]
        alone = captioner.caption(CLIPS[2], 16_000)
    reasons = [why_of(caption.unverified_reason) for caption in (*captions, alone)]
    assert reasons == ["not_enrolled", None, "no_profile"]


def test_visitor_with_a_name_has_a_budget(
    new_captioner: New, tmp_path: Path, used: Callable[[str], int]
) -> None:
    settings = Settings(limits=BudgetLimits(blocks_per_day=7), **FROM_SECOND_CLIP)
    with new_captioner(config=settings) as captioner:
        for name in ("visitor-1", "visitor-2"):
            visitor = Profile()
            captions = [
                captioner.caption(clip, 16_000, user=name, profile=visitor) for clip in CLIPS[:3]
            ]
            assert [caption.usage.num_blocks for caption in captions] == [0, 5, 2]
            captioner.forget_user(name)
    assert [used(name) for name in ("visitor-1", "visitor-2", "default")] == [7, 7, 0]
    assert voice_files(tmp_path) == []


def test_unnamed_caption_leaves_nothing_of_the_voice(new_captioner: New, tmp_path: Path) -> None:
    with new_captioner() as captioner:
        captions = [captioner.caption(clip, 16_000) for clip in CLIPS[:4]]
        again = captioner.caption(CLIPS[0], 16_000)
    assert {why_of(caption.unverified_reason) for caption in captions} == {"no_profile"}
    assert again.text == captions[0].text
    assert {caption.usage.num_frames for caption in captions} == {0}
    assert voice_files(tmp_path) == []
