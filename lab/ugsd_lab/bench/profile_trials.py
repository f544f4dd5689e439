"""Trials on clips that were encoded before: which ones fit a speaker profile, and which enrol one.

Every decision is the device's own (:mod:`ugsd_sdk.profile.matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from ugsd_sdk.profile.matching import (
    DEFAULT_ENROLMENT,
    ProfileMatch,
    is_repeated,
    match_profile,
    profile_after,
    voice_distance,
    windows_distance,
)
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

from ugsd_lab.bench.speaker_counts import Case, Trials
from ugsd_lab.bench.spoken_clips import CorpusVoices, Pairing, SpokenClip

__all__ = [
    "ENROLLED",
    "REFUSED",
    "SAME_RECORDING",
    "SEVERAL",
    "ask_for_speakers",
    "clips_to_enrol",
    "compare_recordings",
    "enrol_in_turns",
    "enrol_one_clip",
    "enrol_one_speaker",
    "match_clips",
    "read_windows",
]

PROFILE_CLIPS = (1, 3, 10)
TURNS = 12
"""Clips of two people who take turns, in all."""
ENROLLED_AFTER = (3, 5, 8)
MAX_CLIPS_ALONE = 20
_REPETITIONS = 3

REFUSED = "refused by the profile"
ENROLLED = "enrolled"
SEVERAL = "called several speakers"
SAME_RECORDING = "taken for the same recording"

_Rng = np.random.Generator


def match_clips(corpus: CorpusVoices, trials: Trials, count: int, rng: _Rng) -> None:
    """Compare clips with profiles of one speaker's other clips: clips of that speaker, and of
    another one. Refused is what does not match, also as a clip of several speakers."""
    for size in PROFILE_CLIPS:
        profile_name = f"profile of {size} {'clip' if size == 1 else 'clips'}"
        own_case = Case(REFUSED, f"{profile_name}: own clip", is_right=False)
        cases = {
            pairing: Case(REFUSED, f"{profile_name}: other speaker, {pairing}", is_right=True)
            for pairing in Pairing
        }
        for case in (own_case, *cases.values()):
            trials.answer(case)
            trials.measure(case)
        speakers = corpus.speakers(size + 1)
        for trial in range(count if speakers else 0):
            speaker = speakers[trial % len(speakers)]
            clip, *enrolling = _drawn(corpus.clips[speaker], size + 1, rng)
            profile = _profile_of(enrolling)
            _match(own_case, clip, profile, trials)
            for pairing, case in cases.items():
                others = corpus.others(speaker, pairing)
                if others:
                    (clip,) = _drawn(corpus.clips[_one_of(others, rng)], 1, rng)
                    _match(case, clip, profile, trials)


def enrol_in_turns(corpus: CorpusVoices, trials: Trials, count: int, rng: _Rng) -> None:
    """Let two speakers take turns, clip by clip."""
    for pairing in Pairing:
        case = Case(ENROLLED, f"two speakers in turns, {pairing}", is_right=False)
        trials.answer(case)
        pairs = corpus.pairs(pairing, TURNS // 2)
        for trial in range(count if pairs else 0):
            first, second = (
                _drawn(corpus.clips[name], TURNS // 2, rng)
                for name in rng.permutation(pairs[trial % len(pairs)])
            )
            turns = chain.from_iterable(zip(first, second, strict=True))
            trials.answer(case, clips_to_enrol([one.voice for one in turns]) is not None)


def enrol_one_speaker(corpus: CorpusVoices, trials: Trials, count: int, rng: _Rng) -> None:
    """Let one speaker alone record clips."""
    cases = [
        Case(ENROLLED, f"one speaker, {clips} clips", is_right=True) for clips in ENROLLED_AFTER
    ]
    for case in cases:
        trials.answer(case)
    speakers = corpus.speakers(max(ENROLLED_AFTER))
    for trial in range(count if speakers else 0):
        own = corpus.clips[speakers[trial % len(speakers)]]
        clips = _drawn(own, min(MAX_CLIPS_ALONE, len(own)), rng)
        needed = clips_to_enrol([one.voice for one in clips])
        trials.clips_to_enrol.append(needed)
        for case, after in zip(cases, ENROLLED_AFTER, strict=True):
            trials.answer(case, needed is not None and needed <= after)


def enrol_one_clip(corpus: CorpusVoices, trials: Trials) -> None:
    """Let nothing but one clip be given, several times."""
    case = Case(ENROLLED, "one clip three times", is_right=False)
    trials.answer(case)
    for clip in chain.from_iterable(corpus.clips.values()):
        trials.answer(case, clips_to_enrol([clip.voice] * _REPETITIONS) is not None)


def clips_to_enrol(voices: Sequence[ClipVoice]) -> int | None:
    """Return after how many of ``voices`` an empty profile is enrolled with the defaults of the
    settings; ``None`` if it is not."""
    profile = EMPTY_PROFILE
    for number, voice in enumerate(voices, 1):
        profile, _ = profile_after(voice, profile, DEFAULT_ENROLMENT)
        if DEFAULT_ENROLMENT.is_reached(profile):
            return number
    return None


def read_windows(corpus: CorpusVoices, trials: Trials) -> None:
    """Ask of each clip whether its windows sound like several speakers."""
    case = Case(SEVERAL, "one speaker, one clip", is_right=False)
    ask_for_speakers(case, trials, *(one.voice for one in chain(*corpus.clips.values())))


def ask_for_speakers(case: Case, trials: Trials, *voices: ClipVoice) -> None:
    """Ask of recordings whether they hold several speakers."""
    for voice in voices:
        trials.answer(case, match_profile(voice, EMPTY_PROFILE) is ProfileMatch.SEVERAL_SPEAKERS)
        trials.measure(case, windows_distance(voice))


def compare_recordings(corpus: CorpusVoices, trials: Trials, count: int, rng: _Rng) -> None:
    """Compare clips with profiles of other recordings of their speaker."""
    size = max(PROFILE_CLIPS)
    case = Case(SAME_RECORDING, f"another clip, profile of {size} clips", is_right=False)
    trials.answer(case)
    speakers = corpus.speakers(size + 1)
    for trial in range(count if speakers else 0):
        own = corpus.clips[speakers[trial % len(speakers)]]
        clip, *others = _drawn(own, size + 1, rng)
        trials.answer(case, is_repeated(clip.voice, _profile_of(others)))


def _match(case: Case, clip: SpokenClip, profile: SpeakerProfile, trials: Trials) -> None:
    trials.answer(case, match_profile(clip.voice, profile) is not ProfileMatch.MATCHED)
    trials.measure(case, voice_distance(clip.vector, profile))


def _profile_of(clips: Sequence[SpokenClip]) -> SpeakerProfile:
    profile = EMPTY_PROFILE
    for clip in clips:
        profile = profile.updated(clip.voice)
    return profile


def _drawn(clips: Sequence[SpokenClip], count: int, rng: _Rng) -> list[SpokenClip]:
    return [clips[at] for at in rng.choice(len(clips), count, replace=False)]


def _one_of(names: Sequence[str], rng: _Rng) -> str:
    return names[int(rng.integers(len(names)))]
