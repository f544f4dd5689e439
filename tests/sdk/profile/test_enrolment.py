"""No state of a speaker is sent before the speaker is enrolled."""

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
NOT_ENROLLED = "not_enrolled"


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """A drafter that uses speaker profiles; its captions have five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return tmp_path / "home" / "habits"


def captions(captioner: Captioner, voice: Voice, count: int) -> list[Caption]:
    with captioner:
        return [captioner.caption(voice, 16_000) for _ in range(count)]


def reasons(captioner: Captioner, voice: Voice, count: int) -> list[str | None]:
    return [why_of(caption.unverified_reason) for caption in captions(captioner, voice, count)]


def test_three_clips_enrol_before_states_are_sent(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    *unenrolled, enrolled = captions(new_captioner(), voice, 4)
    assert [why_of(caption.unverified_reason) for caption in unenrolled] == [NOT_ENROLLED] * 3
    for caption in unenrolled:
        usage = caption.usage
        assert usage.num_blocks == usage.num_frames == usage.num_disclosed_states == 0
        assert usage.bytes_sent == 0
        assert caption.receipts == ()
    assert enrolled.unverified_reason is None
    assert enrolled.usage.num_disclosed_states > 0
    assert {block.caption for block in fake.blocks} == {0}, (
        "the first caption that the verifier received"
    )


def test_caption_of_unenrolled_speaker_is_the_drafters(
    new_captioner: New, drafter: ScriptedDrafter, voice: Voice
) -> None:
    alone = captions(Captioner(drafter), voice, 1)[0]
    assert alone.unverified_reason is None, "without a verifier nothing has to be verified"
    assert captions(new_captioner(), voice, 1)[0].text == alone.text


def test_tokens_of_unenrolled_speaker_may_be_sent(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    (caption,) = captions(new_captioner(policy=AlwaysEscalate(Disclosure.TOKENS)), voice, 1)
    assert caption.unverified_reason is None
    assert len(fake.blocks) == caption.usage.num_blocks > 0
    assert not any(block.state_positions for block in fake.blocks)


@pytest.mark.parametrize("min_enrolment", [0, 1, 5])
def test_min_enrolment_is_respected(new_captioner: New, voice: Voice, min_enrolment: int) -> None:
    captioner = new_captioner(config=Settings(min_enrolment=min_enrolment))
    expected = [NOT_ENROLLED] * min_enrolment + [None]
    assert reasons(captioner, voice, min_enrolment + 1) == expected


def test_profile_outlives_its_captioner_and_grows(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    for count in (1, 2, 3):
        assert reasons(new_captioner(), voice, 1) == [NOT_ENROLLED]
        assert num_enrolled_clips(profiles, "default") == count
    assert reasons(new_captioner(), voice, 1) == [None]
    assert num_enrolled_clips(profiles, "default") == 4


def test_users_have_separate_profiles(new_captioner: New, voice: Voice, profiles: Path) -> None:
    assert reasons(new_captioner(user="ada"), voice, 4)[-1] is None
    assert reasons(new_captioner(user="bob"), voice, 1) == [NOT_ENROLLED]
    assert [num_enrolled_clips(profiles, user) for user in ("ada", "bob", "default")] == [4, 1, 0]


def test_deleted_profile_needs_enrolment_again(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    assert reasons(new_captioner(), voice, 4)[-1] is None
    assert delete_profile(profiles, "default")
    assert reasons(new_captioner(), voice, 1) == [NOT_ENROLLED]


def test_unkept_profile_lasts_for_one_process(
    new_captioner: New, voice: Voice, profiles: Path
) -> None:
    settings = Settings(keep_profile=False)
    assert reasons(new_captioner(config=settings), voice, 4) == [NOT_ENROLLED] * 3 + [None]
    assert not profiles.exists()
    assert reasons(new_captioner(config=settings), voice, 1) == [NOT_ENROLLED]


def test_without_a_verifier_home_is_untouched(
    drafter: ScriptedDrafter, voice: Voice, tmp_path: Path
) -> None:
    captioner = Captioner(drafter, home=tmp_path / "home", policy=AlwaysEscalate())
    assert reasons(captioner, voice, 4) == [None] * 4
    assert list(tmp_path.iterdir()) == []


def test_drafter_without_profiles_needs_no_enrolment(
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


def test_confident_unenrolled_caption_is_not_unverified(new_captioner: New, voice: Voice) -> None:
    captioner = new_captioner(policy=None, config=Settings(threshold=1e9))
    assert reasons(captioner, voice, 1) == [None]


def test_profile_never_creates_a_readable_home(tmp_path: Path) -> None:
    """Also if the profile creates the home before a ledger does."""
    home = tmp_path / "new" / "home"
    old = os.umask(0)
    try:
        ProfileFile(Home.from_path(home).profiles, "ada", bytes(32)).add(np.ones(4, np.float32))
    finally:
        os.umask(old)
    places = [home, *home.rglob("*")]
    assert len(places) == 4, "home, folder of profiles, a profile and its lock"
    assert not [place for place in places if place.stat().st_mode & 0o077]
