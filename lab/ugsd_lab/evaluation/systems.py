"""One way of decoding, run over clips.

An arm goes the whole way: the SDK's captioner, the door with its durable ledger, the sealed session
and the verifier's session, joined in memory so that no network blurs the times. Only listening,
which costs more than all the rest and is the same for every arm, is done once per clip: its
measured time is added to the latency of each arm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.mechanism import clip as clipped
from ugsd_privacy.dp.mechanism import dequantise, quantise
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.audio.samples import MIN_DURATION_S, read_clip
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import Policy
from ugsd_sdk.decoding.uncertainty import RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import AudioEmbedding, Drafter, DrafterInfo, DraftSession
from ugsd_sdk.drafter.gender_phrases import with_gender
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_server.session import Reply, VerifierSession, Work
from ugsd_server.verifier.acceptance import Acceptance, Continuation, Typical
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.training.profiles import MIN_ENROLMENT, running_profiles
from ugsd_lab.training.verifier_decoding import decode_with_verifier, rejections

if TYPE_CHECKING:
    from ugsd_lab.models.embeddings import Progress

__all__ = ["EvaluationHarness", "Stage", "System", "SystemOutput", "in_memory"]

_NO_CAPS = BudgetLimits.without_caps()
_PATIENT = VerifierSettings(deadline_s=600, caption_deadline_s=600)
"""A busy machine must not change what an arm says."""


@dataclass(frozen=True)
class System:
    """A way of decoding."""

    name: str
    policy: Callable[[], Policy] | None
    """Makes the policy of one run; ``None`` has no verifier."""
    uncertainty: Uncertainty | None = None
    """``None`` takes the gate that comes with the drafter."""
    acceptance: Acceptance = field(default_factory=Typical)
    continuation: Continuation = field(default_factory=Continuation)


@dataclass(frozen=True)
class SystemOutput:
    """What an arm said of a clip."""

    text: str
    total_ms: float = float("nan")
    """Clip in a file to final caption, listening included."""
    caption: Caption | None = None
    """Where it went through the captioner."""
    tokens: tuple[int, ...] = ()
    """Its ids, the end marker included, where it went through the captioner."""


class Stage:
    """Counts towards a known total and tells how far it is."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress, self._name, self._total = progress, name, total
        self._done = 0

    def tick(self, note: str = "") -> None:
        """One more is done."""
        self._done += 1
        self._progress(self._name, self._done, self._total, note)


def in_memory(verifier: Verifier, key: VerifierKey) -> Callable[[], MemoryTransport]:
    """Transports to a verifier's session in this process."""

    def connect() -> MemoryTransport:
        session = VerifierSession((key,), verifier)

        def answer(frame: bytes) -> bytes | None:
            step = session.receive(frame)
            if isinstance(step, Work):
                step = session.finish(step.run())
            return step.frame if isinstance(step, Reply) else None

        return MemoryTransport(answer)

    return connect


class CachedDrafter(Drafter):
    """A drafter whose ears have already heard every clip, each speaker's after their earlier ones.

    What it is then given to hear is a :meth:`ticket`: a tenth of a second that names the clip.
    """

    _LARGEST = 2**20

    def __init__(self, drafter: OnnxDrafter) -> None:
        self._drafter = drafter
        self._embeddings: list[AudioEmbedding] = []
        self._number: dict[str, int] = {}
        self._encoding_ms: list[float] = []
        self._session: DraftSession | None = None

    @property
    def info(self) -> DrafterInfo:
        return self._drafter.info

    def load(self) -> None:
        self._drafter.load()

    def close(self) -> None:
        """Stays loaded: the next arm needs it."""

    def encode_clips(self, clips: Sequence[Clip], stage: Stage) -> list[Clip]:
        """Read and encode the clips, and remember what was heard and how long it took. Returns
        those of which the device was acquainted with the speaker; the others only led to that."""
        every: list[NDArray[np.float32]] = []
        for clip in clips:
            started_s = perf_counter()
            samples = read_clip(clip.path, target_rate=self.info.sample_rate)
            heard = self._drafter.encode(samples).unnormalised
            assert heard is not None, "an ONNX drafter always says"  # noqa: S101
            self._encoding_ms.append(1000 * (perf_counter() - started_s))
            self._number[clip.id] = len(self._embeddings) + len(every)
            every.append(heard)
            stage.tick()
        profiles = running_profiles(clips, every)
        self._embeddings += map(self._drafter.condition, every, profiles)
        pairs = zip(clips, profiles, strict=True)
        return [clip for clip, profile in pairs if profile.count >= MIN_ENROLMENT]

    def embedding(self, clip: Clip) -> AudioEmbedding:
        """What was heard of ``clip``."""
        return self._embeddings[self._number[clip.id]]

    def encoding_ms(self, clip: Clip) -> float:
        """How long reading and encoding ``clip`` took."""
        return self._encoding_ms[self._number[clip.id]]

    def placeholder_for(self, clip: Clip) -> NDArray[np.float32]:
        """Samples that stand for ``clip``."""
        samples = np.zeros(int(MIN_DURATION_S * self.info.sample_rate), dtype=np.float32)
        samples[0], samples[1] = (self._number[clip.id] + 1) / self._LARGEST, 1
        return samples

    def encode(
        self, samples: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        return self._embeddings[round(float(samples[0]) * self._LARGEST) - 1]

    def start(self, embedding: AudioEmbedding) -> DraftSession:
        self._session = self._drafter.start(embedding)
        return self._session

    def last_tokens(self) -> tuple[int, ...]:
        """All tokens of the caption that was begun last, the end marker included, once it is done:
        a session then holds what was committed and nothing more."""
        return () if self._session is None else tuple(self._session.tokens)

    def text(self, tokens: Sequence[int]) -> str:
        return self._drafter.text(tokens)

    def worded(self, clip: Clip, tokens: Sequence[int]) -> str:
        """The text of a caption of ``clip``, gender worded as the device hears it."""
        pieces = [self.text(tokens)]
        return "".join(with_gender(pieces, self.embedding(clip).gender, self.info.gendered_phrases))

    def piece(self, token: int) -> str:
        return self._drafter.piece(token)


class EvaluationHarness:
    """A pair of models, loaded once, on which arms are run one after another."""

    def __init__(self, pair: Pair, home: Path) -> None:
        """``home`` is an empty folder for the ledgers."""
        drafter, self._scorer = OnnxDrafter(pair.drafter), OnnxScorer(pair.verifier)
        self.drafter = CachedDrafter(drafter)
        self.drafter.load()
        self.rejection_predictor = RejectionPredictor.load(pair.drafter / "gate.json")
        self._engines: dict[tuple[Acceptance, Continuation], Verifier] = {}
        self._scorer.load()
        self._key = VerifierKey.generate()
        self._homes = (home / str(number) for number in count())

    def engine(self, acceptance: Acceptance, continuation: Continuation) -> Verifier:
        """The verifier under an acceptance rule."""
        rules = (acceptance, continuation)
        if rules not in self._engines:
            engine = Verifier(self._scorer, acceptance=acceptance, continuation=continuation)
            engine.load()
            self._engines[rules] = engine
        return self._engines[rules]

    def run(self, arm: System, clips: Sequence[Clip], stage: Stage) -> dict[str, SystemOutput]:
        """What the arm says of each clip, by the clip's id."""
        connect = None
        if arm.policy is not None:
            connect = in_memory(self.engine(arm.acceptance, arm.continuation), self._key)
        captioner = Captioner(
            self.drafter,
            verifier=connect,
            verifier_key=self._key.public.to_text(),
            uncertainty=arm.uncertainty or self.rejection_predictor,
            policy=None if arm.policy is None else arm.policy(),
            config=Settings(
                home=next(self._homes), limits=_NO_CAPS, verifier=_PATIENT, min_enrolment=0
            ),
        )
        rate = self.drafter.info.sample_rate
        said: dict[str, SystemOutput] = {}
        with captioner:
            captioner.wait_until_connected()
            for clip in clips:
                caption = captioner.caption(self.drafter.placeholder_for(clip), rate)
                own_ms = caption.latency_ms.total - caption.latency_ms.load
                total_ms = self.drafter.encoding_ms(clip) + own_ms
                said[clip.id] = SystemOutput(
                    caption.text, total_ms, caption, self.drafter.last_tokens()
                )
                stage.tick(arm.name)
        return said

    def verifier_only(
        self, clips: Sequence[Clip], name: str, stage: Stage
    ) -> dict[str, SystemOutput]:
        """What the verifier itself says of each clip, decoding greedily from the summary state."""
        scorer, said = self._scorer, dict[str, SystemOutput]()
        for clip in clips:
            started_s = perf_counter()
            summary = self.drafter.start(self.drafter.embedding(clip)).predict().state
            tokens = decode_with_verifier(scorer, summary)
            decoding_ms = 1000 * (perf_counter() - started_s)
            total_ms = self.drafter.encoding_ms(clip) + decoding_ms
            said[clip.id] = SystemOutput(self.drafter.worded(clip, tokens), total_ms)
            stage.tick(name)
        return said

    def rejected(self, clip: Clip, tokens: Sequence[int]) -> NDArray[np.bool_]:
        """(T,) which of the tokens of a caption of ``clip`` the verifier rejects, given the summary
        state as it arrives: its strongest opinion that one state buys."""
        summary = self.drafter.start(self.drafter.embedding(clip)).predict().state
        arrived = dequantise(quantise(clipped(summary[None], 1.0), 1.0), len(summary))[0]
        return rejections(self._scorer, arrived, tokens, Typical())
