"""The starter pair's networks: two uses of one small causal decoder.

The drafter adds its conditioning vector to every position and outputs the states beside its logits;
the verifier adds the states that were disclosed to it, if any.
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
"""The most tokens in a caption, including the end token."""
AUDIO_DIM, ATTRIBUTE_DIM = 16, 15
"""The two parts of a state: discriminant components of the audio embedding, and predicted
attributes."""
STATE_DIM = AUDIO_DIM + ATTRIBUTE_DIM
_AUDIO_NORM, _ATTRIBUTE_NORM = 0.8, 0.6
"""The largest norms of the two parts; together they fill the unit ball."""
_LOGIT = 16.0


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


class DrafterDecoder(nn.Module):
    """Maps an audio embedding to a caption.

    The state of a position has two parts, both of them activations that the decoder itself uses
    there. The *audio* part is a linear map of the clip's difference from the speaker profile, the
    same for the whole clip and for every drafter with the same audio encoder. The *attributes* part
    is a linear map of the position's last hidden vector, trained so that its first numbers are the
    drafter's emotion scores and the others its estimates of the prosody levels: they mean the same
    for every drafter. Perceived gender is separate from both, for the device alone.
    """

    def __init__(
        self,
        embedding_dim: int,
        vocabulary: int,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        embedding_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.condition_dim = width
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("scale", torch.ones(embedding_dim))
        self.register_buffer("population", torch.zeros(embedding_dim))
        self.register_buffer("projection", torch.zeros(embedding_dim, AUDIO_DIM))
        self.register_buffer("projected_mean", torch.zeros(AUDIO_DIM))
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.reader = nn.Sequential(
            nn.Linear(2 * embedding_dim, 256), nn.GELU(), nn.Linear(256, width)
        )
        self.sounds_female = nn.Linear(width, 1)
        self.causal = _Causal(vocabulary, width, layers, heads)
        # The names of layers and buffers are keys of stored checkpoints.
        self.believes = nn.Linear(width, ATTRIBUTE_DIM, bias=False)

    def read(self, embedding: Tensor, profile: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """Map embeddings (N, E), speaker profiles (N, E) and trust (N,) in [0, 1] to condition (N,
        D) and audio part (N, AUDIO_DIM), once per clip."""
        own = embedding - trust[:, None] * (profile - self.get_buffer("population"))
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        z = torch.cat([(embedding - mean) / scale, (own - mean) / scale], 1)
        audio = own @ self.get_buffer("projection") - self.get_buffer("projected_mean")
        audio = audio * (_AUDIO_NORM / _norm(audio))
        return self.reader(self.embedding_dropout(z)), audio

    def femininity(self, condition: Tensor) -> Tensor:
        """Map condition (N, D) to (N,) log-odds that the voice sounds female."""
        return self.sounds_female(condition)[:, 0]  # type: ignore[no-any-return]

    def decode(
        self, tokens: Tensor, condition: Tensor, audio: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map tokens (N, T) and the results of :meth:`read` to logits (N, T, V), states (N, T, B),
        present."""
        hidden, present = self.causal(tokens, condition[:, None], past)
        attributes = self.believes(hidden)
        attributes = attributes * (_ATTRIBUTE_NORM / _norm(attributes)).clamp(max=1)
        audio = audio[:, None].expand(-1, tokens.shape[1], -1)
        return self.causal.logits(hidden), torch.cat([audio, attributes], -1), present

    def forward(
        self, tokens: Tensor, embedding: Tensor, profile: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map tokens (N, T) and the arguments of :meth:`read` to logits (N, T, V) and states (N, T,
        B)."""
        past = self.causal.empty_past(len(tokens))
        logits, states, _ = self.decode(tokens, *self.read(embedding, profile, trust), past)
        return logits, states


def _norm(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True).sqrt().clamp(min=1e-6)


def emotion_logits(states: Tensor, emotions: int) -> Tensor:
    """Return the drafter's emotion scores (..., emotions) from its states (..., B)."""
    return _LOGIT * states[..., AUDIO_DIM : AUDIO_DIM + emotions]


class VerifierModel(nn.Module):
    """Maps tokens, and the states that were disclosed, to the next token."""

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
        """Map tokens (N, T), states (N, T, B), has_state (N, T) in {0, 1} and past to logits and
        present."""
        known = has_state[..., None]
        added = known * self.read_state(states) + (1 - known) * self.no_state
        hidden, present = self.causal(tokens, added, past)
        return self.causal.logits(hidden), present
