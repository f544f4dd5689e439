"""The starter pair's networks: one small causal decoder, read twice.

The drafter adds what it heard to every position and yields, beside its logits, the states; the
verifier adds the states that were disclosed, where there are any.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ATTRIBUTE_DIM",
    "AUDIO_DIM",
    "MAX_TOKENS",
    "STATE_DIM",
    "DrafterDecoder",
    "VerifierModel",
    "emotion_logits",
]

MAX_TOKENS = 64
"""Tokens of a caption at most, the end token included."""
AUDIO_DIM, ATTRIBUTE_DIM = 16, 15
"""What a state is made of: numbers of what the ears heard, and of what the drafter makes of it."""
STATE_DIM = AUDIO_DIM + ATTRIBUTE_DIM
_HEARD_NORM, _BELIEF_NORM = 0.8, 0.6
"""Their norms, at most; together the unit ball."""
_LOGIT = 16.0


class _Block(nn.Module):
    """Pre-norm causal attention and feed-forward, with a KV cache passed in and out."""

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
        """x (N, T, D), past (2, N, H, P, Dh), mask (T, P + T) added to the scores."""
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
        """tokens (N, T), added (N, T or 1, D), past (L, 2, N, H, P, Dh) -> hidden (N, T, D),
        present."""
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


class DrafterDecoder(nn.Module):
    """Evidence to caption.

    The state of a position has two parts, both of activations that the decoder itself reads there.
    *Heard* is a linear map of how the clip differs from the speaker's habit, the same for the whole
    clip and for every drafter over the same ears. *Believed* is a linear map of the position's last
    hidden vector, trained so that its first numbers are the drafter's scores of the emotions and
    the others its view of the prosody levels: the same meaning for every drafter. Perceived gender
    is told apart from both, for the device alone.
    """

    def __init__(
        self,
        evidence_dim: int,
        vocabulary: int,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        evidence_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.condition_dim = width
        self.register_buffer("mean", torch.zeros(evidence_dim))
        self.register_buffer("scale", torch.ones(evidence_dim))
        self.register_buffer("population", torch.zeros(evidence_dim))
        self.register_buffer("projection", torch.zeros(evidence_dim, AUDIO_DIM))
        self.register_buffer("projected_mean", torch.zeros(AUDIO_DIM))
        self.evidence_dropout = nn.Dropout(evidence_dropout)
        self.reader = nn.Sequential(
            nn.Linear(2 * evidence_dim, 256), nn.GELU(), nn.Linear(256, width)
        )
        self.sounds_female = nn.Linear(width, 1)
        self.causal = _Causal(vocabulary, width, layers, heads)
        self.believes = nn.Linear(width, ATTRIBUTE_DIM, bias=False)

    def read(self, embedding: Tensor, profile: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """evidence (N, E), the speaker's habit (N, E) and trust (N,) in [0, 1] -> condition (N, D),
        heard (N, HEARD_DIM): once per clip."""
        own = embedding - trust[:, None] * (profile - self.get_buffer("population"))
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        z = torch.cat([(embedding - mean) / scale, (own - mean) / scale], 1)
        heard = own @ self.get_buffer("projection") - self.get_buffer("projected_mean")
        heard = heard * (_HEARD_NORM / _norm(heard))
        return self.reader(self.evidence_dropout(z)), heard

    def femininity(self, condition: Tensor) -> Tensor:
        """condition (N, D) -> (N,) log-odds that the voice sounds female."""
        return self.sounds_female(condition)[:, 0]  # type: ignore[no-any-return]

    def decode(
        self, tokens: Tensor, condition: Tensor, heard: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (N, T) and what was read -> logits (N, T, V), states (N, T, B), present."""
        hidden, present = self.causal(tokens, condition[:, None], past)
        believed = self.believes(hidden)
        believed = believed * (_BELIEF_NORM / _norm(believed)).clamp(max=1)
        heard = heard[:, None].expand(-1, tokens.shape[1], -1)
        return self.causal.logits(hidden), torch.cat([heard, believed], -1), present

    def forward(
        self, tokens: Tensor, embedding: Tensor, profile: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens (N, T) and what :meth:`read` takes -> logits (N, T, V), states (N, T, B)."""
        past = self.causal.empty_past(len(tokens))
        logits, states, _ = self.decode(tokens, *self.read(embedding, profile, trust), past)
        return logits, states


def _norm(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True).sqrt().clamp(min=1e-6)


def emotion_logits(states: Tensor, emotions: int) -> Tensor:
    """The drafter's scores of the emotions, (..., emotions), as its states (..., B) tell them."""
    return _LOGIT * states[..., AUDIO_DIM : AUDIO_DIM + emotions]


class VerifierModel(nn.Module):
    """Tokens, and states where they were disclosed, to the next token."""

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 320,
        layers: int = 6,
        heads: int = 5,
    ) -> None:
        super().__init__()
        self.state_dim = STATE_DIM
        self.causal = _Causal(vocabulary, width, layers, heads)
        self.read_state = nn.Sequential(
            nn.Linear(STATE_DIM, width), nn.GELU(), nn.Dropout(0.2), nn.Linear(width, width)
        )
        self.no_state = nn.Parameter(torch.zeros(width))

    def forward(
        self, tokens: Tensor, states: Tensor, has_state: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens (N, T), states (N, T, B), has_state (N, T) in {0, 1}, past -> logits, present."""
        known = has_state[..., None]
        added = known * self.read_state(states) + (1 - known) * self.no_state
        hidden, present = self.causal(tokens, added, past)
        return self.causal.logits(hidden), present
