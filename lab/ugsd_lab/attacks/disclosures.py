"""What the device discloses, computed by the product's own code: the decoder, its questions, and
the egress's clipping, noise and quantisation.

This is the worst case: every question is asked. A caption has one, about its emotion; the rest of
the draft is committed as it is, whatever a verifier answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import (
    QUANTISATION_STEPS,
    clip,
    dequantise,
    exponent_of,
    noised,
    quantise,
)
from ugsd_privacy.dp.sampler import RoundedGaussian
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Disclosure, Verdict
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.decoding.repetition import greedy_token
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo, DraftSession, Prediction
from ugsd_sdk.profile.speaker_profile import SpeakerProfile
from ugsd_sdk.settings.verification import Verification

__all__ = [
    "Disclosed",
    "EmbeddingDrafter",
    "ReplayedDraft",
    "StateEncoder",
    "disclosed_of",
    "draft_of",
]

Float32 = NDArray[np.float32]
_CLIP_NORM = 1.0
"""The egress default."""
_IMPOSSIBLE = np.float32(-1e4)


class EmbeddingDrafter(Protocol):
    """The parts of a drafter that work on audio embeddings which were computed before."""

    @property
    def info(self) -> DrafterInfo: ...

    def condition(
        self, unnormalised: Float32, profile: SpeakerProfile = ...
    ) -> ConditionedClip: ...

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession: ...

    def text(self, tokens: Sequence[int]) -> str: ...


class StateEncoder:
    """States as a verifier reads them, after the egress has encoded them with noise of ``sigma``
    clip norms, or none."""

    def __init__(self, sigma: float | None = None, *, seed: int = 0) -> None:
        self.sigma = sigma
        self.rng = np.random.default_rng(seed)
        """Draws the noise, and the values that are sent with their draft weights."""
        self._exponent = exponent_of(sigma)
        self._noise = None
        if sigma is not None:
            self._noise = RoundedGaussian(Fraction(sigma) * QUANTISATION_STEPS, self.rng.bytes)

    def __call__(self, states: Float32) -> Float32:
        """Map (k, B) states as the drafter computes them to (k, B) as they are read."""
        clipped = clip(states, _CLIP_NORM)
        if self._noise is None:
            return dequantise(quantise(clipped, _CLIP_NORM), states.shape[1])
        encoded = noised(clipped, _CLIP_NORM, self._noise, self._exponent)
        return dequantise(encoded, states.shape[1], self._exponent)


@dataclass(frozen=True)
class ReplayedDraft:
    """The beginning of a caption that the drafter wrote on its own, up to the end of what a
    verifier may be asked about."""

    tokens: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    """One for each token."""


@dataclass(frozen=True)
class Disclosed:
    """What was disclosed of one clip, in all of its questions together."""

    tokens: tuple[int, ...]
    """In order; each position once."""
    states: Float32
    """(k, B) as the verifier reads them, by position; empty at disclosure level ``tokens``."""
    draft_weights: bytes = b""
    """Weights of the asked slot's values; empty unless the disclosure level sends them."""


def draft_of(drafter: EmbeddingDrafter, conditioned: ConditionedClip) -> ReplayedDraft:
    """Return the beginning of a clip's draft; the whole one if the drafter has no slots."""
    session, info = drafter.start(conditioned), drafter.info
    tokens: list[int] = []
    predictions: list[Prediction] = []
    while len(tokens) < info.max_tokens and (not tokens or _may_be_asked(tokens[-1], info)):
        predictions.append(session.predict())
        tokens.append(greedy_token(predictions[-1].choices, tokens, eos=info.eos))
        session.append(tokens[-1:])
    return ReplayedDraft(tuple(tokens), tuple(predictions))


def _may_be_asked(token: int, info: DrafterInfo) -> bool:
    if info.slot_table is None:
        return token != info.eos
    return info.slot_table.slots[token] is Slot.EMOTION


def disclosed_of(
    draft: ReplayedDraft, info: DrafterInfo, disclosure: Disclosure, encode: StateEncoder
) -> Disclosed:
    """Return what is disclosed of a draft whose every question is asked."""
    sent = _escalations(draft, info, disclosure, encode.rng)
    tokens: dict[int, int] = {}
    states: dict[int, Float32] = {}
    for escalation in sent:
        tokens |= dict(enumerate((*escalation.prefix, *escalation.tokens), escalation.keep))
        if escalation.state_positions:
            read = encode(escalation.states)
            states |= dict(zip(escalation.state_positions, read, strict=True))
    rows = [states[position] for position in sorted(states)]
    return Disclosed(
        tuple(tokens[position] for position in sorted(tokens)),
        np.stack(rows) if rows else np.zeros((0, info.state_dim), dtype=np.float32),
        b"".join(escalation.draft_weights for escalation in sent),
    )


def _escalations(
    draft: ReplayedDraft, info: DrafterInfo, disclosure: Disclosure, rng: np.random.Generator
) -> list[Escalation]:
    """Return the questions about a draft, each of which is accepted. Weights are sent if the device
    draws the value of the question from them, for speculative verification."""
    draws = disclosure is Disclosure.DISTRIBUTIONS
    rules = BlockRules(
        info.slot_table,
        verification=Verification.SPECULATIVE if draws else Verification.VERIFIER,
        random_below=lambda end: int(rng.integers(end)),
    )
    decoder = Decoder(
        lambda _: _ReplayedSession(draft, info.eos),
        eos=info.eos,
        max_tokens=info.max_tokens,
        ood_score=0.0,
        uncertainty=lambda *_: 1.0,
        policy=AlwaysEscalate(disclosure),
        piece=str,  # the caption's text is not used here
        rules=rules,
    )
    sent = []
    while not isinstance(event := decoder.advance(), Finished):
        if isinstance(event, EscalationRequested):
            block = event.escalation
            sent.append(block)
            start = block.keep + len(block.prefix)
            accepted = Verdict(caption=0, start=start, accepted=len(block.tokens))
            decoder.receive_verdict(accepted)
    return sent


class _ReplayedSession:
    """A draft session that repeats a known draft, and then ends."""

    def __init__(self, draft: ReplayedDraft, eos: int) -> None:
        self._draft, self._eos = draft, eos
        self._tokens: list[int] = []

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        known = self._draft.predictions
        if len(self._tokens) < len(known):
            return known[len(self._tokens)]
        logits = np.full_like(known[-1].logits, _IMPOSSIBLE)
        logits[self._eos] = 0
        return Prediction(logits, known[-1].state)

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens.extend(tokens)

    def crop(self, length: int) -> None:
        del self._tokens[length:]
