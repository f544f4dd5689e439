"""No state of a voice leaves before the device knows the voice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.home import Home
from ugsd_sdk.profile.speaker_profile import ProfileFile, delete_profile, num_enrolled_clips
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
STRANGE = "not_enrolled"


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """One that lets the device get acquainted; it drafts captions of five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return tmp_path / "home" / "habits"


def captions(captioner: Captioner, voice: Voice, count: int) -> list[Caption]:
    with captioner:
        return [captioner.caption(voice, 16_000) for _ in range(count)]


def degraded(captioner: Captioner, voice: Voice, count: int) -> list[str | None]:
    return [why_of(caption.unverified_reason) for caption in captions(captioner, voice, count)]


def test_the_first_three_clips_of_a_voice_stay_here_and_the_fourth_may_leave(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    *strange, known = captions(new_captioner(), voice, 4)
    assert [why_of(caption.unverified_reason) for caption in strange] == [STRANGE] * 3
    for caption in strange:
        cost = caption.usage
        assert (
            cost.num_blocks == cost.num_frames == cost.bytes_sent == cost.num_disclosed_states == 0
        )
        assert caption.receipts == ()
    assert known.unverified_reason is None
    assert known.usage.num_disclosed_states > 0
    assert {block.caption for block in fake.blocks} == {0}, "the first that the verifier heard of"


def test_a_strange_voices_caption_is_the_drafters(
    new_captioner: New, drafter: ScriptedDrafter, voice: Voice
) -> None:
    alone = captions(Captioner(drafter), voice, 1)[0]
    assert alone.unverified_reason is None, "without a verifier nothing was to be verified"
    assert captions(new_captioner(), voice, 1)[0].text == alone.text


def test_tokens_without_a_state_leave_also_of_a_strange_voice(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    (caption,) = captions(new_captioner(policy=AlwaysEscalate(Disclosure.TOKENS)), voice, 1)
    assert caption.unverified_reason is None
    assert len(fake.blocks) == caption.usage.num_blocks > 0
    assert not any(block.state_positions for block in fake.blocks)


@pytest.mark.parametrize("min_enrolment", [0, 1, 5])
def test_how_many_clips_it_takes_is_set(
    new_captioner: New, voice: Voice, min_enrolment: int
) -> None:
    captioner = new_captioner(config=Settings(min_enrolment=min_enrolment))
    expected = [STRANGE] * min_enrolment + [None]
    assert degraded(captioner, voice, min_enrolment + 1) == expected


def test_a_habit_outlives_its_captioner_and_grows(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    for count in (1, 2, 3):
        assert degraded(new_captioner(), voice, 1) == [STRANGE]
        assert num_enrolled_clips(profiles, "default") == count
    assert degraded(new_captioner(), voice, 1) == [None]
    assert num_enrolled_clips(profiles, "default") == 4


def test_another_user_is_another_voice(new_captioner: New, voice: Voice, profiles: Path) -> None:
    assert degraded(new_captioner(user="ada"), voice, 4)[-1] is None
    assert degraded(new_captioner(user="bob"), voice, 1) == [STRANGE]
    assert [num_enrolled_clips(profiles, user) for user in ("ada", "bob", "default")] == [4, 1, 0]


def test_a_forgotten_voice_is_strange_again(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    assert degraded(new_captioner(), voice, 4)[-1] is None
    assert delete_profile(profiles, "default")
    assert degraded(new_captioner(), voice, 1) == [STRANGE]


def test_what_is_not_to_be_remembered_lasts_as_long_as_the_process(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    settings = Settings(keep_profile=False)
    assert degraded(new_captioner(config=settings), voice, 4) == [STRANGE] * 3 + [None]
    assert not profiles.exists()
    assert degraded(new_captioner(config=settings), voice, 1) == [STRANGE]


def test_without_a_verifier_home_is_untouched(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path
) -> None:
    captioner = Captioner(drafter, home=tmp_path / "home", policy=AlwaysEscalate())
    assert degraded(captioner, voice, 4) == [None] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_drafter_that_makes_nothing_of_habits_is_not_held_back(
    fake: Any, voice: Voice, tmp_path: Path, profiles: Path
) -> None:
    captioner = Captioner(
        ScriptedDrafter(seed=3, vocabulary_size=400),
        verifier=fake.transport,
        verifier_key=fake.key.public.to_text(),
        home=tmp_path / "home",
        policy=AlwaysEscalate(),
    )
    first = captions(captioner, voice, 1)[0]
    assert first.unverified_reason is None
    assert first.usage.num_disclosed_states > 0
    assert not profiles.exists()


def test_a_confident_draft_of_a_strange_voice_is_not_degraded(
    new_captioner: New, voice: Voice
) -> None:
    captioner = new_captioner(policy=None, config=Settings(threshold=1e9))
    assert degraded(captioner, voice, 1) == [None]


def test_a_habit_never_makes_a_home_that_others_can_read(tmp_path: Path) -> None:
    """Also where it comes first, before a ledger has made the home."""
    home = tmp_path / "new" / "home"
    old = os.umask(0)
    try:
        ProfileFile(Home.from_path(home).profiles, "ada", bytes(32)).add(np.ones(4, np.float32))
    finally:
        os.umask(old)
    places = [home, *home.rglob("*")]
    assert len(places) == 4, "home, habits, a habit and its lock"
    assert not [place for place in places if place.stat().st_mode & 0o077]
