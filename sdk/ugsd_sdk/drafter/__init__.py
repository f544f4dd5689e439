"""The drafter: the model on the device, with audio encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.profile.matching import ProfileMatch
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

__all__ = ["NOT_CHOSEN", "ConditionedClip", "DraftSession", "Drafter", "DrafterInfo", "Prediction"]

Float32 = NDArray[np.float32]
NOT_CHOSEN = np.float32(-1e4)
"""Added to the logits of tokens that may not be taken."""


@dataclass(frozen=True)
class DrafterInfo:
    """Description of a drafter."""

    name: str
    licence: str
    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 of the state projection."""
    eos: int
    state_dim: int
    max_tokens: int
    sample_rate: int
    audio_encoder: bytes = b""
    """SHA-256 of the audio encoder. Speaker profiles of another encoder are not comparable."""
    voice_encoder: bytes = b""
    """SHA-256 of what makes voice vectors; empty if the drafter makes none."""
    gendered_phrases: tuple[GenderedPhrase, ...] = ()
    """How the device words gender, which tokens never contain; empty to stay neutral."""
    slot_table: SlotTable | None = None
    """Which slot each token belongs to. Without it a caption has no slots, and a verifier may be
    asked about any of its tokens."""

    @property
    def profile_encoder(self) -> bytes:
        """What identifies the vectors in a speaker profile; empty if nothing does."""
        return self.audio_encoder + self.voice_encoder


@dataclass(frozen=True)
class ConditionedClip:
    """What a drafter knows of one clip, given the speaker profile."""

    decoder_input: Float32
    """(D,) what the decoder is given of the clip. It is never sent."""
    ood_score: float
    """Distance of the clip from the training data: about 1 in-domain, larger out-of-domain."""
    state: Float32 = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """(B,) the clip's state, norm <= 1, which is that of every position. It may be sent, through
    the egress only. Empty for a drafter that makes another state for each position."""
    voice: ClipVoice | None = None
    """What the speaker profile stores of the clip. ``None`` for a drafter that uses no profile; its
    states need no enrolment (``Settings.min_enrolment``), and its captions name no gender."""
    emotion: Mapping[str, float] | None = None
    """The calibrated probability of each emotion; ``None`` for a drafter that reads none."""
    strong: float | None = None
    """Probability that the emotion is strong; ``None`` if the drafter cannot tell."""
    plan: CaptionPlan | None = None
    """What the caption shall word besides the emotion. The captioner sets it."""
    profile_match: ProfileMatch = ProfileMatch.NO_PROFILE
    """How the clip relates to the profile that was given. Unless it matched, nothing here depends
    on the profile."""


@dataclass(frozen=True)
class Prediction:
    """The drafter's prediction for the next position."""

    logits: Float32
    """(V,)"""
    state: Float32
    """(B,) the state of the position, norm <= 1."""
    is_choice: NDArray[np.bool_] | None = None
    """(V,) the tokens that a draft may take; ``None`` for all. The uncertainty is that of all
    tokens: a drafter that settles on one emotion may still doubt it."""

    @property
    def choices(self) -> Float32:
        """The logits (V,) from which a draft takes its token; of other tokens they are lowered."""
        if self.is_choice is None:
            return self.logits
        return np.where(self.is_choice, self.logits, self.logits + NOT_CHOSEN)


class DraftSession(Protocol):
    """One caption that is being drafted: a token sequence and its KV cache."""

    @property
    def tokens(self) -> Sequence[int]:
        """The sequence so far, without the start token."""

    def predict(self) -> Prediction:
        """Return the prediction for position ``len(tokens)``. The model runs only if it has not
        read these tokens yet. Not called with ``info.max_tokens`` tokens."""

    def append(self, tokens: Sequence[int]) -> None:
        """Append tokens, which the model reads in one step; at most ``info.max_tokens`` in all,
        with the end marker."""

    def crop(self, length: int) -> None:
        """Keep the first ``length`` tokens; ``predict`` then predicts position ``length``."""


class Drafter(Protocol):
    """A model that drafts captions of clips. Threads call it at once, each with its own clip."""

    @property
    def info(self) -> DrafterInfo:
        """The drafter's description, available after :meth:`load`."""

    def load(self) -> None:
        """Read the weights; the constructor does not."""

    def close(self) -> None: ...

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        """Return what the drafter knows of ``speech``: one or more consecutive pieces, each mono
        (n,) at ``info.sample_rate`` in [-1, 1] and of at most 30 s.

        ``profile`` is used only if the clip belongs to it, as
        :func:`~ugsd_sdk.profile.matching.match_profile` decides. The result depends on nothing
        else, such as clips that were encoded before.
        """

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession:
        """Return a new draft. If the drafter has slots and ``emotion`` is given, one of
        :data:`~ugsd_sdk.attributes.slots.EMOTIONS`, the caption names it, whatever was heard."""

    def text(self, tokens: Sequence[int]) -> str:
        """Return the caption's neutral text, without special tokens."""

    def piece(self, token: int) -> str:
        """Return one token as text, including a leading space; empty for special tokens."""
