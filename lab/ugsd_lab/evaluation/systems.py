"""Runs a system over clips.

A system is run end to end: the SDK's captioner, the egress with its durable ledger, the sealed
session and the verifier's session, connected in memory so that times do not include a network. Only
the audio encoder, which takes more time than all the rest and is the same for every system, runs
once per clip: its measured time is added to the latency of each system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.policy import GainPolicy, Policy, UncertaintyPolicy
from ugsd_sdk.decoding.uncertainty import RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import ConditionedClip, Drafter, DrafterInfo, DraftSession
from ugsd_sdk.drafter.gender_phrases import gender_from, with_gender
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.prosody.recording_quality import RecordingNote
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.settings.tables import NoiseSettings
from ugsd_sdk.settings.verification import BlockUnit, Continuation
from ugsd_sdk.speech.reader import WholeRecording
from ugsd_sdk.speech.spans import MIN_SPEECH_S
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_server.session import Reply, VerifierSession, Work
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, Typical
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.data.speech import measure_prosody
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.training.profiles import MIN_ENROLMENT, clip_embedding, running_profiles
from ugsd_lab.training.verifier_decoding import (
    decode_with_verifier,
    is_rejected,
    projection_index,
)

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["EvaluationHarness", "Stage", "System", "SystemOutput", "in_memory", "shipped_policy"]

_NO_CAPS = BudgetLimits.without_caps()
_PATIENT = VerifierSettings(deadline_s=600, caption_deadline_s=600)
"""Long deadlines, so that a busy machine does not change a system's captions."""


@dataclass(frozen=True)
class System:
    """A way of captioning that results compare."""

    name: str
    policy: Callable[[], Policy] | None
    """Makes the policy of one run; ``None``: there is no verifier."""
    uncertainty: Uncertainty | None = None
    """``None``: the rejection predictor that comes with the drafter."""
    acceptance: Acceptance = field(default_factory=Typical)
    continuation_rule: ContinuationRule = field(default_factory=ContinuationRule)
    """How the verifier goes on, as far as the device lets it."""
    block_unit: BlockUnit = BlockUnit.SLOT
    """What one block of the device is."""
    continuation: Continuation | None = None
    """How far the device lets the verifier go on; ``None`` for the default of ``block_unit``."""


@dataclass(frozen=True)
class SystemOutput:
    """A system's caption of a clip."""

    text: str
    total_ms: float = float("nan")
    """Time from the clip in a file to the final caption, the audio encoder included."""
    caption: Caption | None = None
    """The captioner's result; ``None`` if the captioner was not used."""
    tokens: tuple[int, ...] = ()
    """The token ids, the end marker included; empty if the captioner was not used."""

    @property
    def question(self) -> tuple[int, ...]:
        """The tokens up to the one that states the emotion, if a block is a slot's clause and
        the draft was kept; empty if no verifier decides a token."""
        drafted = [] if self.caption is None else self.caption.tokens
        ends = [end for end, token in enumerate(drafted, 1) if token.uncertainty is not None]
        return self.tokens[: ends[0]] if ends else ()

    @property
    def uncertainty(self) -> float:
        """The largest uncertainty of the drafted tokens; 0 if no verifier decides one."""
        tokens = () if self.caption is None else self.caption.tokens
        return max((token.uncertainty or 0.0 for token in tokens), default=0.0)


def shipped_policy(predictor: RejectionPredictor) -> Policy:
    """Return the policy of a captioner whose settings name none."""
    return GainPolicy(UncertaintyPolicy(predictor.threshold))


class Stage:
    """Counts up to a known total and reports the progress."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress, self._name, self._total = progress, name, total
        self._done = 0

    def tick(self, note: str = "") -> None:
        """Count one more and report it."""
        self._done += 1
        self._progress(self._name, self._done, self._total, note)


def in_memory(verifier: Verifier, key: VerifierKey) -> Callable[[], MemoryTransport]:
    """Return a function that connects to ``verifier`` in this process."""

    def connect() -> MemoryTransport:
        session = VerifierSession((key,), verifier)

        def answer(frame: bytes) -> bytes | None:
            step = session.receive(frame)
            if isinstance(step, Work):
                step = session.finish(step.run())
            return step.frame if isinstance(step, Reply) else None

        return MemoryTransport(answer)

    return connect


class _CachedMeter:
    """A meter that looks up what was measured before."""

    def __init__(self, find: Callable[[NDArray[np.float32]], Prosody | None]) -> None:
        self._find = find
        self._found: Prosody | None = None

    def add(
        self, piece: NDArray[np.float32], spans: Sequence[tuple[int, int]], start: int = 0
    ) -> None:
        self._found = self._find(piece)

    def result(self) -> Prosody | None:
        return self._found

    def notes(self) -> tuple[RecordingNote, ...]:
        return ()


class CachedDrafter(Drafter):
    """A drafter that has encoded every clip beforehand, with the speaker's profile at that point.

    It is then given a placeholder instead of the clip: a tenth of a second that encodes the clip's
    number, see :meth:`placeholder_for`.
    """

    _LARGEST = 2**20

    def __init__(self, drafter: OnnxDrafter) -> None:
        self._drafter = drafter
        self._conditioned: list[ConditionedClip] = []
        self._prosody: list[Prosody | None] = []
        self._number: dict[str, int] = {}
        self._encoding_ms: list[float] = []
        self._session: DraftSession | None = None

    @property
    def info(self) -> DrafterInfo:
        return self._drafter.info

    def load(self) -> None:
        self._drafter.load()

    def close(self) -> None:
        """Do nothing: the next system needs the drafter loaded."""

    def encode_clips(
        self, clips: Sequence[Clip], stage: Stage, *, profiles: bool = True
    ) -> list[Clip]:
        """Read and encode the clips, with or without the speakers' ``profiles``, and store the
        embeddings and the time taken.

        Returns the clips whose speaker was enrolled by then; the others only served the enrolment.
        """
        embeddings: list[NDArray[np.float32]] = []
        for clip in clips:
            started_s = perf_counter()
            embedding = clip_embedding(self._drafter, clip)
            self._prosody.append(measure_prosody(read_samples(clip)))
            self._encoding_ms.append(1000 * (perf_counter() - started_s))
            self._number[clip.id] = len(self._conditioned) + len(embeddings)
            embeddings.append(embedding)
            stage.tick()
        running = running_profiles(clips, embeddings)
        used = running if profiles else [EMPTY_PROFILE] * len(clips)
        self._conditioned += map(self._drafter.condition, embeddings, used)
        pairs = zip(clips, running, strict=True)
        return [clip for clip, profile in pairs if profile.count >= MIN_ENROLMENT]

    def conditioned(self, clip: Clip) -> ConditionedClip:
        """Return what was stored of ``clip``."""
        return self._conditioned[self._number[clip.id]]

    def encoding_ms(self, clip: Clip) -> float:
        """Return how long reading and encoding ``clip`` took."""
        return self._encoding_ms[self._number[clip.id]]

    def placeholder_for(self, clip: Clip) -> NDArray[np.float32]:
        """Return samples that stand for ``clip``."""
        samples = np.zeros(int(MIN_SPEECH_S * self.info.sample_rate), dtype=np.float32)
        samples[0], samples[1] = (self._number[clip.id] + 1) / self._LARGEST, 1
        return samples

    def encode(
        self, speech: Iterable[NDArray[np.float32]], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        (samples,) = speech
        return self._conditioned[self._number_in(samples)]

    def meter(self) -> _CachedMeter:
        """Return what looks up the prosody of the clip that a placeholder stands for."""
        return _CachedMeter(lambda samples: self._prosody[self._number_in(samples)])

    def _number_in(self, placeholder: NDArray[np.float32]) -> int:
        return round(float(placeholder[0]) * self._LARGEST) - 1

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession:
        self._session = self._drafter.start(clip, emotion=emotion)
        return self._session

    def last_tokens(self) -> tuple[int, ...]:
        """Return the tokens of the caption that was started last, the end marker included. Call it
        when the caption is complete: the session then holds exactly the final tokens."""
        return () if self._session is None else tuple(self._session.tokens)

    def wording(self, clip: Clip) -> tuple[int, ...]:
        """Return the drafted tokens of a caption of ``clip`` before the one that states the
        emotion; none if the drafter has no slots."""
        session, rules = (
            self._drafter.start(self.conditioned(clip)),
            BlockRules(self.info.slot_table),
        )
        while len(session.tokens) < self.info.max_tokens:
            token = int(session.predict().choices.argmax())
            if rules.is_judged(token, session.tokens) or token == self.info.eos:
                break
            session.append([token])
        return tuple(session.tokens)

    def text(self, tokens: Sequence[int]) -> str:
        return self._drafter.text(tokens)

    def worded(self, clip: Clip, tokens: Sequence[int]) -> str:
        """Return the text of a caption of ``clip``, with gender worded as on the device."""
        voice = self.conditioned(clip).voice
        gender = gender_from(None if voice is None else voice.femininity)
        return "".join(with_gender([self.text(tokens)], gender, self.info.gendered_phrases))

    def piece(self, token: int) -> str:
        return self._drafter.piece(token)


class EvaluationHarness:
    """A pair of models that is loaded once and runs systems one after another."""

    def __init__(self, pair: Pair, home: Path, *, sigma: float | None = None) -> None:
        """``home`` is an empty folder for the home folders of the runs; ``sigma`` is the noise on
        states, in clip norms."""
        self._noise = None if sigma is None else NoiseSettings(sigma=sigma)
        drafter, self._scorer = OnnxDrafter(pair.drafter), OnnxScorer(pair.verifier)
        self.drafter = CachedDrafter(drafter)
        self.drafter.load()
        self.rejection_predictor = RejectionPredictor.load(pair.drafter / "gate.json")
        self._engines: dict[tuple[Acceptance, ContinuationRule], Verifier] = {}
        self._scorer.load()
        self._projection = projection_index(self.drafter.info, self._scorer.info)
        self._key = VerifierKey.generate()
        self._homes = (home / str(number) for number in count())

    def engine(self, acceptance: Acceptance, continuation_rule: ContinuationRule) -> Verifier:
        """Return the verifier with an acceptance rule and a continuation."""
        rules = (acceptance, continuation_rule)
        if rules not in self._engines:
            engine = Verifier(self._scorer, acceptance=acceptance, continuation=continuation_rule)
            engine.load()
            self._engines[rules] = engine
        return self._engines[rules]

    def run(self, system: System, clips: Sequence[Clip], stage: Stage) -> dict[str, SystemOutput]:
        """Return the system's output for each clip, by the clip's id."""
        connect = None
        if system.policy is not None:
            connect = in_memory(self.engine(system.acceptance, system.continuation_rule), self._key)
        captioner = Captioner(
            self.drafter,
            detector=WholeRecording(),
            meter=self.drafter.meter,
            verifier=connect,
            verifier_key=self._key.public.to_text(),
            uncertainty=system.uncertainty or self.rejection_predictor,
            policy=None if system.policy is None else system.policy(),
            config=Settings(
                home=next(self._homes),
                limits=_NO_CAPS,
                verifier=_PATIENT,
                min_enrolment=0,
                gender=True,
                block_unit=system.block_unit,
                continuation=system.continuation,
                noise=self._noise,
            ),
        )
        rate = self.drafter.info.sample_rate
        outputs: dict[str, SystemOutput] = {}
        with captioner:
            captioner.wait_until_connected()
            for clip in clips:
                caption = captioner.caption(self.drafter.placeholder_for(clip), rate)
                own_ms = caption.latency_ms.total - caption.latency_ms.load
                total_ms = self.drafter.encoding_ms(clip) + own_ms
                outputs[clip.id] = SystemOutput(
                    caption.text, total_ms, caption, self.drafter.last_tokens()
                )
                stage.tick(system.name)
        return outputs

    def verifier_only(
        self, clips: Sequence[Clip], name: str, stage: Stage
    ) -> dict[str, SystemOutput]:
        """Return the verifier's own first clause for each clip, decoded greedily from the state
        after the drafter's wording."""
        outputs: dict[str, SystemOutput] = {}
        for clip in clips:
            started_s = perf_counter()
            wording = self.drafter.wording(clip)
            tokens = decode_with_verifier(
                self._scorer, self._state(clip), self._projection, wording
            )
            decoding_ms = 1000 * (perf_counter() - started_s)
            total_ms = self.drafter.encoding_ms(clip) + decoding_ms
            outputs[clip.id] = SystemOutput(self.drafter.worded(clip, tokens), total_ms)
            stage.tick(name)
        return outputs

    def is_rejected(self, clip: Clip, question: Sequence[int]) -> bool:
        """Return whether the verifier rejects the emotion that the tokens of a ``question`` about
        ``clip`` state, given the state as it is received."""
        judge = self.engine(Typical(), ContinuationRule())
        return is_rejected(judge, question, self._state(clip), self._projection)

    def _state(self, clip: Clip) -> NDArray[np.float32]:
        return self.drafter.start(self.drafter.conditioned(clip)).predict().state
