"""The clips of ``ugsd-lab bench link``: encoded once, since that is the same for every system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from ugsd_sdk.prosody.norms import load_norms
from ugsd_sdk.speech.spans import SAMPLE_RATE

from ugsd_lab.bench.link_drafter import EmulatedDrafter
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.prosody import measure_all
from ugsd_lab.data.speech import measure_prosody, read_speech
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.claim_study import independent_prosodies
from ugsd_lab.evaluation.claim_truth import LevelBorders, Truth, label_truth, recording_truth
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import CachedDrafter, Stage

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["EncodedClip", "encode_clips", "truths_of"]

_MEL_BYTES_PER_S = 100 * 80 * 2
"""A log-mel spectrogram: 100 frames a second of 80 numbers of 16 bits."""
_REPEATS = 3


@dataclass(frozen=True)
class EncodedClip:
    """A clip whose speaker is enrolled, and what encoding it costs this machine."""

    clip: Clip
    front_cpu_s: float
    """For reading it, finding its speech and measuring its prosody."""
    embedding_cpu_s: float
    """For the audio embedding."""
    mel_bytes: int
    """Size of the log-mel spectrogram of its speech."""

    @property
    def encoding_cpu_s(self) -> float:
        return self.front_cpu_s + self.embedding_cpu_s


def encode_clips(
    cached: CachedDrafter, drafter: EmulatedDrafter, clips: Sequence[Clip], count: int,
    progress: Progress,
) -> list[EncodedClip]:  # fmt: skip
    """Encode ``count`` test clips of each corpus, drawn evenly among those with an emotion label
    that come after their speaker's enrolment. Raises :class:`EvaluationError` without any."""
    test = [clip for clip in clips if clip.split == "test" and clip.emotion is not None]
    chosen: list[Clip] = []
    for corpus in dict.fromkeys(clip.corpus for clip in test):
        own = [clip for clip in test if clip.corpus == corpus]
        num_speakers = len({clip.speaker for clip in own})
        chosen += limited(own, -(-count // num_speakers))
    if not chosen:
        raise EvaluationError("no test clips with an emotion label: name another --data")
    scored = cached.encode_clips(chosen, Stage(progress, "encoding", len(chosen)))
    found: list[EncodedClip] = []
    for corpus in dict.fromkeys(clip.corpus for clip in scored):
        own = [clip for clip in scored if clip.corpus == corpus]
        drawn = own[:: max(len(own) // count, 1)][:count]
        found += [_timed(drafter, clip) for clip in drawn]
        progress("timing encoders", len(found), len(found), corpus)
    return found


def truths_of(clips: Sequence[EncodedClip], cache: Path, progress: Progress) -> Mapping[str, Truth]:
    """Return what captions may claim of each clip, by its id. No profile is used, so nothing may be
    said of a difference from one."""
    plain = [one.clip for one in clips]
    measures = measure_all(plain, cache, lambda done, of: progress("measuring", done, of, ""))
    prosodies = independent_prosodies(plain, measures, progress)
    borders = LevelBorders.of(load_norms())
    return {
        clip.id: label_truth(clip) | recording_truth(prosodies[clip.id], borders, clip.gender)
        for clip in plain
    }


def _timed(drafter: EmulatedDrafter, clip: Clip) -> EncodedClip:
    """Time the encoding of ``clip``, the best of several runs."""
    speech = read_speech(clip)
    fronts_s, embeddings_s = [], []
    for _ in range(_REPEATS):
        started_s = process_time()
        measure_prosody(read_samples(clip))
        measured_s = process_time()
        drafter.embed(speech)
        fronts_s.append(measured_s - started_s)
        embeddings_s.append(process_time() - measured_s)
    mel_bytes = round(len(speech) / SAMPLE_RATE * _MEL_BYTES_PER_S)
    return EncodedClip(clip, min(fronts_s), min(embeddings_s), mel_bytes)
