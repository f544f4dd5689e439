"""Trains the decoder of captions, which all drafters share.

It needs no recordings: an emotion is drawn from random probabilities, and the decoder, which is
given these probabilities and a random plan, learns the caption of that emotion and plan. So it
names an emotion as often as it is likely. In a part of the examples one clause was replaced by
another, as a verifier or an application would correct it; there the decoder learns what follows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import NUM_OPENINGS, WORDED_VALUES, CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot

from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.networks import CaptionDecoder
from ugsd_lab.training.fitting import fit

__all__ = ["Wording", "padded", "random_wording", "token_loss", "train_decoder"]

BATCH = 48
_SPREADS = (0.5, 6.0)
"""Standard deviation of random scores of emotions, from a voice that could be anything to one that
is clear."""
_CORRECTED_SHARE = 0.4
_STRONG_SHARE, _DOUBTFUL_SHARE = 0.3, 0.1


@dataclass(frozen=True)
class Wording:
    """An example: a plan, the caption's tokens, and how many of them are given."""

    plan: CaptionPlan
    tokens: Sequence[int]
    num_given: int


def random_wording(
    emotion: str, length: CaptionLength, vocabulary: Vocabulary, rng: random.Random
) -> Wording:
    """Return a caption of ``emotion``, or one that goes on after a corrected clause."""
    plan = random_plan(rng, length=length, is_strong=rng.random() < _STRONG_SHARE)
    if rng.random() >= _CORRECTED_SHARE:
        return Wording(plan, vocabulary.encode(clauses(emotion, plan)), 0)
    slot = rng.choice(plan.slots)
    if slot is Slot.EMOTION:
        emotion = rng.choice(EMOTIONS)
        written = replace(
            plan,
            is_strong=rng.random() < _STRONG_SHARE,
            is_doubtful=rng.random() < _DOUBTFUL_SHARE,
            opening=rng.randrange(NUM_OPENINGS),
        )
    else:
        written = replace(plan, values={**plan.values, slot: rng.choice(WORDED_VALUES[slot])})
        if length is CaptionLength.SHORT:
            written = plan
    parts = clauses(emotion, written)
    until = 1 + [clause.slot for clause in parts].index(slot)
    return Wording(plan, vocabulary.encode(parts), len(vocabulary.encode(parts[:until])))


def train_decoder(
    vocabulary: Vocabulary, *, steps: int, seed: int, checkpoint: Path, progress: Progress
) -> CaptionDecoder:
    """Train a decoder of captions."""
    torch.manual_seed(seed)
    model = CaptionDecoder(len(vocabulary))
    lengths = list(CaptionLength)

    def loss_of_step(step: int) -> Tensor:
        rng = random.Random(f"{seed}:{step}")  # noqa: S311  # an experiment's seed, not a secret
        generator = torch.Generator().manual_seed(rng.getrandbits(32))
        spread = torch.empty(BATCH, 1).uniform_(*_SPREADS, generator=generator)
        scores = spread * torch.randn(BATCH, len(EMOTIONS), generator=generator)
        emotion = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
        length = lengths[step % len(lengths)]
        wordings = [
            random_wording(EMOTIONS[one], length, vocabulary, rng) for one in emotion.tolist()
        ]
        inputs = padded([[BOS, *wording.tokens] for wording in wordings])
        targets = padded(
            [[PAD] * one.num_given + [*one.tokens[one.num_given :], EOS] for one in wordings]
        )
        plans = torch.from_numpy(np.stack([wording.plan.features for wording in wordings]))
        past = model.causal.empty_past(BATCH)
        logits, _ = model(inputs, scores.log_softmax(-1), plans, past)
        return token_loss(logits, targets)

    fit(
        "decoder", nn.ModuleDict({"decoder": model}), loss_of_step,
        steps=steps, learning_rate=2e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model


def padded(tokens: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of tokens (N, T), padded to the longest."""
    width = max(map(len, tokens))
    return torch.tensor([[*t, *[PAD] * (width - len(t))] for t in tokens])


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of logits (N, T, V) at targets (N, T) that are not padding."""
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)
