"""``ugsd-lab bench speakers``: how well a device tells speakers apart.

It is measured on speakers that no model was trained on, and decided as on a device: their clips are
read, speech is found in them, and the rules of speaker profiles are applied to the voices in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.profile.matching import (
    MAX_ENROLMENT_DISTANCE,
    MAX_VOICE_DISTANCE,
    MAX_WINDOW_DISTANCE,
    SAME_RECORDING_DISTANCE,
)
from ugsd_sdk.speech.reader import SpeechDetector
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from ugsd_lab.bench import profile_trials, recording_trials
from ugsd_lab.bench.speaker_counts import (
    TOTAL,
    Count,
    Distances,
    TimeToEnrol,
    Trials,
    counts_of,
    distances_of,
    joined,
    time_to_enrol,
)
from ugsd_lab.bench.spoken_clips import CorpusVoices, VoiceEncoder, encode_corpora
from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress

__all__ = [
    "HELD_OUT",
    "CorpusSize",
    "SpeakerBench",
    "TrialCounts",
    "bench_speakers",
]

HELD_OUT = ("test", "dev", "calibration")
"""Splits whose speakers no model is trained on."""


@dataclass(frozen=True)
class TrialCounts:
    """The number of trials of each case, for each corpus."""

    encoded: int = 300
    """With clips that are encoded already."""
    recordings: int = 100
    """With recordings that have to be encoded."""
    sounds: int = 3
    """Of each kind of sound."""


@dataclass(frozen=True)
class CorpusSize:
    """What a corpus contributes."""

    corpus: str
    speakers: int
    clips: int
    without_speech: int
    """Clips in which no speech was found; nothing else counts them."""


@dataclass(frozen=True)
class SpeakerBench:
    """All results, for each corpus and for all of them together."""

    split: str
    thresholds: Mapping[str, float]
    corpora: Sequence[CorpusSize]
    counts: Sequence[Count]
    time_to_enrol: Sequence[TimeToEnrol]
    distances: Sequence[Distances]

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def bench_speakers(
    clips: Sequence[Clip],
    drafter: Drafter,
    progress: Progress,
    *,
    split: str = "test",
    limit: int,
    trials: TrialCounts | None = None,
    detector: SpeechDetector | None = None,
) -> SpeakerBench:
    """Measure on at most ``limit`` clips of each speaker of ``split``.

    Raises :class:`EvaluationError` if ``split`` is not one of :data:`HELD_OUT`, if it has no clips,
    or if ``drafter`` makes no voice vectors.
    """
    if split not in HELD_OUT:
        raise EvaluationError(
            f"speakers of split {split!r} are not held out from training: name one of "
            f"{', '.join(HELD_OUT)}"
        )
    chosen = [clip for clip in clips if clip.split == split]
    if not chosen:
        raise EvaluationError(
            f"no clips of split {split!r} in these corpora: name another --split or --data"
        )
    counts = trials or TrialCounts()
    detector = detector or VoiceActivityDetector()
    detector.load()
    drafter.load()
    try:
        encoder = VoiceEncoder(drafter, detector)
        corpora = encode_corpora(chosen, encoder, limit, progress)
        found = {one.name: _trials_of(one, encoder, counts, progress) for one in corpora}
        sounds = Trials()
        recording_trials.enrol_sounds(sounds, encoder, counts.sounds, _rng("sounds"), progress)
    finally:
        drafter.close()
        detector.close()
    together = joined([*found.values(), sounds])
    rows = [*found.items(), (TOTAL, together)]
    return SpeakerBench(
        split=split,
        thresholds={
            "MAX_VOICE_DISTANCE": MAX_VOICE_DISTANCE,
            "MAX_ENROLMENT_DISTANCE": MAX_ENROLMENT_DISTANCE,
            "MAX_WINDOW_DISTANCE": MAX_WINDOW_DISTANCE,
            "SAME_RECORDING_DISTANCE": SAME_RECORDING_DISTANCE,
        },
        corpora=[_size(one) for one in corpora],
        counts=[count for name, one in rows for count in counts_of(name, one)],
        time_to_enrol=[time_to_enrol(name, one) for name, one in rows],
        distances=[distance for name, one in rows for distance in distances_of(name, one)],
    )


def _trials_of(
    corpus: CorpusVoices, encoder: VoiceEncoder, counts: TrialCounts, progress: Progress
) -> Trials:
    trials, name = Trials(), corpus.name
    profile_trials.match_clips(corpus, trials, counts.encoded, _rng(f"{name} matching"))
    profile_trials.enrol_one_speaker(corpus, trials, counts.encoded, _rng(f"{name} alone"))
    profile_trials.enrol_in_turns(corpus, trials, counts.encoded, _rng(f"{name} turns"))
    profile_trials.enrol_one_clip(corpus, trials)
    profile_trials.read_windows(corpus, trials)
    recording_trials.join_speakers(
        corpus, trials, encoder, counts.recordings, _rng(f"{name} joined"), progress
    )
    recording_trials.record_again(
        corpus, trials, encoder, counts.recordings, _rng(f"{name} again"), progress
    )
    profile_trials.compare_recordings(corpus, trials, counts.encoded, _rng(f"{name} distinct"))
    return trials


def _rng(name: str) -> np.random.Generator:
    """Return a generator that draws the same for the same trials, whatever came before."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def _size(corpus: CorpusVoices) -> CorpusSize:
    return CorpusSize(
        corpus.name,
        len(corpus.clips),
        sum(map(len, corpus.clips.values())),
        corpus.without_speech,
    )
