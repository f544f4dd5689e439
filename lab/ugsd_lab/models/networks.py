"""The starter pair's networks: two uses of one small causal decoder.

The drafter's decoder adds the emotion and the plan to every position; the verifier adds the states
that were disclosed to it, if any.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from ugsd_sdk.attributes.plan import PLAN_DIM

from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.prosody import Levels

__all__ = [
    "EMOTION_COUNT",
    "LEVEL_COUNT",
    "MAX_TOKENS",
    "STATE_DIM",
    "CaptionDecoder",
    "EmotionReader",
    "Reading",
    "VerifierModel",
]

MAX_TOKENS = 96
"""The most tokens in a caption, including the end token."""
EMOTION_COUNT, LEVEL_COUNT = len(EMOTIONS), len(fields(Levels))
STATE_DIM = 6
"""Numbers of a state: discriminant components of the audio embedding."""
_READERS = 2
"""Readers of the emotion, whose log-probabilities are averaged: together they are right more often
about speakers unlike those of the training."""
_EMBEDDING_NOISE = 0.5
"""Noise on audio embeddings in training, in units of their standard deviation."""
_VOICE_WIDTH = 16
"""Numbers that say how a voice is: high or low, male or female. They are no part of a state."""


class _Block(nn.Module):
    """Pre-norm causal attention and feed-forward; the KV cache is passed in and out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, past: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Take x (N, T, D), past (2, N, H, P, Dh), and mask (T, P + T), which is added to the
        scores."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, H, T, Dh)
        present = torch.stack([torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)])
        scores = query @ present[0].transpose(2, 3) / math.sqrt(width // self.heads) + mask
        mixed = (scores.softmax(-1) @ present[1]).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return x, present


class _Causal(nn.Module):
    """Token and position embeddings, blocks, tied output."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(MAX_TOKENS + 1, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions.weight, std=0.02)

    def empty_past(self, batch: int) -> Tensor:
        return torch.zeros(len(self.blocks), 2, batch, self.heads, 0, self.head_dim)

    def forward(self, tokens: Tensor, added: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (N, T), added (N, T or 1, D) and past (L, 2, N, H, P, Dh) to hidden (N, T, D)
        and present."""
        before, length = past.shape[4], tokens.shape[1]
        at = torch.arange(length, device=tokens.device) + before
        x = self.tokens(tokens) + self.positions(at) + added
        seen = torch.arange(before + length, device=tokens.device)[None] <= at[:, None]
        mask = torch.zeros(seen.shape).masked_fill(~seen, -1e9)
        present = []
        for block, layer_past in zip(self.blocks, past.unbind(0), strict=True):
            x, layer_present = block(x, layer_past, mask)
            present.append(layer_present)
        return self.norm(x), torch.stack(present)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.tokens.weight.T


class Reading(NamedTuple):
    """What a drafter reads of N clips, once per clip."""

    state: Tensor
    """(N, STATE_DIM) of norm 1: what a verifier may be sent."""
    emotion: Tensor
    """(N, _READERS, emotions) log-probabilities, by each of the readers."""
    strength: Tensor
    """(N,) log-odds that the emotion is strong."""
    levels: Tensor
    """(N, 3, LEVELS) log-probabilities of low, mid and high: read in training only."""
    femininity: Tensor
    """(N,) log-odds that the voice sounds female."""


class EmotionReader(nn.Module):
    """Reads the emotion from an audio embedding.

    It reads a clip's difference from the speaker profile alone, which holds for other speakers. The
    *state* is a linear map of the same difference, scaled to a norm of 1. It holds what was heard,
    and nothing of what the readers conclude. Perceived gender is separate from both, for the device
    alone.
    """

    def __init__(self, embedding_dim: int, *, embedding_dropout: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("scale", torch.ones(embedding_dim))
        self.register_buffer("population", torch.zeros(embedding_dim))
        self.register_buffer("projection", torch.zeros(embedding_dim, STATE_DIM))
        self.register_buffer("projected_mean", torch.zeros(STATE_DIM))
        self.register_buffer("knows_strength", torch.zeros(()))
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.readers = nn.ModuleList(
            nn.Sequential(nn.Linear(embedding_dim, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU())
            for _ in range(_READERS)
        )
        self.voice = nn.Linear(embedding_dim, _VOICE_WIDTH)
        self.emotion = nn.ModuleList(nn.Linear(128, EMOTION_COUNT) for _ in range(_READERS))
        self.strength = nn.Linear(_READERS * 128, 1)
        self.levels = nn.Linear(_READERS * 128 + _VOICE_WIDTH, 3 * LEVEL_COUNT)
        self.sounds_female = nn.Linear(_VOICE_WIDTH, 1)

    def forward(self, embedding: Tensor, profile: Tensor, profile_weight: Tensor) -> Reading:
        """Read embeddings (N, E) of speakers with profiles (N, E) of weight (N,) in [0, 1]."""
        own = self._own(embedding, profile, profile_weight)
        state = self._projected(own)
        hidden = [reader(self._scaled(own)) for reader in self.readers]
        voice = self.voice(self._scaled(embedding))
        emotion = torch.stack(
            [head(one).log_softmax(-1) for head, one in zip(self.emotion, hidden, strict=True)], 1
        )
        both = torch.cat(hidden, 1)
        strength = self.strength(both)[:, 0] * self.get_buffer("knows_strength")
        levels = self.levels(torch.cat([both, voice], 1)).view(len(own), 3, LEVEL_COUNT)
        return Reading(
            state, emotion, strength, levels.log_softmax(1), self.sounds_female(voice)[:, 0]
        )

    def state(self, embedding: Tensor, profile: Tensor, profile_weight: Tensor) -> Tensor:
        """Return the states (N, STATE_DIM) alone, from the same arguments."""
        return self._projected(self._own(embedding, profile, profile_weight))

    def _own(self, embedding: Tensor, profile: Tensor, profile_weight: Tensor) -> Tensor:
        return embedding - profile_weight[:, None] * (profile - self.get_buffer("population"))

    def _projected(self, own: Tensor) -> Tensor:
        state = own @ self.get_buffer("projection") - self.get_buffer("projected_mean")
        return state / _norm(state)

    def _scaled(self, embedding: Tensor) -> Tensor:
        z = (embedding - self.get_buffer("mean")) / self.get_buffer("scale")
        if self.training:
            z = z + _EMBEDDING_NOISE * torch.randn_like(z)
        return self.embedding_dropout(z)  # type: ignore[no-any-return]


class CaptionDecoder(nn.Module):
    """Words an emotion, given by its probabilities, and a plan."""

    def __init__(
        self, vocabulary: int, *, width: int = 128, layers: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        self.condition = nn.Linear(EMOTION_COUNT + PLAN_DIM, width)
        self.causal = _Causal(vocabulary, width, layers, heads)

    def forward(
        self, tokens: Tensor, emotion: Tensor, plan: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map tokens (N, T), log-probabilities (N, emotions) and plans (N, PLAN_DIM) to logits
        (N, T, V) and present."""
        condition = self.condition(torch.cat([emotion, plan], 1))
        hidden, present = self.causal(tokens, condition[:, None], past)
        return self.causal.logits(hidden), present


def _norm(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True).sqrt().clamp(min=1e-6)


class VerifierModel(nn.Module):
    """Maps tokens, and the states that were disclosed, to the next token.

    Its input has STATE_DIM columns for each projection of states that it reads; those of the
    projections that a state does not come from are 0.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        projections: int,
        width: int = 320,
        layers: int = 6,
        heads: int = 5,
    ) -> None:
        super().__init__()
        self.causal = _Causal(vocabulary, width, layers, heads)
        self.read_state = nn.Sequential(
            nn.Linear(projections * STATE_DIM, width),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(width, width),
        )
        self.no_state = nn.Parameter(torch.zeros(width))

    def forward(
        self, tokens: Tensor, states: Tensor, has_state: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map tokens (N, T), states (N, T, projections * STATE_DIM), has_state (N, T) in {0, 1} and
        past to logits and present."""
        known = has_state[..., None]
        added = known * self.read_state(states) + (1 - known) * self.no_state
        hidden, present = self.causal(tokens, added, past)
        return self.causal.logits(hidden), present
