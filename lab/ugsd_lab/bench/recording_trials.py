"""Trials on recordings that are made of clips and encoded: clips of two speakers joined, the same
clip recorded another way, and sounds without a voice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.profile.matching import is_repeated
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE

from ugsd_lab.bench.conditions import ROOM_RMS, SAMPLE_RATE
from ugsd_lab.bench.profile_trials import (
    ENROLLED,
    SAME_RECORDING,
    SEVERAL,
    ask_for_speakers,
    clips_to_enrol,
)
from ugsd_lab.bench.speaker_counts import Case, Trials
from ugsd_lab.bench.spoken_clips import CorpusVoices, Pairing, SpokenClip, VoiceEncoder
from ugsd_lab.data.corpora import read_samples
from ugsd_lab.data.sounds import SOUNDS, coloured_noise, draw_sound
from ugsd_lab.models.embeddings import Progress

__all__ = ["enrol_sounds", "join_speakers", "record_again"]

JOINED_S = (2.0, 6.0)
"""How long each of two joined recordings lasts."""
_GAIN = 0.1
_AROUND_S = 1.0
_SOUNDS_PER_TRIAL = 5
_SOUND_S = (2.0, 8.0)

Float32 = NDArray[np.float32]
_Rng = np.random.Generator
_Alter = Callable[[Float32, _Rng], Float32]


def join_speakers(
    corpus: CorpusVoices,
    trials: Trials,
    encoder: VoiceEncoder,
    count: int,
    rng: _Rng,
    progress: Progress,
) -> None:
    """Ask of two clips in one recording whether they sound like several speakers: two clips of one
    speaker, and one each of two speakers."""
    long_enough = corpus.longer(JOINED_S)
    same = [(name, name) for name in long_enough.speakers(2)]
    kinds = [
        (Case(SEVERAL, "one speaker, two clips joined", is_right=False), same),
        *(
            (
                Case(SEVERAL, f"two speakers joined, {pairing}", is_right=True),
                long_enough.pairs(pairing),
            )
            for pairing in Pairing
        ),
    ]
    done, total = 0, count * sum(bool(pairs) for _, pairs in kinds)
    for case, pairs in kinds:
        trials.answer(case)
        trials.measure(case)
        for trial in range(count if pairs else 0):
            first, second = _two_clips(long_enough, pairs[trial % len(pairs)], rng)
            recording = np.concatenate([read_samples(first.clip), read_samples(second.clip)])
            voice = encoder.encode(recording)
            ask_for_speakers(case, trials, *([] if voice is None else [voice]))
            done += 1
            progress(f"joining, {corpus.name}", done, total, "")


def record_again(
    corpus: CorpusVoices,
    trials: Trials,
    encoder: VoiceEncoder,
    count: int,
    rng: _Rng,
    progress: Progress,
) -> None:
    """Compare clips with profiles of the same recording, altered. One whose speech is not found any
    more is left out, as a device ignores it."""
    cases = {name: Case(SAME_RECORDING, name, is_right=True) for name in _ALTERATIONS}
    for case in cases.values():
        trials.answer(case)
    clips = _in_turns(list(corpus.clips.values()))[:count]
    for done, one in enumerate(clips, 1):
        profile = EMPTY_PROFILE.updated(one.voice)
        samples = read_samples(one.clip)
        for name, alter in _ALTERATIONS.items():
            voice = encoder.encode(alter(samples, rng))
            if voice is not None:
                trials.answer(cases[name], is_repeated(voice, profile))
        progress(f"repeating, {corpus.name}", done, len(clips), "")


def enrol_sounds(
    trials: Trials, encoder: VoiceEncoder, count: int, rng: _Rng, progress: Progress
) -> None:
    """Give several different sounds of one kind that hold no voice, ``count`` times for each kind
    of sound."""
    case = Case(ENROLLED, f"{_SOUNDS_PER_TRIAL} sounds without a voice", is_right=False)
    for done, kind in enumerate(SOUNDS, 1):
        for _ in range(count):
            sounds = (
                draw_sound(kind, rng.uniform(*_SOUND_S), rng) for _ in range(_SOUNDS_PER_TRIAL)
            )
            voices = [voice for sound in sounds if (voice := encoder.encode(sound)) is not None]
            trials.answer(case, clips_to_enrol(voices) is not None)
        progress("sounds without a voice", done, len(SOUNDS), kind)


def _two_clips(
    corpus: CorpusVoices, speakers: tuple[str, str], rng: _Rng
) -> tuple[SpokenClip, SpokenClip]:
    """Draw a clip of each of two speakers, in any order; different clips if it is one speaker."""
    one, other = (corpus.clips[name] for name in rng.permutation(speakers))
    if one is other:
        first, second = rng.choice(len(one), 2, replace=False)
    else:
        first, second = rng.integers(len(one)), rng.integers(len(other))
    return one[first], other[second]


def _in_turns(clips: Sequence[Sequence[SpokenClip]]) -> list[SpokenClip]:
    """Return the first clip of each speaker, then the second one, and so on."""
    longest = max(map(len, clips), default=0)
    return [own[at] for at in range(longest) for own in clips if at < len(own)]


def _with_zeros(samples: Float32, _: _Rng) -> Float32:
    return np.pad(samples, round(_AROUND_S * SAMPLE_RATE))


def _with_noise_around(samples: Float32, rng: _Rng) -> Float32:
    """Pink noise before and after the clip, not in it."""
    before, after = (
        np.float32(ROOM_RMS) * coloured_noise(round(_AROUND_S * SAMPLE_RATE), 1.0, rng)
        for _ in range(2)
    )
    return np.concatenate([before, samples, after])


_ALTERATIONS: dict[str, _Alter] = {
    "the clip itself": lambda samples, _: samples,
    f"the clip at a gain of {_GAIN:g}": lambda samples, _: samples * np.float32(_GAIN),
    f"the clip with {_AROUND_S:g} s of zeros around it": _with_zeros,
    f"the clip with {_AROUND_S:g} s of faint noise around it": _with_noise_around,
}
