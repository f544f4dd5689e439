"""The clips of a corpus' speakers and the voices in them, as a device finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.audio.samples import read_pieces
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.profile.speaker_profile import ClipVoice
from ugsd_sdk.speech.reader import SpeechDetector, SpeechReader
from ugsd_sdk.speech.spans import SAMPLE_RATE

from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.training.profiles import in_recording_order

__all__ = ["CorpusVoices", "Pairing", "SpokenClip", "VoiceEncoder", "encode_corpora"]

Float32 = NDArray[np.float32]


class Pairing(StrEnum):
    """How two speakers of a corpus relate, by the genders as which the corpus lists their
    voices."""

    SAME = "same gender"
    OTHER = "other gender"
    UNKNOWN = "gender not given"


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """A clip in which speech was found."""

    clip: Clip
    duration_s: float
    """Seconds of the recording, with what is not speech."""
    voice: ClipVoice
    vector: Float32
    """(V,) its voice vector."""


@dataclass(frozen=True, eq=False)
class CorpusVoices:
    """The clips of a corpus by speaker."""

    name: str
    clips: Mapping[str, Sequence[SpokenClip]]
    without_speech: int = 0
    """Number of clips in which no speech was found. A device ignores them, and so does all else
    here."""

    def speakers(self, min_clips: int) -> list[str]:
        """Return the speakers who have at least ``min_clips`` clips."""
        return [name for name, own in self.clips.items() if len(own) >= max(min_clips, 1)]

    def pairs(self, pairing: Pairing, min_clips: int = 1) -> list[tuple[str, str]]:
        """Return every two speakers of ``pairing`` who have at least ``min_clips`` clips each."""
        return [
            (one, other)
            for one, other in combinations(self.speakers(min_clips), 2)
            if self._pairing(one, other) is pairing
        ]

    def others(self, speaker: str, pairing: Pairing) -> list[str]:
        """Return the speakers whose pairing with ``speaker`` is ``pairing``."""
        return [
            other
            for other in self.speakers(1)
            if other != speaker and self._pairing(speaker, other) is pairing
        ]

    def longer(self, duration_s: tuple[float, float]) -> CorpusVoices:
        """Return the corpus with the clips alone whose recordings last between two numbers of
        seconds."""
        least, most = duration_s
        return CorpusVoices(
            self.name,
            {
                name: [one for one in own if least <= one.duration_s <= most]
                for name, own in self.clips.items()
            },
        )

    def _pairing(self, one: str, other: str) -> Pairing:
        genders = [self.clips[name][0].clip.gender for name in (one, other)]
        if None in genders:
            return Pairing.UNKNOWN
        return Pairing.SAME if genders[0] == genders[1] else Pairing.OTHER


class VoiceEncoder:
    """Finds the voice in recordings as a :class:`~ugsd_sdk.captioner.Captioner` does: they are read
    in pieces, speech is found in them, and the drafter encodes it."""

    def __init__(self, drafter: Drafter, detector: SpeechDetector) -> None:
        """The caller loads and closes both."""
        self._drafter = drafter
        self._detector = detector

    def encode(self, recording: Float32) -> ClipVoice | None:
        """Return the voice in ``recording``, mono (n,) at 16 kHz; ``None`` if there is no speech.

        Raises :class:`AudioError`, :class:`ModelError`, or :class:`EvaluationError` for a drafter
        that uses no speaker profile.
        """
        pieces = iter(SpeechReader(read_pieces(recording, SAMPLE_RATE), self._detector))
        first = next(pieces, None)
        if first is None:
            return None
        voice = self._drafter.encode(chain([first], pieces)).voice
        if voice is None:
            raise EvaluationError("the drafter uses no speaker profile: name another --drafter")
        return voice

    def encode_clip(self, clip: Clip) -> SpokenClip | None:
        """Return ``clip`` with its voice; ``None`` if there is no speech.

        Raises as :meth:`encode`, and :class:`EvaluationError` for a drafter without voice vectors.
        """
        samples = read_samples(clip)
        voice = self.encode(samples)
        if voice is None:
            return None
        if voice.voice is None:
            raise EvaluationError(
                "the drafter makes no voice vectors, so it cannot tell speakers apart: name a "
                "--drafter whose folder holds voice.onnx, which ugsd-lab train writes"
            )
        return SpokenClip(clip, len(samples) / SAMPLE_RATE, voice, voice.voice)


def encode_corpora(
    clips: Sequence[Clip], encoder: VoiceEncoder, limit: int, progress: Progress
) -> list[CorpusVoices]:
    """Encode at most ``limit`` clips of each speaker, once each, and return them by corpus."""
    chosen: dict[str, dict[str, list[Clip]]] = {clip.corpus: {} for clip in clips}
    for index in in_recording_order(clips):
        own = chosen[clips[index].corpus].setdefault(clips[index].speaker, [])
        if len(own) < limit:
            own.append(clips[index])
    total = sum(len(own) for speakers in chosen.values() for own in speakers.values())
    done, corpora = 0, []
    for corpus, speakers in chosen.items():
        spoken: dict[str, list[SpokenClip]] = {}
        without_speech = 0
        for speaker, own in speakers.items():
            for clip in own:
                encoded = encoder.encode_clip(clip)
                if encoded is None:
                    without_speech += 1
                else:
                    spoken.setdefault(speaker, []).append(encoded)
                done += 1
                progress("encoding clips", done, total, corpus)
        corpora.append(CorpusVoices(corpus, spoken, without_speech))
    return corpora
