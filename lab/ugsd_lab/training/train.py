"""Training of the drafters and their verifier: seeded, resumable, from evidence to checkpoints."""

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
_AS_IT_IS = 1 / 3
"""Share of a batch that is clips as they are, beside those drawn evenly from clip and copies."""
_LEVELS = ("low", "mid", "high")


@dataclass(frozen=True)
class Corpus:
    """Clips with everything that training reads of them, row by row."""

    clips: Sequence[Clip]
    heard: NDArray[np.float32]
    """(n, 1 + copies, E): the evidence of each clip and of its augmented copies."""
    measures: dict[str, Measures]
    norms: Norms

    @property
    def evidence(self) -> NDArray[np.float32]:
        """(n, E), of the clips as they are."""
        return self.heard[:, 0]

    def facts(self, row: int, copy: int = 0) -> AttributeLabels:
        """What is true of a clip, or of its copy: one played faster is higher, too."""
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
    """The *heard* part of states: evidence to HEARD_DIM numbers.

    A linear discriminant. Of all directions those in which a speaker's feelings differ most, as
    measured by how much the parts of one clip differ, which have the voice and the feeling in
    common and the words not: so that a state tells of the feeling rather than of what was said. Who
    speaks is taken out of the evidence before, by the speaker's habit.
    """

    matrix: NDArray[np.float32]
    """(E, HEARD_DIM)"""
    mean: NDArray[np.float32]
    """(HEARD_DIM,), subtracted afterwards."""
    population: NDArray[np.float32]
    """(E,) the average evidence: where a voice lies whose habit is not known."""

    @classmethod
    def fit(cls, corpus: Corpus, rows: NDArray[np.int64], parts: NDArray[np.float32]) -> Projection:
        """From the clips of ``rows`` (N,), and from (N, P, E) evidence of their parts."""
        speakers = [(corpus.clips[i].corpus, corpus.clips[i].speaker) for i in rows]
        emotions = [corpus.clips[i].emotion for i in rows]
        mean, matrix = discriminant(corpus.evidence[rows], speakers, emotions, parts, AUDIO_DIM)
        return cls(
            matrix.astype(np.float32),
            (mean @ matrix).astype(np.float32),
            mean.astype(np.float32),
        )


@dataclass(frozen=True)
class _Labels:
    """What heads are asked for, by clip and copy."""

    emotion: Tensor
    """(n,)"""
    levels: Tensor
    """(n, 1 + copies, 6): prosody levels, each 0, 1 or 2."""
    female: Tensor
    """(n,) 1.0, 0.0, or NaN where the corpus does not say."""

    @classmethod
    def of(cls, corpus: Corpus) -> _Labels:
        def levels(row: int, copy: int) -> list[int]:
            return [_LEVELS.index(level) for level in vars(corpus.facts(row, copy).levels).values()]

        rows, copies = range(len(corpus.clips)), range(corpus.heard.shape[1])
        return cls(
            torch.tensor([EMOTIONS.index(corpus.facts(row).emotion) for row in rows]),
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
    """(N, T) what follows each; PAD where nothing is to be learnt."""


def _padded(tokens: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, tokens))
    return torch.tensor([[*t, *[PAD] * (width - len(t))] for t in tokens])


class _Sampler:
    """Batches drawn evenly over corpora; the batch of a step depends on seed and step alone."""

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
        """A batch, and for each row the drafter whose draft it is about."""
        choice = np.random.default_rng((self._seed, step))
        rows = choice.choice(self._rows, size, p=self._weights)
        copies = choice.integers(self._corpus.heard.shape[1], size=size)
        copies[choice.random(size) < _AS_IT_IS] = 0
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
        """A caption's tokens, and how many of them are given and not to be learnt.

        Half of those for a verifier are drafts put right, so that it learns to keep what a draft
        has right in the draft's own words; and of these a third are put right only from some point
        on, so that it learns to go on truthfully after a mistake that was committed.
        """
        facts = self._corpus.facts(row, copy)
        if self._drafts and rng.random() >= 0.5:
            pieces = corrected(
                self._drafts[drafter][copy_key(self._corpus.clips[row], copy)], facts, rng
            )
            cut = rng.randrange(len(pieces)) if rng.random() < 1 / 3 else 0
            before = "".join(draft for draft, _ in pieces[:cut])
            whole = before + "".join(right for _, right in pieces[cut:])
            tokens, given = self._vocabulary.encode_from(whole, len(before))
            if len(tokens) < MAX_TOKENS:  # else a draft that came to no end
                return tokens, given
        return self._vocabulary.encode(caption(facts, rng, gender=False)), 0


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
    """AdamW under a one-cycle schedule, from the last checkpoint if there is one."""
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
    """Asks a vector for all that a caption states; a loss for training, then dropped."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.emotion = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, len(EMOTIONS)))
        self.levels = nn.Linear(width, len(_LEVELS) * levels)

    def forward(self, x: Tensor, emotion: Tensor, levels: Tensor) -> Tensor:
        """x (N, D), emotion (N,), levels (N, 6) -> loss."""
        by_level = self.levels(x).view(len(x), len(_LEVELS), -1)
        emotion_loss = functional.cross_entropy(self.emotion(x), emotion, label_smoothing=0.1)
        return emotion_loss + 0.3 * functional.cross_entropy(by_level, levels)


_LEVEL_UNIT = 0.12
"""What a state's number says for a high level; its negative says a low one."""


def _belief_loss(states: Tensor, emotion: Tensor, levels: Tensor) -> Tensor:
    """states (M, B), emotion (M,), levels (M, 6) -> loss of what the states say of both."""
    scores = emotion_logits(states, len(EMOTIONS))
    told = states[:, AUDIO_DIM + len(EMOTIONS) :]
    error = functional.mse_loss(told / _LEVEL_UNIT, levels - 1.0)
    return functional.cross_entropy(scores, emotion, label_smoothing=0.1) + 0.3 * error


def _gender_loss(femininity: Tensor, female: Tensor) -> Tensor:
    """(N,) log-odds, (N,) -> loss over those of which the corpus says."""
    known = ~female.isnan()
    if not known.any():
        return femininity.sum() * 0
    return functional.binary_cross_entropy_with_logits(femininity[known], female[known])


def _drawn_habits(
    speakers: ProfileSampler, rows: NDArray[np.int64], seed: int, step: int, **options: float
) -> tuple[Tensor, Tensor]:
    """(N, E) and (N,), which depend on seed and step alone."""
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
    """A drafter of the training speakers of ``corpora``."""
    torch.manual_seed(seed)
    model = DrafterDecoder(corpus.heard.shape[2], len(vocabulary))
    train = corpus.evidence[corpus.rows(corpora, "train")]
    model.get_buffer("mean").copy_(torch.from_numpy(train.mean(0)))
    model.get_buffer("scale").copy_(torch.from_numpy(train.std(0) + 1e-6))
    model.get_buffer("projection").copy_(torch.from_numpy(projection.matrix))
    model.get_buffer("projected_mean").copy_(torch.from_numpy(projection.mean))
    model.get_buffer("population").copy_(torch.from_numpy(projection.population))
    labels = _Labels.of(corpus)
    heads = _Heads(model.condition_dim, labels.levels.shape[2])
    sampler = _Sampler(corpus, corpora, vocabulary, seed)
    speakers = ProfileSampler(corpus.clips, corpus.evidence)

    def loss_of_step(step: int) -> Tensor:
        batch, _ = sampler.batch(step, BATCH)
        embedding = torch.from_numpy(corpus.heard[batch.rows, batch.copies])
        profile, trust = _drawn_habits(speakers, batch.rows, seed, step)
        condition, heard = model.read(embedding, profile, trust)
        past = model.causal.empty_past(BATCH)
        logits, states, _ = model.decode(batch.inputs, condition, heard, past)
        emotion, levels = labels.emotion[batch.rows], labels.levels[batch.rows, batch.copies]
        spoken = batch.targets != PAD
        at = spoken.nonzero()[:, 0]
        believed = _belief_loss(states[spoken], emotion[at], levels[at])
        loss: Tensor = (
            _token_loss(logits, batch.targets)
            + 0.3 * heads(condition, emotion, levels)
            + 0.3 * believed
            + 0.1 * _gender_loss(model.femininity(condition), labels.female[batch.rows])
        )
        return loss

    _fit(
        name, nn.ModuleDict({"drafter": model, "heads": heads}), loss_of_step,
        steps=steps, learning_rate=2e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model


Drafts = Mapping[str, str]
"""What a drafter says of training clips and their copies, by :func:`copy_key`."""


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
    """Drafts of the training clips of ``corpora``: the clips' own greedy, the copies' sampled. Kept
    in the JSON file ``cache``."""
    if cache.exists():
        kept: dict[str, str] = json.loads(cache.read_text("utf-8"))
        return kept
    drafter.eval()
    generator = torch.Generator().manual_seed(seed)
    speakers = ProfileSampler(corpus.clips, corpus.evidence)
    rows, copies = corpus.rows(corpora, "train"), corpus.heard.shape[1]
    chunks = np.array_split(rows, -(-len(rows) // _DRAFTED_AT_ONCE))
    texts: dict[str, str] = {}
    for copy in range(copies):
        for done, chunk in enumerate(chunks, 1):
            embedding = torch.from_numpy(corpus.heard[chunk, copy])
            profiles = _drawn_habits(speakers, chunk, seed, copies * done + copy)
            said = _decoded(drafter, (embedding, *profiles), generator if copy else None)
            for row, tokens in zip(chunk, said, strict=True):
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
    """Captions, without their end, of evidence (N, E), habits (N, E) and trust (N,): greedy, or
    sampled by ``generator``."""
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
    """(N, T) which states a verifier sees: none, the summary, some block, or all, at random."""
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


_UNACQUAINTED = 0.1
"""Share of examples whose states know nothing of the speaker's habit: a device may be told to send
those, too."""
_TRUSTED = 0.5
"""Share of examples that show the verifier what the drafter believes, beside what it heard."""


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
    """A verifier of the training speakers of ``corpora``, reading the states of ``drafters``, with
    states absent and noised at random, on captions and on drafts put right."""
    torch.manual_seed(seed)
    model = VerifierModel(len(vocabulary))
    sampler = _Sampler(corpus, corpora, vocabulary, seed + 1, [drafts for _, drafts in drafters])
    labels = _Labels.of(corpus)
    speakers = ProfileSampler(corpus.clips, corpus.evidence)
    heads = _Heads(model.causal.tokens.embedding_dim, labels.levels.shape[2])

    def loss_of_step(step: int) -> Tensor:
        batch, which = sampler.batch(step, BATCH)
        embedding = torch.from_numpy(corpus.heard[batch.rows, batch.copies])
        profile, trust = _drawn_habits(speakers, batch.rows, seed, step, strangers=_UNACQUAINTED)
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
        # Of what it was trained on the drafter is surer than of anything that it will hear.
        trusted = torch.from_numpy(rng.random(len(which)) < _TRUSTED)
        noised[~trusted, :, AUDIO_DIM:] = 0
        lengths = (batch.inputs != PAD).sum(1).numpy()
        disclosed = _disclosed(lengths, batch.inputs.shape[1], rng)
        logits, _ = model(batch.inputs, noised, disclosed, model.causal.empty_past(BATCH))
        emotion, levels = labels.emotion[batch.rows], labels.levels[batch.rows, batch.copies]
        heard: Tensor = heads(model.read_state(noised[:, 0]), emotion, levels)
        return _token_loss(logits, batch.targets) + 0.3 * heard

    for drafter, _ in drafters:
        drafter.eval()
    _fit(
        "verifier", nn.ModuleDict({"verifier": model, "heads": heads}), loss_of_step,
        steps=steps, learning_rate=1e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model
