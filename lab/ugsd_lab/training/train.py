"""Trains the drafters and their verifier: seeded, resumable, from audio embeddings to
checkpoints."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ugsd_lab.data.augment import drawn_speed
from ugsd_lab.data.captions import AttributeLabels, caption, corrected
from ugsd_lab.data.corpora import EMOTIONS, Clip
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.data.vocabulary import BOS, EOS, PAD, Vocabulary
from ugsd_lab.models.discriminant import discriminant
from ugsd_lab.models.embeddings import Progress, copy_key, copy_rng
from ugsd_lab.models.networks import (
    AUDIO_DIM,
    MAX_TOKENS,
    DrafterDecoder,
    VerifierModel,
    emotion_logits,
)
from ugsd_lab.training.profiles import ProfileSampler

__all__ = [
    "Corpus", "Drafts", "Progress", "Projection", "draft_all", "train_drafter", "train_verifier",
]  # fmt: skip

CHECKPOINT_EVERY = 200
BATCH = 48
_DRAFTED_AT_ONCE = 256
_CLEAN_SHARE = 1 / 3
"""Share of a batch without augmentation, beside the rows drawn evenly from clip and copies."""
_LEVELS = ("low", "mid", "high")


@dataclass(frozen=True)
class Corpus:
    """Clips with everything that training reads of them, row by row."""

    clips: Sequence[Clip]
    embeddings: NDArray[np.float32]
    """(n, 1 + copies, E): the audio embeddings of each clip and of its augmented copies."""
    measures: dict[str, Measures]
    norms: Norms

    @property
    def clean_embeddings(self) -> NDArray[np.float32]:
        """(n, E), of the clips without augmentation."""
        return self.embeddings[:, 0]

    def labels(self, row: int, copy: int = 0) -> AttributeLabels:
        """Return the labels of a clip, or of its copy: one played faster is also higher."""
        clip = self.clips[row]
        measures = self.measures[clip.id]
        if copy and clip.split == "train":
            measures = measures.faster(drawn_speed(copy_rng(clip, copy)))
        return AttributeLabels.of(clip, self.norms.levels(clip, measures))

    def rows(self, corpora: Sequence[str], split: str) -> NDArray[np.int64]:
        return np.array(
            [i for i, c in enumerate(self.clips) if c.corpus in corpora and c.split == split],
            dtype=np.int64,
        )


@dataclass(frozen=True)
class Projection:
    """The *audio* part of states: a linear discriminant from audio embeddings to AUDIO_DIM numbers.

    It keeps the directions in which a speaker's emotions differ most relative to the parts of one
    clip, which share the voice and the emotion but not the words, so that a state describes the
    emotion rather than the words. The speaker profile is subtracted from the embedding before.
    """

    matrix: NDArray[np.float32]
    """(E, AUDIO_DIM)"""
    mean: NDArray[np.float32]
    """(AUDIO_DIM,), subtracted afterwards."""
    population: NDArray[np.float32]
    """(E,) the average embedding, used for a speaker without a profile."""

    @classmethod
    def fit(cls, corpus: Corpus, rows: NDArray[np.int64], parts: NDArray[np.float32]) -> Projection:
        """Fit to the clips of ``rows`` (N,) and the (N, P, E) embeddings of their parts."""
        speakers = [(corpus.clips[i].corpus, corpus.clips[i].speaker) for i in rows]
        emotions = [corpus.clips[i].emotion for i in rows]
        mean, matrix = discriminant(
            corpus.clean_embeddings[rows], speakers, emotions, parts, AUDIO_DIM
        )
        return cls(
            matrix.astype(np.float32),
            (mean @ matrix).astype(np.float32),
            mean.astype(np.float32),
        )


@dataclass(frozen=True)
class _Labels:
    """The targets of the heads, by clip and copy."""

    emotion: Tensor
    """(n,)"""
    levels: Tensor
    """(n, 1 + copies, 6): prosody levels, each 0, 1 or 2."""
    female: Tensor
    """(n,) 1.0, 0.0, or NaN if the corpus does not give it."""

    @classmethod
    def of(cls, corpus: Corpus) -> _Labels:
        def levels(row: int, copy: int) -> list[int]:
            return [
                _LEVELS.index(level) for level in vars(corpus.labels(row, copy).levels).values()
            ]

        rows, copies = range(len(corpus.clips)), range(corpus.embeddings.shape[1])
        return cls(
            torch.tensor([EMOTIONS.index(corpus.labels(row).emotion) for row in rows]),
            torch.tensor([[levels(row, copy) for copy in copies] for row in rows]),
            torch.tensor(
                [{"female": 1.0, "male": 0.0, None: math.nan}[c.gender] for c in corpus.clips]
            ),
        )


@dataclass(frozen=True)
class _Batch:
    rows: NDArray[np.int64]
    copies: NDArray[np.int64]
    inputs: Tensor
    """(N, T) tokens, padded."""
    targets: Tensor
    """(N, T) the next tokens; PAD where nothing is learnt."""


def _padded(tokens: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, tokens))
    return torch.tensor([[*t, *[PAD] * (width - len(t))] for t in tokens])


class _Sampler:
    """Batches drawn evenly over corpora; a batch depends on seed and step alone."""

    def __init__(
        self,
        corpus: Corpus,
        corpora: Sequence[str],
        vocabulary: Vocabulary,
        seed: int,
        drafts: Sequence[Drafts] = (),
    ) -> None:
        self._corpus, self._vocabulary, self._seed = corpus, vocabulary, seed
        self._drafts = drafts
        self._rows = corpus.rows(corpora, "train")
        names = [corpus.clips[i].corpus for i in self._rows]
        weights = np.array([1 / names.count(name) for name in names])
        self._weights = weights / weights.sum()

    def batch(self, step: int, size: int) -> tuple[_Batch, NDArray[np.int64]]:
        """Return a batch, and for each row the number of the drafter whose draft it uses."""
        choice = np.random.default_rng((self._seed, step))
        rows = choice.choice(self._rows, size, p=self._weights)
        copies = choice.integers(self._corpus.embeddings.shape[1], size=size)
        copies[choice.random(size) < _CLEAN_SHARE] = 0
        drafter = choice.integers(max(1, len(self._drafts)), size=size)
        rng = random.Random(int(choice.integers(2**62)))  # noqa: S311
        examples = [
            self._example(int(row), int(copy), int(which), rng)
            for row, copy, which in zip(rows, copies, drafter, strict=True)
        ]
        inputs = _padded([[BOS, *tokens] for tokens, _ in examples])
        learnt = [[PAD] * given + [*tokens[given:], EOS] for tokens, given in examples]
        return _Batch(rows, copies, inputs, _padded(learnt)), drafter

    def _example(
        self, row: int, copy: int, drafter: int, rng: random.Random
    ) -> tuple[list[int], int]:
        """Return a caption's tokens, and how many of them are given and not learnt.

        Half of a verifier's examples are corrected drafts, so that it learns to keep what is right
        in the draft's own words. A third of these are corrected only from some point on, so that it
        learns to continue truthfully after a mistake that was committed.
        """
        labels = self._corpus.labels(row, copy)
        if self._drafts and rng.random() >= 0.5:
            pieces = corrected(
                self._drafts[drafter][copy_key(self._corpus.clips[row], copy)], labels, rng
            )
            cut = rng.randrange(len(pieces)) if rng.random() < 1 / 3 else 0
            before = "".join(draft for draft, _ in pieces[:cut])
            whole = before + "".join(right for _, right in pieces[cut:])
            tokens, given = self._vocabulary.encode_from(whole, len(before))
            if len(tokens) < MAX_TOKENS:  # else the draft had no end token
                return tokens, given
        return self._vocabulary.encode(caption(labels, rng, gender=False)), 0


def _token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def _fit(
    name: str,
    module: nn.Module,
    loss_of_step: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> None:
    """Train with AdamW under a one-cycle schedule, from the last checkpoint if there is one."""
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=learning_rate, weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    start = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        start = saved["step"]
    module.train()
    for step in range(start, steps):
        torch.manual_seed(seed * 1_000_003 + step)
        loss = loss_of_step(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(name, step + 1, steps, f"loss {loss.item():.3f}")
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            temporary = checkpoint.with_suffix(".part")
            state = {
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
            }
            torch.save(state, temporary)
            temporary.replace(checkpoint)
    module.eval()


class _Heads(nn.Module):
    """Predicts all that a caption states from a vector; it serves as a training loss and is then
    dropped."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.emotion = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, len(EMOTIONS)))
        self.levels = nn.Linear(width, len(_LEVELS) * levels)

    def forward(self, x: Tensor, emotion: Tensor, levels: Tensor) -> Tensor:
        """Map x (N, D), emotion (N,) and levels (N, 6) to a loss."""
        by_level = self.levels(x).view(len(x), len(_LEVELS), -1)
        emotion_loss = functional.cross_entropy(self.emotion(x), emotion, label_smoothing=0.1)
        return emotion_loss + 0.3 * functional.cross_entropy(by_level, levels)


_LEVEL_UNIT = 0.12
"""The value of a state's number for a high level; its negative means a low one."""


def _attribute_loss(states: Tensor, emotion: Tensor, levels: Tensor) -> Tensor:
    """Map states (M, B), emotion (M,) and levels (M, 6) to the loss of the predicted attributes."""
    scores = emotion_logits(states, len(EMOTIONS))
    levels_part = states[:, AUDIO_DIM + len(EMOTIONS) :]
    error = functional.mse_loss(levels_part / _LEVEL_UNIT, levels - 1.0)
    return functional.cross_entropy(scores, emotion, label_smoothing=0.1) + 0.3 * error


def _gender_loss(femininity: Tensor, female: Tensor) -> Tensor:
    """Return the loss of (N,) log-odds against (N,) labels, over the rows whose label is known."""
    known = ~female.isnan()
    if not known.any():
        return femininity.sum() * 0
    return functional.binary_cross_entropy_with_logits(femininity[known], female[known])


def _drawn_profiles(
    speakers: ProfileSampler, rows: NDArray[np.int64], seed: int, step: int, **options: float
) -> tuple[Tensor, Tensor]:
    """Return (N, E) profiles and (N,) trust, which depend on seed and step alone."""
    profile, trust = speakers.draw(rows, np.random.default_rng((seed, step, 11)), **options)
    return torch.from_numpy(profile), torch.from_numpy(trust)


def train_drafter(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    projection: Projection,
    *,
    name: str,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> DrafterDecoder:
    """Train a drafter on the training speakers of ``corpora``."""
    torch.manual_seed(seed)
    model = DrafterDecoder(corpus.embeddings.shape[2], len(vocabulary))
    train = corpus.clean_embeddings[corpus.rows(corpora, "train")]
    model.get_buffer("mean").copy_(torch.from_numpy(train.mean(0)))
    model.get_buffer("scale").copy_(torch.from_numpy(train.std(0) + 1e-6))
    model.get_buffer("projection").copy_(torch.from_numpy(projection.matrix))
    model.get_buffer("projected_mean").copy_(torch.from_numpy(projection.mean))
    model.get_buffer("population").copy_(torch.from_numpy(projection.population))
    labels = _Labels.of(corpus)
    heads = _Heads(model.condition_dim, labels.levels.shape[2])
    sampler = _Sampler(corpus, corpora, vocabulary, seed)
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)

    def loss_of_step(step: int) -> Tensor:
        batch, _ = sampler.batch(step, BATCH)
        embedding = torch.from_numpy(corpus.embeddings[batch.rows, batch.copies])
        profile, trust = _drawn_profiles(speakers, batch.rows, seed, step)
        condition, audio = model.read(embedding, profile, trust)
        past = model.causal.empty_past(BATCH)
        logits, states, _ = model.decode(batch.inputs, condition, audio, past)
        emotion, levels = labels.emotion[batch.rows], labels.levels[batch.rows, batch.copies]
        learnt = batch.targets != PAD
        at = learnt.nonzero()[:, 0]
        attribute_loss = _attribute_loss(states[learnt], emotion[at], levels[at])
        loss: Tensor = (
            _token_loss(logits, batch.targets)
            + 0.3 * heads(condition, emotion, levels)
            + 0.3 * attribute_loss
            + 0.1 * _gender_loss(model.femininity(condition), labels.female[batch.rows])
        )
        return loss

    _fit(
        name, nn.ModuleDict({"drafter": model, "heads": heads}), loss_of_step,
        steps=steps, learning_rate=2e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model


Drafts = Mapping[str, str]
"""A drafter's captions of training clips and their copies, by :func:`copy_key`."""


@torch.inference_mode()
def draft_all(
    drafter: DrafterDecoder,
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    *,
    seed: int,
    cache: Path,
    progress: Progress,
) -> Drafts:
    """Draft the training clips of ``corpora``: greedily, and their copies by sampling. The drafts
    are cached in the JSON file ``cache``."""
    if cache.exists():
        stored: dict[str, str] = json.loads(cache.read_text("utf-8"))
        return stored
    drafter.eval()
    generator = torch.Generator().manual_seed(seed)
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)
    rows, copies = corpus.rows(corpora, "train"), corpus.embeddings.shape[1]
    chunks = np.array_split(rows, -(-len(rows) // _DRAFTED_AT_ONCE))
    texts: dict[str, str] = {}
    for copy in range(copies):
        for done, chunk in enumerate(chunks, 1):
            embedding = torch.from_numpy(corpus.embeddings[chunk, copy])
            profiles = _drawn_profiles(speakers, chunk, seed, copies * done + copy)
            captions = _decoded(drafter, (embedding, *profiles), generator if copy else None)
            for row, tokens in zip(chunk, captions, strict=True):
                texts[copy_key(corpus.clips[row], copy)] = vocabulary.decode(tokens)
            progress("drafting", copy * len(chunks) + done, copies * len(chunks), "")
    temporary = cache.with_suffix(".part")
    temporary.write_text(json.dumps(texts), encoding="utf-8")
    temporary.replace(cache)
    return texts


def _decoded(
    drafter: DrafterDecoder,
    clips: tuple[Tensor, Tensor, Tensor],
    generator: torch.Generator | None,
) -> list[list[int]]:
    """Return captions, without the end token, for embeddings (N, E), profiles (N, E) and trust
    (N,): greedy, or sampled by ``generator``."""
    read, count = drafter.read(*clips), len(clips[0])
    past = drafter.causal.empty_past(count)
    token = torch.full((count, 1), BOS)
    chosen: list[Tensor] = []
    for _ in range(MAX_TOKENS):
        logits, _, past = drafter.decode(token, *read, past)
        if generator is None:
            token = logits[:, -1].argmax(-1, keepdim=True)
        else:
            token = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=generator)
        chosen.append(token)
    captions = torch.cat(chosen, 1).tolist()
    return [tokens[: tokens.index(EOS)] if EOS in tokens else tokens for tokens in captions]


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


_VERIFIER_UNENROLLED_SHARE = 0.1
"""Share of examples whose states were made without a speaker profile: a device may be configured to
send those, too."""
_ATTRIBUTES_SHARE = 0.5
"""Share of examples in which the verifier sees the predicted attributes beside the audio part."""


def train_verifier(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    drafters: Sequence[tuple[DrafterDecoder, Drafts]],
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> VerifierModel:
    """Train a verifier on the training speakers of ``corpora``. It reads the states of
    ``drafters``, which are dropped and noised at random, and learns captions and corrected
    drafts."""
    torch.manual_seed(seed)
    model = VerifierModel(len(vocabulary))
    sampler = _Sampler(corpus, corpora, vocabulary, seed + 1, [drafts for _, drafts in drafters])
    labels = _Labels.of(corpus)
    speakers = ProfileSampler(corpus.clips, corpus.clean_embeddings)
    heads = _Heads(model.causal.tokens.embedding_dim, labels.levels.shape[2])

    def loss_of_step(step: int) -> Tensor:
        batch, which = sampler.batch(step, BATCH)
        embedding = torch.from_numpy(corpus.embeddings[batch.rows, batch.copies])
        profile, trust = _drawn_profiles(
            speakers, batch.rows, seed, step, unenrolled_share=_VERIFIER_UNENROLLED_SHARE
        )
        states = torch.zeros(*batch.inputs.shape, model.state_dim)
        with torch.no_grad():
            for index, (drafter, _) in enumerate(drafters):
                own = np.flatnonzero(which == index)
                states[own] = drafter(batch.inputs[own], embedding[own], profile[own], trust[own])[
                    1
                ]
        rng = np.random.default_rng((seed, step, 7))
        sigma = torch.tensor(rng.choice([0.01, 0.03, 0.06], len(which)), dtype=torch.float32)
        noised = states + sigma[:, None, None] * torch.randn(states.shape)
        # The drafter is surer of clips that it was trained on than of any that it will meet.
        with_attributes = torch.from_numpy(rng.random(len(which)) < _ATTRIBUTES_SHARE)
        noised[~with_attributes, :, AUDIO_DIM:] = 0
        lengths = (batch.inputs != PAD).sum(1).numpy()
        disclosed = _disclosed(lengths, batch.inputs.shape[1], rng)
        logits, _ = model(batch.inputs, noised, disclosed, model.causal.empty_past(BATCH))
        emotion, levels = labels.emotion[batch.rows], labels.levels[batch.rows, batch.copies]
        state_loss: Tensor = heads(model.read_state(noised[:, 0]), emotion, levels)
        return _token_loss(logits, batch.targets) + 0.3 * state_loss

    for drafter, _ in drafters:
        drafter.eval()
    _fit(
        "verifier", nn.ModuleDict({"verifier": model, "heads": heads}), loss_of_step,
        steps=steps, learning_rate=1e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model
