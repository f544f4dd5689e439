"""Which profile a caption rests on, and what it says about a clip that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk import Caption, Captioner, Profile, Settings
from ugsd_sdk.cli import main
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.speech.reader import WholeRecording

from tests.doubles.reasons import why_of
from tests.doubles.speech import recorded_clips
from tests.doubles.voices import ADA, BEN, VoicesDrafter, spoken

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


class ProfiledDrafter(VoicesDrafter):
    """Its captions depend on the profile, and it says whether the voice sounds female."""

    @property
    def info(self) -> DrafterInfo:
        phrase = GenderedPhrase(neutral="w1", female="she", male="he")
        return replace(super().info, gendered_phrases=(phrase,))

    def encode(self, speech: Any, profile: SpeakerProfile = EMPTY_PROFILE) -> ConditionedClip:
        clip = super().encode(speech, profile)
        used = profile.mean if clip.profile_match == "matched" else np.zeros(1)
        heard = np.append(clip.decoder_input, used).astype(np.float32)
        return replace(clip, decoder_input=heard)

    def piece(self, token: int) -> str:
        return super().piece(1 if token % 5 == 1 else token)


@pytest.fixture
def drafter() -> ProfiledDrafter:
    return ProfiledDrafter()


@pytest.fixture
def new_captioner(new_captioner: New) -> New:
    """Make captioners of a named user that take everything for speech."""
    given: dict[str, object] = {"user": "ada", "detector": WholeRecording()}
    return lambda **changes: new_captioner(**(given | changes))


def alone(drafter: ProfiledDrafter, **changes: Any) -> Captioner:
    return Captioner(drafter, detector=WholeRecording(), **changes)


def ask(
    captioner: Captioner, *speakers: tuple[float, float], take: int = 0, **more: Any
) -> Caption:
    return captioner.caption(spoken(*speakers, take=take), 16_000, **more)


def words_of(caption: Caption) -> tuple[object, ...]:
    """Everything in a caption but its times."""
    return tuple(v for name, v in caption if name != "latency_ms")


def test_order_of_unnamed_clips_changes_nothing(drafter: ProfiledDrafter) -> None:
    clips = {"a": spoken(ADA), "b": spoken(BEN, take=1), "c": spoken(ADA, take=2)}
    found: dict[str, set[tuple[object, ...]]] = {name: set() for name in clips}
    for order in permutations(clips):
        with alone(drafter) as captioner:
            for name in order:
                found[name].add(words_of(captioner.caption(clips[name], 16_000)))
    assert all(len(captions) == 1 for captions in found.values())


def test_frozen_profile_gives_the_same_caption(drafter: ProfiledDrafter) -> None:
    """Whatever was heard in between, with it and without it."""
    profile = Profile()
    with alone(drafter) as captioner:
        for take in range(4):
            ask(captioner, ADA, take=take, profile=profile)
        profile.freeze()
        first = ask(captioner, ADA, take=9, profile=profile)
        for take in range(20, 24):
            ask(captioner, ADA, take=take, profile=profile)
            ask(captioner, BEN, take=take, profile=profile)
            ask(captioner, BEN, take=take)
        assert words_of(ask(captioner, ADA, take=9, profile=profile)) == words_of(first)
        profile.unfreeze()
        ask(captioner, ADA, take=20, profile=profile)
        assert ask(captioner, ADA, take=9, profile=profile).text != first.text
    with alone(drafter) as other:
        assert first.text != ask(other, ADA, take=9).text, "the profile was used"


def test_two_speakers_in_one_clip_are_not_mixed(new_captioner: New, fake: Any) -> None:
    with new_captioner() as captioner:
        for take in range(4):
            ask(captioner, ADA, take=take)
        blocks = len(fake.blocks)
        mixed = ask(captioner, ADA, BEN, take=9)
        after = ask(captioner, ADA, take=10)
    assert mixed.profile.use == "several_speakers"
    assert mixed.profile.change == "none"
    assert why_of(mixed.unverified_reason) == "several_speakers"
    assert mixed.usage.num_disclosed_states == mixed.usage.num_frames == 0
    assert after.profile.num_clips == 4
    assert after.unverified_reason is None
    assert len(fake.blocks) > blocks


def test_two_speakers_are_said_without_a_profile(drafter: ProfiledDrafter) -> None:
    with alone(drafter) as captioner:
        assert ask(captioner, ADA, BEN).profile.use == "several_speakers"
        assert ask(captioner, ADA, ADA).profile.use == "none"


def test_states_of_several_speakers_are_never_sent(new_captioner: New, fake: Any) -> None:
    """Not even if no enrolment is needed."""
    with new_captioner(user="default", config=Settings(min_enrolment=0)) as captioner:
        assert why_of(ask(captioner, ADA, BEN).unverified_reason) == "several_speakers"
        assert fake.blocks == []
        assert ask(captioner, ADA).unverified_reason is None


def test_clip_of_another_speaker_is_captioned_without_the_profile(
    new_captioner: New, fake: Any, drafter: ProfiledDrafter
) -> None:
    with alone(drafter) as captioner:
        unknown = ask(captioner, BEN, take=9)
    with new_captioner() as captioner:
        for take in range(4):
            ask(captioner, ADA, take=take)
        fake.blocks.clear()
        other = ask(captioner, BEN, take=9)
        assert fake.blocks == []
        after = ask(captioner, ADA, take=10)
    assert other.text == unknown.text
    assert (other.profile.use, other.profile.change) == ("different_speaker", "none")
    assert why_of(other.unverified_reason) == "different_speaker"
    assert "one profile for each speaker" in str(other.unverified_reason)
    assert other.usage.num_disclosed_states == 0
    assert (after.profile.use, after.profile.num_clips) == ("used", 4)
    assert after.unverified_reason is None


def test_people_taking_turns_never_enrol(new_captioner: New, fake: Any) -> None:
    with new_captioner() as captioner:
        found = [ask(captioner, (ADA, BEN)[take % 2], take=take) for take in range(10)]
        assert fake.blocks == []
        assert {str(caption.profile.change) for caption in found[1:]} == {"restarted"}
        alone_now = [ask(captioner, ADA, take=take) for take in range(20, 24)]
    assert alone_now[-1].profile.use == "used"
    assert alone_now[-1].unverified_reason is None


def test_unknown_speaker_may_send_if_no_enrolment_is_needed(new_captioner: New) -> None:
    with new_captioner(config=Settings(min_enrolment=0)) as captioner:
        ask(captioner, ADA)
        caption = ask(captioner, BEN)
    assert caption.profile.use == "different_speaker"
    assert caption.unverified_reason is None


def test_passed_profile_replaces_the_users(new_captioner: New, tmp_path: Path) -> None:
    profile = Profile()
    with new_captioner() as captioner:
        for take in range(4):
            caption = ask(captioner, BEN, take=take, profile=profile)
        assert captioner.profile_of() is not None
        assert captioner.profile_of().num_clips == 0
        assert ask(captioner, ADA).profile.num_clips == 0
        assert captioner.profile_of().num_clips == 1
    assert caption.unverified_reason is None
    assert profile.num_clips == 4


def test_profile_of_an_unnamed_user_may_be_passed(new_captioner: New) -> None:
    profile = Profile()
    with new_captioner(user="default") as captioner:
        found = [ask(captioner, ADA, take=take, profile=profile) for take in range(4)]
    assert [why_of(caption.unverified_reason) for caption in found] == ["not_enrolled"] * 3 + [None]


def test_frozen_profile_of_another_encoder_is_said(drafter: ProfiledDrafter) -> None:
    profile = Profile()
    with alone(drafter) as captioner:
        ask(captioner, ADA, profile=profile)
    profile._stored = type(profile._stored)("00", profile._stored.contents)
    profile.freeze()
    with alone(drafter) as captioner:
        assert ask(captioner, ADA, take=1, profile=profile).profile.use == "other_encoder"
        profile.unfreeze()
        caption = ask(captioner, ADA, take=1, profile=profile)
    assert (caption.profile.use, caption.profile.num_clips) == ("enrolling", 0)
    assert caption.profile.has_set_aside


def test_profile_must_be_a_profile(drafter: ProfiledDrafter) -> None:
    with alone(drafter) as captioner, pytest.raises(TypeError, match="must be a Profile, not str"):
        ask(captioner, ADA, profile="ada.npz")


def test_one_user_keeps_one_word(drafter: ProfiledDrafter) -> None:
    """A clip that sounds otherwise does not change the word, and an unknown speaker's does not
    count."""
    profile = Profile()
    with alone(drafter, config=Settings(gender=True)) as captioner:
        drafter.femininity = 4.0
        texts = [ask(captioner, ADA, take=take, profile=profile).text for take in range(5)]
        drafter.femininity = -4.0
        low = ask(captioner, ADA, take=5, profile=profile).text
        other = ask(captioner, BEN, take=5, profile=profile).text
        mixed = ask(captioner, ADA, BEN, take=5, profile=profile).text
        unnamed = ask(captioner, ADA, take=5).text
    assert all("she" in text.split() for text in [*texts, low])
    assert "he" in other.split()
    assert "he" in unnamed.split()
    assert not {"he", "she"} & set(mixed.split())


def test_gender_is_not_worded_by_default(drafter: ProfiledDrafter) -> None:
    drafter.femininity = 4.0
    with alone(drafter) as captioner:
        assert "she" not in ask(captioner, ADA).text.split()


def test_caption_with_a_profile_survives_json(drafter: ProfiledDrafter) -> None:
    with alone(drafter, user="ada") as captioner:
        caption = ask(captioner, ADA)
    assert Caption.model_validate_json(caption.model_dump_json()) == caption
    assert caption.model_dump(mode="json")["profile"] == {
        "use": "enrolling",
        "change": "added",
        "num_clips": 0,
        "duration_s": 0.0,
        "has_set_aside": False,
    }


def test_command_captions_with_a_profile_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    clips = []
    for number, samples in enumerate(recorded_clips()[:2]):
        clips.append(str(tmp_path / f"{number}.wav"))
        soundfile.write(clips[-1], samples, 16_000)
    file = tmp_path / "ada.npz"
    for _ in range(2):
        assert main(["caption", "--json", "--profile", str(file), *clips]) == 0
        assert Profile.load(file).num_clips == 2
    lines = capsys.readouterr().out.splitlines()
    profiles = [Caption.model_validate_json(line).profile for line in lines]
    assert [profile.change for profile in profiles] == ["added", "added", "repeated", "repeated"]
    assert [profile.num_clips for profile in profiles] == [0, 1, 2, 2]
