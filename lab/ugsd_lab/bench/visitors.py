"""``ugsd-lab bench visitors``: captions of people who are not named, by how they are captioned.

The captioner, the egress with its ledger, the sealed session and the verifier are the product's
own, connected in memory. Only the audio encoder runs once per clip, because it does not depend on
the choice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter import ConditionedClip, Drafter, DrafterInfo, DraftSession
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.matching import ProfileMatch, match_profile
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.speech.reader import WholeRecording
from ugsd_sdk.speech.spans import MIN_SPEECH_S, SAMPLE_RATE
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector
from ugsd_server.verifier.acceptance import ContinuationRule, Typical
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.bench.spoken_clips import CorpusVoices, SpokenClip, VoiceEncoder, encode_corpora
from ugsd_lab.data.corpora import CORPORA, Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.evaluation.systems import in_memory, shipped_policy
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable
from ugsd_lab.training.visits import CHOICES, Choice, visits_of

__all__ = ["PlaceRow", "caption_visits", "captions_table"]

Float32 = NDArray[np.float32]

_NO_CAPS = BudgetLimits.without_caps()
_PATIENT = VerifierSettings(deadline_s=600, caption_deadline_s=600)
"""Long deadlines, so that a busy machine does not change captions."""
_PLACES = ("first", "second", "third", "later")


@dataclass(frozen=True)
class PlaceRow:
    """The captions of one corpus with one choice, by their place in the visit."""

    corpus: str
    choice: str
    visits: int
    emotion: tuple[float, ...]
    """Share of captions that name the right emotion: of the first, second, third and later ones."""
    sent: tuple[float, ...]
    """Share of captions of which a state was sent."""


def caption_visits(
    clips: Sequence[Clip],
    pair: Pair,
    progress: Progress,
    *,
    visits: int,
    choices: Sequence[Choice] = CHOICES,
) -> list[PlaceRow]:
    """Caption ``visits`` visits of each test speaker with each of ``choices``.

    Raises :class:`EvaluationError` without test speakers of the bundled pair's corpora.
    """
    known = [clip for clip in clips if clip.corpus in CORPORA and clip.emotion is not None]
    tested = [clip for clip in known if clip.split == "test"]
    if not tested:
        raise EvaluationError(
            f"found no test speakers of {', '.join(CORPORA)}: name their folder with --data"
        )
    drafter, detector = OnnxDrafter(pair.drafter), VoiceActivityDetector()
    drafter.load()
    detector.load()
    try:
        spoken = encode_corpora(tested, VoiceEncoder(drafter, detector), len(tested), progress)
        return list(_captioned(drafter, pair, spoken, choices, visits, progress))
    finally:
        detector.close()
        drafter.close()


class _EncodedBefore(Drafter):
    """A drafter whose clips were encoded before; it is given a placeholder for each of them."""

    _LARGEST = 2**20

    def __init__(self, drafter: OnnxDrafter) -> None:
        self._drafter = drafter
        self._voices: list[ClipVoice] = []

    def add(self, voice: ClipVoice) -> Float32:
        """Return the samples that stand for a clip with ``voice``."""
        self._voices.append(voice)
        samples = np.zeros(int(MIN_SPEECH_S * SAMPLE_RATE), dtype=np.float32)
        samples[0], samples[1] = len(self._voices) / self._LARGEST, 1
        return samples

    @property
    def info(self) -> DrafterInfo:
        return self._drafter.info

    def load(self) -> None:
        self._drafter.load()

    def close(self) -> None:
        """Do nothing: the next choice needs the drafter loaded."""

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        (samples,) = speech
        voice = self._voices[round(float(samples[0]) * self._LARGEST) - 1]
        match = match_profile(voice, profile)
        used = profile if match is ProfileMatch.MATCHED else EMPTY_PROFILE
        clip = self._drafter.condition(voice.embedding, used)
        return replace(clip, voice=voice, profile_match=match)

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession:
        return self._drafter.start(clip, emotion=emotion)

    def text(self, tokens: Sequence[int]) -> str:
        return self._drafter.text(tokens)

    def piece(self, token: int) -> str:
        return self._drafter.piece(token)


_Visit = Sequence[tuple[SpokenClip, Float32]]


def _captioned(
    drafter: OnnxDrafter,
    pair: Pair,
    corpora: Sequence[CorpusVoices],
    choices: Sequence[Choice],
    visits: int,
    progress: Progress,
) -> Iterator[PlaceRow]:
    encoded, key = _EncodedBefore(drafter), VerifierKey.generate()
    verifier = Verifier(
        OnnxScorer(pair.verifier), acceptance=Typical(), continuation=ContinuationRule()
    )
    verifier.load()
    predictor = RejectionPredictor.load(pair.drafter / "gate.json")
    by_corpus = {one.name: _visits(one, encoded, visits) for one in corpora}
    total, done = len(choices) * sum(map(len, by_corpus.values())), 0
    with tempfile.TemporaryDirectory() as home:
        for number, choice in enumerate(choices):
            captioner = Captioner(
                encoded,
                detector=WholeRecording(),
                verifier=in_memory(verifier, key),
                verifier_key=key.public.to_text(),
                config=Settings(
                    home=Path(home) / str(number),
                    limits=_NO_CAPS,
                    verifier=_PATIENT,
                    min_enrolment=choice.enrolment.min_clips,
                    min_enrolment_s=choice.enrolment.min_duration_s,
                ),
                uncertainty=predictor,
                policy=shipped_policy(predictor),
            )
            with captioner:
                captioner.wait_until_connected()
                for corpus, some in by_corpus.items():
                    places = _Places()
                    for visit in some:
                        _caption_visit(captioner, visit, choice, places)
                        done += 1
                        progress("captioning visits", done, total, corpus)
                    yield PlaceRow(corpus, choice.name, len(some), places.emotion(), places.sent())


def _visits(corpus: CorpusVoices, encoded: _EncodedBefore, count: int) -> list[_Visit]:
    rng = np.random.default_rng(0)
    placed = {
        speaker: [(one, encoded.add(one.voice)) for one in own]
        for speaker, own in corpus.clips.items()
    }
    return [visit for own in placed.values() for visit in visits_of(own, count, rng)]


class _Places:
    """Counts captions by their place in a visit."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, len(_PLACES)))

    def add(self, place: int, *, is_right: bool, is_sent: bool) -> None:
        self._counts[:, min(place, len(_PLACES) - 1)] += (1, is_right, is_sent)

    def emotion(self) -> tuple[float, ...]:
        return tuple((self._counts[1] / self._counts[0]).tolist())

    def sent(self) -> tuple[float, ...]:
        return tuple((self._counts[2] / self._counts[0]).tolist())


def _caption_visit(captioner: Captioner, visit: _Visit, choice: Choice, places: _Places) -> None:
    profile = Profile() if choice.has_profile else None
    for place, (spoken, samples) in enumerate(visit):
        caption = captioner.caption(samples, SAMPLE_RATE, profile=profile)
        emotion = spoken.clip.emotion
        assert emotion is not None, "clips without an emotion are left out"  # noqa: S101
        places.add(
            place,
            is_right=emotion_right(caption.text, emotion),
            is_sent=caption.usage.num_disclosed_states > 0,
        )


def captions_table(rows: Sequence[PlaceRow]) -> TextTable:
    """Return the table of the captions."""
    return TextTable(
        ("corpus", "choice", *_PLACES, "state sent, first", "second", "third", "later"),
        [
            (
                row.corpus,
                row.choice,
                *(f"{value:.2f}" for value in row.emotion),
                *(f"{value:.2f}" for value in row.sent),
            )
            for row in rows
        ],
        title="Emotion right by the caption's place in the visit, and share of which a state is "
        "sent",
        left=("corpus", "choice"),
    )
