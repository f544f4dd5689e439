"""Training of the starter pair: seeded, resumable, from recordings to checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ugsd_lab.captions import Facts, caption
from ugsd_lab.corpora import EMOTIONS, Clip, read_samples
from ugsd_lab.models import STATE_DIM, DrafterDecoder, VerifierModel
from ugsd_lab.prosody import Measures, Norms
from ugsd_lab.vocabulary import BOS, EOS, PAD, Vocabulary

__all__ = ["Corpus", "Progress", "extract_all", "train_drafter", "train_verifier"]

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, of, note)."""

CHECKPOINT_EVERY = 200
BATCH = 48
_LEVELS = ("low", "mid", "high")


def extract_all(
    clips: Sequence[Clip], whisper: Path, cache: Path, progress: Progress
) -> NDArray[np.float32]:
    """(n, E) evidence of every clip, kept in ``cache``; starts where an earlier run stopped."""
    from ugsd_lab.ears import Ears, extract

    known: dict[str, NDArray[np.float32]] = {}
    if cache.exists():
        stored = np.load(cache)
        known = dict(zip(stored["ids"].tolist(), stored["evidence"], strict=True))
    missing = [clip for clip in clips if clip.id not in known]
    if not missing:
        return np.stack([known[clip.id] for clip in clips])
    ears = Ears.from_whisper(whisper)
    for done, clip in enumerate(missing, 1):
        known[clip.id] = extract(ears, read_samples(clip))
        if done % 500 == 0 or done == len(missing):
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary = cache.with_name("part-" + cache.name)
            np.savez(temporary, ids=np.array(list(known)), evidence=np.stack(list(known.values())))
            temporary.replace(cache)
        progress("listening", done, len(missing), "")
    return np.stack([known[clip.id] for clip in clips])


@dataclass(frozen=True)
class Corpus:
    """Clips with everything that training reads of them, row by row."""

    clips: Sequence[Clip]
    evidence: NDArray[np.float32]
    measures: dict[str, Measures]
    norms: Norms

    def facts(self, row: int) -> Facts:
        clip = self.clips[row]
        return Facts.of(clip, self.norms.levels(clip, self.measures[clip.id]))

    def rows(self, corpora: Sequence[str], split: str) -> NDArray[np.int64]:
        return np.array(
            [i for i, c in enumerate(self.clips) if c.corpus in corpora and c.split == split]
        )

    def labels(self) -> tuple[Tensor, Tensor]:
        """(n,) emotion, and (n, 8) prosody levels and perceived gender, as class indices."""
        emotion = torch.tensor([EMOTIONS.index(c.emotion) for c in self.clips])
        levels = [
            [*(_LEVELS.index(v) for v in astuple(self.facts(i).levels)), clip.gender == "male"]
            for i, clip in enumerate(self.clips)
        ]
        return emotion, torch.tensor(levels)


class _Sampler:
    """Batches drawn evenly over corpora; the batch of a step depends on seed and step alone."""

    def __init__(self, corpus: Corpus, corpora: Sequence[str], vocabulary: Vocabulary, seed: int):
        self._corpus, self._vocabulary, self._seed = corpus, vocabulary, seed
        self._rows = corpus.rows(corpora, "train")
        names = [corpus.clips[i].corpus for i in self._rows]
        weights = np.array([1 / names.count(name) for name in names])
        self._weights = weights / weights.sum()

    def batch(self, step: int, size: int) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        """Rows (N,), inputs (N, T) and targets (N, T), padded."""
        import random

        choice = np.random.default_rng((self._seed, step))
        rows = choice.choice(self._rows, size, p=self._weights)
        rng = random.Random(int(choice.integers(2**62)))  # noqa: S311
        texts = [caption(self._corpus.facts(int(i)), rng) for i in rows]
        tokens = [[BOS, *self._vocabulary.encode(t), EOS] for t in texts]
        width = max(map(len, tokens))
        padded = torch.tensor([t + [PAD] * (width - len(t)) for t in tokens])
        return rows, padded[:, :-1], padded[:, 1:]


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
        """x (N, D), emotion (N,), levels (N, 8) -> loss."""
        by_level = self.levels(x).view(len(x), len(_LEVELS), -1)
        emotion_loss = functional.cross_entropy(self.emotion(x), emotion, label_smoothing=0.1)
        return emotion_loss + 0.3 * functional.cross_entropy(by_level, levels)


def train_drafter(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> DrafterDecoder:
    """A drafter of the training speakers of ``corpora``. Its state projection is fitted on the same
    data, by asking it, at every position, for all that a caption states."""
    torch.manual_seed(seed)
    model = DrafterDecoder(corpus.evidence.shape[1], len(vocabulary))
    train = corpus.evidence[corpus.rows(corpora, "train")]
    model.get_buffer("mean").copy_(torch.from_numpy(train.mean(0)))
    model.get_buffer("scale").copy_(torch.from_numpy(train.std(0) + 1e-6))
    emotion, levels = corpus.labels()
    heads = nn.ModuleDict(
        {
            "condition": _Heads(model.condition_dim, levels.shape[1]),
            "state": _Heads(STATE_DIM, levels.shape[1]),
        }
    )
    sampler = _Sampler(corpus, corpora, vocabulary, seed)
    evidence = torch.from_numpy(corpus.evidence)

    def loss_of_step(step: int) -> Tensor:
        rows, inputs, targets = sampler.batch(step, BATCH)
        condition, state_base = model.read(evidence[rows])
        past = model.causal.empty_past(len(rows))
        logits, states, _ = model.decode(inputs, condition, state_base, past)
        spoken = targets != PAD
        at = spoken.nonzero()[:, 0]
        heard = heads["condition"](condition, emotion[rows], levels[rows])
        # Unit vectors make flat logits unless they are scaled up.
        shown = heads["state"](4 * states[spoken], emotion[rows][at], levels[rows][at])
        loss: Tensor = _token_loss(logits, targets) + 0.3 * (heard + shown)
        return loss

    both = nn.ModuleDict({"drafter": model, "heads": heads})
    _fit(
        "drafter", both, loss_of_step,
        steps=steps, learning_rate=2e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model


def _disclosed(spoken: Tensor, rng: np.random.Generator) -> Tensor:
    """(N, T) which states a verifier sees: none, the summary, some block, or all, at random."""
    mask = np.zeros(spoken.shape, dtype=np.float32)
    lengths = spoken.sum(1).numpy()
    for row, kind in enumerate(rng.choice(4, len(mask), p=[0.15, 0.45, 0.25, 0.15])):
        if kind == 1:
            mask[row, 0] = 1
        elif kind == 2:
            start = int(rng.integers(lengths[row]))
            mask[row, start : start + 5] = 1
        elif kind == 3:
            mask[row] = 1
    return torch.from_numpy(mask)


def train_verifier(
    corpus: Corpus,
    corpora: Sequence[str],
    vocabulary: Vocabulary,
    drafter: DrafterDecoder,
    *,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
) -> VerifierModel:
    """A verifier of the training speakers of ``corpora``, reading the drafter's states, with states
    absent and noised at random."""
    torch.manual_seed(seed)
    model = VerifierModel(len(vocabulary))
    sampler = _Sampler(corpus, corpora, vocabulary, seed + 1)
    evidence = torch.from_numpy(corpus.evidence)
    drafter.eval()

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step, 7))
        rows, inputs, targets = sampler.batch(step, BATCH)
        with torch.no_grad():
            _, states = drafter(inputs, evidence[rows])
        sigma = torch.tensor(rng.choice([0.01, 0.03, 0.1], len(rows)), dtype=torch.float32)
        noised = states + sigma[:, None, None] * torch.randn(states.shape)
        past = model.causal.empty_past(len(rows))
        logits, _ = model(inputs, noised, _disclosed(targets != PAD, rng), past)
        return _token_loss(logits, targets)

    _fit(
        "verifier", model, loss_of_step,
        steps=steps, learning_rate=1e-3, seed=seed, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model
