"""What the device discloses, computed by the product's own code: the decoder, the policy, clip and
quantise.

This is the worst case: every caption escalates. There are two kinds of verifier. One continues to
the caption's end, as the bundled one does, and gets nothing more. The other wants to learn: it
accepts whatever it is sent and never continues, so the device sends every doubtful block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import clip, dequantise, quantise
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import Block, Disclosure, Verdict, encode
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished
from ugsd_sdk.decoding.policy import UncertaintyPolicy
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter import AudioEmbedding, DrafterInfo, DraftSession, Prediction
from ugsd_sdk.profile.speaker_profile import SpeakerProfile

__all__ = ["Disclosed", "EmbeddingDrafter", "ReplayedDraft", "disclosures_of", "draft_of"]

Float32 = NDArray[np.float32]
_CLIP_NORM = 1.0
"""The egress default."""


class EmbeddingDrafter(Protocol):
    """The parts of a drafter that work on audio embeddings which were computed before."""

    @property
    def info(self) -> DrafterInfo: ...

    def condition(self, unnormalised: Float32, profile: SpeakerProfile = ...) -> AudioEmbedding: ...

    def start(self, embedding: AudioEmbedding) -> DraftSession: ...

    def text(self, tokens: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class ReplayedDraft:
    """A caption that the drafter wrote on its own, and its predictions at each position."""

    tokens: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    """One for each token."""
    uncertainties: tuple[float, ...]


@dataclass(frozen=True)
class Disclosed:
    """What was disclosed of one clip, in all of its frames together."""

    tokens: tuple[int, ...]
    """In order; each position once."""
    states: Float32
    """(k, B) as the verifier reads them, by position; empty at disclosure level ``tokens``."""
    bytes: int
    """Size of the encoded blocks, before they are sealed and padded."""


def draft_of(
    drafter: EmbeddingDrafter, embedding: AudioEmbedding, predictor: RejectionPredictor
) -> ReplayedDraft:
    """Return the greedy draft of a clip."""
    session, info = drafter.start(embedding), drafter.info
    tokens: list[int] = []
    predictions: list[Prediction] = []
    while len(tokens) < info.max_tokens and (not tokens or tokens[-1] != info.eos):
        predictions.append(session.predict())
        tokens.append(int(np.argmax(predictions[-1].logits)))
        session.append(tokens[-1:])
    doubts = tuple(predictor(prediction.logits, embedding.ood_score) for prediction in predictions)
    return ReplayedDraft(tuple(tokens), tuple(predictions), doubts)


def disclosures_of(
    draft: ReplayedDraft,
    info: DrafterInfo,
    threshold: float,
    disclosures: Sequence[Disclosure],
    *,
    continues: bool = False,
) -> Mapping[Disclosure, Disclosed]:
    """Return what a draft discloses at each disclosure level, to a verifier that ``continues`` or
    not.

    Blocks escalate at the rejection predictor's ``threshold``; if it would let the whole caption
    pass, the most doubtful token escalates.
    """
    threshold = min(threshold, max(draft.uncertainties))
    return {
        disclosure: _combined(
            _escalations(draft, info, UncertaintyPolicy(threshold, disclosure), continues)
        )
        for disclosure in disclosures
    }


def _escalations(
    draft: ReplayedDraft, info: DrafterInfo, policy: UncertaintyPolicy, continues: bool
) -> list[Escalation]:
    doubts = {
        id(prediction.logits): doubt
        for prediction, doubt in zip(draft.predictions, draft.uncertainties, strict=True)
    }
    decoder = Decoder(
        _ReplayedSession(draft),
        eos=info.eos,
        max_tokens=info.max_tokens,
        ood_score=0.0,
        uncertainty=lambda logits, _: doubts[id(logits)],
        policy=policy,
        piece=str,  # the caption's text is not used here
    )
    sent = []
    while not isinstance(event := decoder.advance(), Finished):
        if isinstance(event, EscalationRequested):
            block = event.escalation
            sent.append(block)
            start = block.keep + len(block.prefix)
            end = start + len(block.tokens)
            decoder.receive_verdict(
                Verdict(
                    caption=0, start=start, accepted=len(block.tokens), correction=None,
                    continuation=draft.tokens[end:] if continues else (),
                )
            )  # fmt: skip
    return sent


def _combined(sent: Sequence[Escalation]) -> Disclosed:
    tokens: dict[int, int] = {}
    states: dict[int, Float32] = {}
    size = 0
    for escalation in sent:
        tokens |= dict(enumerate((*escalation.prefix, *escalation.tokens), escalation.keep))
        dim = escalation.states.shape[1]
        quantised = quantise(clip(escalation.states, _CLIP_NORM), _CLIP_NORM)
        states |= dict(zip(escalation.state_positions, dequantise(quantised, dim), strict=True))
        size += len(encode(_block(escalation, quantised)))
    dim = sent[0].states.shape[1] if sent else 0
    rows = [states[position] for position in sorted(states)]
    return Disclosed(
        tuple(tokens[position] for position in sorted(tokens)),
        np.stack(rows) if rows else np.zeros((0, dim), dtype=np.float32),
        size,
    )


def _block(escalation: Escalation, quantised: bytes) -> Block:
    return Block(
        caption=0,
        keep=escalation.keep,
        prefix=escalation.prefix,
        tokens=escalation.tokens,
        state_positions=escalation.state_positions,
        state_dim=escalation.states.shape[1] if quantised else 0,
        states=quantised,
    )


class _ReplayedSession:
    """A draft session that repeats a known draft."""

    def __init__(self, draft: ReplayedDraft) -> None:
        self._draft = draft
        self._tokens: list[int] = []

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        return self._draft.predictions[len(self._tokens)]

    def append(self, tokens: Sequence[int]) -> None:
        self._tokens.extend(tokens)

    def crop(self, length: int) -> None:
        del self._tokens[length:]
