"""No state of a speaker is sent before the speaker is enrolled, and only a voice enrols."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.sounds import SOUNDS, draw_sound
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.home import Home
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT
from ugsd_sdk.profile.profile_file import ProfileFile, delete_profile, stored_profile
from ugsd_sdk.profile.speaker_profile import ClipVoice
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of
from tests.doubles.speech import recorded_clips

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
NOT_ENROLLED = "not_enrolled"
CLIPS = recorded_clips()


@pytest.fixture
def drafter() -> ScriptedDrafter:
    """A drafter that uses speaker profiles; its captions have five blocks."""
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return tmp_path / "home" / "habits"


@pytest.fixture
def new_captioner(new_captioner: New) -> New:
    """Make captioners of a named user."""
    return lambda **changes: new_captioner(**({"user": "ada"} | changes))


def captions(captioner: Captioner, clips: Sequence[Voice]) -> list[Caption]:
    with captioner:
        return [captioner.caption(clip, 16_000) for clip in clips]


def reasons(captioner: Captioner, clips: Sequence[Voice]) -> list[str | None]:
    return [why_of(caption.unverified_reason) for caption in captions(captioner, clips)]


def test_three_clips_enrol_before_states_are_sent(new_captioner: New, fake: Any) -> None:
    *unenrolled, enrolled = captions(new_captioner(), CLIPS[:4])
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


def test_one_clip_again_and_again_never_enrols(new_captioner: New, fake: Any) -> None:
    found = captions(new_captioner(config=Settings(min_enrolment_s=0)), CLIPS[:1] * 6)
    assert [why_of(caption.unverified_reason) for caption in found] == [NOT_ENROLLED] * 6
    assert [caption.profile.change for caption in found] == ["added", *["repeated"] * 5]
    assert found[-1].profile.num_clips == 1
    assert fake.blocks == []


def test_one_clip_at_other_levels_never_enrols(new_captioner: New, fake: Any) -> None:
    clip = CLIPS[0]
    padded = np.concatenate([np.zeros(8_000, np.float32), clip, np.zeros(16_000, np.float32)])
    clips = [clip, 0.5 * clip, 0.25 * clip, padded, 0.8 * padded]
    captioner = new_captioner(config=Settings(min_enrolment_s=0))
    assert reasons(captioner, clips) == [NOT_ENROLLED] * 5
    assert fake.blocks == []


def test_noise_and_clicks_never_enrol(new_captioner: New, fake: Any, profiles: Path) -> None:
    rng = np.random.default_rng(5)
    sounds = [draw_sound(kind, 3.0, rng) for kind in SOUNDS for _ in range(2)]
    with new_captioner(config=Settings(min_enrolment_s=0)) as captioner:
        for sound in sounds:
            captioner.caption(sound, 16_000)
        caption = captioner.caption(CLIPS[0], 16_000)
    assert caption.profile.num_clips == 0
    assert why_of(caption.unverified_reason) == NOT_ENROLLED
    assert fake.blocks == []
    assert stored_profile(profiles, "ada").count == 1


def test_seconds_of_speech_are_needed_too(new_captioner: New) -> None:
    needed = Settings(min_enrolment=1, min_enrolment_s=4)
    found = captions(new_captioner(config=needed), CLIPS[:4])
    for caption in found:
        is_enrolled = caption.profile.duration_s >= 4
        assert (caption.unverified_reason is None) == is_enrolled
        assert caption.profile.use == ("used" if is_enrolled else "enrolling")
    assert found[-1].profile.use == "used"


def test_default_settings_are_the_default_enrolment() -> None:
    settings = Settings()
    assert settings.min_enrolment == DEFAULT_ENROLMENT.min_clips
    assert settings.min_enrolment_s == DEFAULT_ENROLMENT.min_duration_s


def test_caption_of_unenrolled_speaker_is_the_drafters(
    new_captioner: New, drafter: ScriptedDrafter
) -> None:
    alone = captions(Captioner(drafter), CLIPS[:1])[0]
    assert alone.unverified_reason is None, "without a verifier nothing has to be verified"
    assert captions(new_captioner(), CLIPS[:1])[0].text == alone.text


def test_tokens_of_unenrolled_speaker_may_be_sent(new_captioner: New, fake: Any) -> None:
    (caption,) = captions(new_captioner(policy=AlwaysEscalate(Disclosure.TOKENS)), CLIPS[:1])
    assert caption.unverified_reason is None
    assert len(fake.blocks) == caption.usage.num_blocks > 0
    assert not any(block.state_positions for block in fake.blocks)


@pytest.mark.parametrize("min_enrolment", [0, 1, 5])
def test_min_enrolment_is_respected(new_captioner: New, min_enrolment: int) -> None:
    captioner = new_captioner(config=Settings(min_enrolment=min_enrolment, min_enrolment_s=0))
    expected = [NOT_ENROLLED] * min_enrolment + [None]
    assert reasons(captioner, CLIPS[: min_enrolment + 1]) == expected


def test_profile_outlives_its_captioner_and_grows(new_captioner: New, profiles: Path) -> None:
    for count in (1, 2, 3):
        assert reasons(new_captioner(), [CLIPS[count]]) == [NOT_ENROLLED]
        assert stored_profile(profiles, "ada").count == count
    assert reasons(new_captioner(), [CLIPS[4]]) == [None]
    assert stored_profile(profiles, "ada").count == 4


def test_users_have_separate_profiles(new_captioner: New, profiles: Path) -> None:
    assert reasons(new_captioner(), CLIPS[:4])[-1] is None
    assert reasons(new_captioner(user="bob"), CLIPS[:1]) == [NOT_ENROLLED]
    assert [stored_profile(profiles, user).count for user in ("ada", "bob", "default")] == [4, 1, 0]


def test_unnamed_users_never_share_a_profile(
    new_captioner: New, fake: Any, tmp_path: Path, profiles: Path
) -> None:
    """Nothing of a voice is kept, and nobody is enrolled by the clips of others."""
    captioner = new_captioner(user="default")
    assert reasons(captioner, CLIPS[:5]) == ["no_profile"] * 5
    assert fake.blocks == []
    assert not profiles.exists()
    assert Captioner(ScriptedDrafter(profiles=True)).profile_of() is None


def test_unnamed_users_may_send_without_enrolment(new_captioner: New) -> None:
    captioner = new_captioner(user="default", config=Settings(min_enrolment=0))
    assert reasons(captioner, CLIPS[:2]) == [None, None]


def test_deleted_profile_needs_enrolment_again(new_captioner: New, profiles: Path) -> None:
    assert reasons(new_captioner(), CLIPS[:4])[-1] is None
    assert delete_profile(profiles, "ada")
    assert reasons(new_captioner(), CLIPS[:1]) == [NOT_ENROLLED]


def test_running_captioner_forgets_a_deleted_profile(new_captioner: New, profiles: Path) -> None:
    """It is not used for one more caption, not even if it is frozen."""
    with new_captioner() as captioner:
        for clip in CLIPS[:4]:
            captioner.caption(clip, 16_000)
        captioner.profile_of().freeze()
        assert captioner.caption(CLIPS[4], 16_000).profile.use == "used"
        assert delete_profile(profiles, "ada")
        caption = captioner.caption(CLIPS[5], 16_000)
    assert why_of(caption.unverified_reason) == NOT_ENROLLED
    assert caption.profile.num_clips == 0


def test_unkept_profile_lasts_for_one_process(new_captioner: New, profiles: Path) -> None:
    settings = Settings(keep_profile=False)
    assert reasons(new_captioner(config=settings), CLIPS[:4]) == [NOT_ENROLLED] * 3 + [None]
    assert not profiles.exists()
    assert reasons(new_captioner(config=settings), CLIPS[:1]) == [NOT_ENROLLED]


def test_without_a_verifier_home_is_untouched(drafter: ScriptedDrafter, tmp_path: Path) -> None:
    captioner = Captioner(drafter, user="ada", home=tmp_path / "home", policy=AlwaysEscalate())
    found = captions(captioner, CLIPS[:4])
    assert [caption.unverified_reason for caption in found] == [None] * 4
    assert found[-1].profile.num_clips == 3, "it lasts as long as the captioner"
    assert list(tmp_path.iterdir()) == []


def test_drafter_without_profiles_needs_no_enrolment(
    fake: Any, voice: Voice, tmp_path: Path, profiles: Path
) -> None:
    captioner = Captioner(
        ScriptedDrafter(seed=3, vocabulary_size=400),
        verifier=fake.transport,
        verifier_key=fake.key.public.to_text(),
        user="ada",
        home=tmp_path / "home",
        policy=AlwaysEscalate(),
    )
    first = captions(captioner, [voice])[0]
    assert first.unverified_reason is None
    assert first.usage.num_disclosed_states > 0
    assert first.profile.use == "none"
    assert not profiles.exists()


def test_confident_unenrolled_caption_is_not_unverified(new_captioner: New) -> None:
    captioner = new_captioner(policy=None, config=Settings(threshold=1e9))
    assert reasons(captioner, CLIPS[:1]) == [None]


def test_profile_never_creates_a_readable_home(tmp_path: Path) -> None:
    """Also if the profile creates the home before a ledger does."""
    home = tmp_path / "new" / "home"
    old = os.umask(0)
    try:
        file = ProfileFile(Home.from_path(home).profiles, "ada", bytes(32))
        file.add(ClipVoice(np.ones(4, np.float32)), DEFAULT_ENROLMENT)
    finally:
        os.umask(old)
    places = [home, *home.rglob("*")]
    assert len(places) == 4, "home, folder of profiles, a profile and its lock"
    assert not [place for place in places if place.stat().st_mode & 0o077]
