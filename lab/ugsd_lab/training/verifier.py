"""Trains the verifier: it reads the states of drafters, and learns the clause of the emotion.

The device decides every other clause alone, so the verifier learns no other. The end marker ends
its clause. Up to the word of the emotion, a clause has the wording of a draft, which says nothing
about the emotion: a drafter words its own guess, and another may be right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from ugsd_sdk.attributes.slots import EMOTIONS

from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.networks import EmotionReader, VerifierModel
from ugsd_lab.training.caption_decoder import padded, token_loss
from ugsd_lab.training.corpus import Corpus
from ugsd_lab.training.emotion_reader import RowSampler, drawn_profiles
from ugsd_lab.training.fitting import fit
from ugsd_lab.training.profiles import ProfileSampler

__all__ = ["drafted_clause", "train_verifier"]

BATCH, STATES = 48, 384
"""Clauses, and states, in a step."""
_POOL = 40_000
"""States that are drawn from in training, each of a clip or a copy of it, with a profile."""
_UNENROLLED_SHARE = 0.1
"""Share of examples whose states were made without a speaker profile: a device may be configured to
send those, too."""
_STRONG_SHARE, _DOUBTFUL_SHARE = 0.3, 0.2
_SIGMAS = (0.01, 0.03, 0.1, 0.2)
"""Noise on states, in units of their norm: a device may add some."""
_STATE_WEIGHT, _SMOOTHING = 1.0, 0.1


class _EmotionHead(nn.Module):
    """Predicts the emotion from a vector; it serves as a training loss and is then dropped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.emotion = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, len(EMOTIONS)))

    def forward(self, x: Tensor, emotion: Tensor) -> Tensor:
        """Map x (N, D) and emotion (N,) to a loss."""
        scores = self.emotion(x)
        return functional.cross_entropy(scores, emotion, label_smoothing=_SMOOTHING)


def drafted_clause(emotion: str, vocabulary: Vocabulary, rng: random.Random) -> list[int]:
    """Return the tokens of a clause that names ``emotion``, in the wording of a draft that names
    any."""
    plan = replace(
        random_plan(rng, is_strong=rng.random() < _STRONG_SHARE),
        values={},
        is_doubtful=rng.random() < _DOUBTFUL_SHARE,
    )
    plan = replace(plan, is_strong=plan.is_strong and not plan.is_doubtful)
    draft, right = (
        vocabulary.encode(clauses(one, plan)[:1]) for one in (rng.choice(EMOTIONS), emotion)
    )
    wording = draft[: vocabulary.num_before_emotion(draft)]
    return [*wording, *right[vocabulary.num_before_emotion(right) :]]


@dataclass(frozen=True)
class _ExampleStates:
    """States of N examples, and the emotions of their clips."""

    states: Tensor
    """(N, projections, STATE_DIM)"""
    emotions: Tensor
    """(N,)"""

    @classmethod
    def draw(
        cls, corpus: Corpus, corpora: Sequence[str], readers: Sequence[EmotionReader], seed: int
    ) -> _ExampleStates:
        """Draw examples evenly over ``corpora``, with the state that each of ``readers`` makes."""
        rows, copies = RowSampler(corpus, corpora, seed).draw(0, _POOL)
        profile, weights = drawn_profiles(
            ProfileSampler(corpus.clips, corpus.clean_embeddings), rows, seed, 0,
            unenrolled_share=_UNENROLLED_SHARE,
        )  # fmt: skip
        embedding = torch.from_numpy(corpus.embeddings[rows, copies])
        with torch.no_grad():
            states = [reader.state(embedding, profile, weights) for reader in readers]
        emotions = [EMOTIONS.index(str(corpus.clips[row].emotion)) for row in rows]
        return cls(torch.stack(states, 1), torch.tensor(emotions))

    def drawn(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw STATES examples. Return inputs (STATES, projections * STATE_DIM), each noised and
        from one projection, as a device would send them, and emotions (STATES,)."""
        rows = torch.from_numpy(rng.integers(len(self.states), size=STATES))
        which = torch.from_numpy(rng.integers(self.states.shape[1], size=STATES))
        sigma = torch.tensor(rng.choice(_SIGMAS, STATES), dtype=torch.float32)[:, None, None]
        states = self.states[rows]
        noised = states + sigma * torch.randn(states.shape)
        chosen = torch.arange(self.states.shape[1]) == which[:, None]
        return (noised * chosen[..., None]).flatten(1), self.emotions[rows]


def _disclosed(lengths: NDArray[np.int64], width: int, rng: np.random.Generator) -> Tensor:
    """Return a random (N, T) mask of the states that a verifier sees: none, the summary, a block,
    or all."""
    mask = np.zeros((len(lengths), width), dtype=np.float32)
    for row, kind in enumerate(rng.choice(4, len(mask), p=[0.1, 0.65, 0.15, 0.1])):
        if kind == 1:
            mask[row, 0] = 1
        elif kind == 2:
            start = int(rng.integers(lengths[row]))
            mask[row, start : start + 5] = 1
        elif kind == 3:
            mask[row, : lengths[row]] = 1
    return torch.from_numpy(mask)


def train_verifier(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    readers: Sequence[EmotionReader],
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> VerifierModel:
    """Train a verifier on the training speakers of ``corpora``. It reads the states of ``readers``,
    each with a projection of its own, which are dropped and noised at random."""
    torch.manual_seed(seed)
    model = VerifierModel(len(vocabulary), projections=len(readers))
    examples = _ExampleStates.draw(corpus, corpora, readers, seed + 1)
    head = _EmotionHead(model.causal.tokens.embedding_dim)

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step, 7))
        wording = random.Random(f"{seed}:{step}")  # noqa: S311  # an experiment's seed
        sent, emotions = examples.drawn(rng)
        drafted = [
            drafted_clause(EMOTIONS[emotion], vocabulary, wording)
            for emotion in emotions[:BATCH].tolist()
        ]
        inputs = padded([[BOS, *one] for one in drafted])
        targets = padded([[*one, EOS] for one in drafted])
        states = sent[:BATCH, None].expand(-1, inputs.shape[1], -1)
        disclosed = _disclosed((inputs != PAD).sum(1).numpy(), inputs.shape[1], rng)
        logits, _ = model(inputs, states, disclosed, model.causal.empty_past(BATCH))
        state_loss: Tensor = head(model.read_state(sent), emotions)
        return token_loss(logits, targets) + _STATE_WEIGHT * state_loss

    fit(
        "verifier", nn.ModuleDict({"verifier": model, "head": head}), loss_of_step,
        steps=steps, learning_rate=1e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model
