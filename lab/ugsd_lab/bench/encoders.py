"""``ugsd-lab bench encoders``: which audio encoder reads emotion best at which cost.

Whisper encoders, of which some layers are pooled, read in windows of some length, are compared by
how well a linear read-out of their audio embedding names the emotions of development speakers, and
by what they cost on one thread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.bench.encoder_cost import EncoderCost, exported, measure_encoder
from ugsd_lab.bench.layer_embeddings import WINDOWS_S, embed_layers
from ugsd_lab.data.corpora import KNOWN_CORPORA, Clip
from ugsd_lab.data.recipe import DRAFTERS
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.read_out import own_embeddings, read_emotions
from ugsd_lab.models.audio_encoder import AudioEncoder
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable
from ugsd_lab.training.profiles import in_recording_order

__all__ = ["READ_OUTS", "EncoderRow", "bench_encoders", "frontier", "notes", "tables"]

Float32 = NDArray[np.float32]
Layers = tuple[int, ...]
Costs = Callable[[Path, Progress], Mapping[tuple[Layers, float], EncoderCost]]

LAYERS: tuple[Layers, ...] = ((0,), (1,), (2,), (3,), (1, 2), (2, 3))
"""The layers whose outputs are pooled; 0 is the output of the convolutions."""

DRAFTER_CORPORA = DRAFTERS["starter"].corpora


@dataclass(frozen=True)
class ReadOut:
    """What a read-out is trained on and reads."""

    name: str
    corpora: tuple[str, ...] | None
    """``None``: all."""
    has_profile: bool


READ_OUTS = (
    ReadOut("drafter", DRAFTER_CORPORA, has_profile=True),
    ReadOut("drafter, unenrolled", DRAFTER_CORPORA, has_profile=False),
    ReadOut("bound", None, has_profile=True),
    ReadOut("bound, unenrolled", None, has_profile=False),
)
"""The first one ranks the encoders."""


@dataclass(frozen=True)
class EncoderRow:
    """One audio encoder."""

    whisper: str
    """Name of the weights' file."""
    layers: Layers
    """The layers whose outputs are pooled; 0 is the output of the convolutions."""
    window_s: float
    """Longest window in seconds."""
    cost: EncoderCost
    emotion: Mapping[str, Mapping[str, float]]
    """Read-out -> corpus -> share of clips whose emotion it names."""
    is_on_frontier: bool = False
    """Whether no other encoder is at least as good and as fast, and better in one."""

    def mean(self, read_out: ReadOut) -> float:
        """Return the mean over corpora of a read-out's accuracy."""
        return fmean(self.emotion[read_out.name].values())

    def as_dict(self) -> dict[str, object]:
        """Return the fields and the means over corpora, for JSON."""
        return asdict(self) | {"mean": {one.name: self.mean(one) for one in READ_OUTS}}


def bench_encoders(
    clips: Sequence[Clip],
    whispers: Sequence[Path],
    progress: Progress,
    *,
    limit: int | None = None,
    cache: Path | None = None,
    runs: int = 20,
    workers: int = 2,
    costs: Costs | None = None,
) -> list[EncoderRow]:
    """Compare the encoders of ``whispers``, best first, on the labelled clips of training and
    development speakers, at most ``limit`` of each speaker.

    ``runs`` clips are timed for each. ``costs`` replaces measuring them. Raises
    :class:`EvaluationError` if a split has no clips.
    """
    train, dev = (_labelled(clips, split, limit) for split in ("train", "dev"))
    if not dev or not any(clip.corpus in DRAFTER_CORPORA for clip in train):
        raise EvaluationError(
            "there are no training clips of a drafter's corpora or no clips of development "
            "speakers: name a folder with corpora as --data"
        )
    every = [*train, *dev]
    embeddings = [embed_layers(every, one, cache, progress, workers=workers) for one in whispers]
    rows = []
    for whisper, of_whisper in zip(whispers, embeddings, strict=True):
        cost = costs(whisper, progress) if costs else _costs(whisper, runs, progress)
        for place, layers in enumerate(LAYERS):
            for window, window_s in enumerate(WINDOWS_S):
                emotion = _accuracies(train, dev, _joined(of_whisper[:, window], layers))
                rows.append(
                    EncoderRow(whisper.stem, layers, window_s, cost[layers, window_s], emotion)
                )
                done = place * len(WINDOWS_S) + window + 1
                progress(f"reading, {whisper.stem}", done, len(LAYERS) * len(WINDOWS_S), "")
    return frontier(rows)


def _joined(embeddings: Float32, layers: Layers) -> Float32:
    """Join the audio embeddings (n, 1 + MAX_LAYERS, E) of ``layers`` as an encoder that pools them
    does: their means, then their standard deviations."""
    chosen = embeddings[:, list(layers)]
    half = chosen.shape[2] // 2
    return np.concatenate(
        [
            chosen[:, :, :half].reshape(len(chosen), -1),
            chosen[:, :, half:].reshape(len(chosen), -1),
        ],
        axis=1,
    )


def frontier(rows: Sequence[EncoderRow]) -> list[EncoderRow]:
    """Return the rows, best first by emotion, with the Pareto frontier of emotion and time
    marked."""

    def key(row: EncoderRow) -> tuple[float, float]:
        return -row.mean(READ_OUTS[0]), row.cost.encode_ms

    def is_beaten(row: EncoderRow) -> bool:
        return any(
            all(one <= own for one, own in zip(key(other), key(row), strict=True))
            and key(other) != key(row)
            for other in rows
        )

    return [
        EncoderRow(row.whisper, row.layers, row.window_s, row.cost, row.emotion, not is_beaten(row))
        for row in sorted(rows, key=key)
    ]


def _labelled(clips: Sequence[Clip], split: str, limit: int | None) -> list[Clip]:
    """Return the clips of ``split`` that have an emotion: the first ones of each speaker."""
    own = [clip for clip in clips if clip.split == split and clip.emotion is not None]
    counts: dict[tuple[str, str], int] = {}
    chosen = []
    for index in in_recording_order(own):
        speaker = (own[index].corpus, own[index].speaker)
        counts[speaker] = counts.get(speaker, 0) + 1
        if limit is None or counts[speaker] <= limit:
            chosen.append(own[index])
    return chosen


def _costs(whisper: Path, runs: int, progress: Progress) -> dict[tuple[Layers, float], EncoderCost]:
    """Measure the cost by layers and window length, one after another."""
    found: dict[tuple[Layers, float], EncoderCost] = {}
    for layers in LAYERS:
        with tempfile.TemporaryDirectory(prefix="ugsd-bench-") as folder:
            graph = exported(Path(folder), AudioEncoder.from_whisper(whisper, layers))
            for window_s in WINDOWS_S:
                found[layers, window_s] = measure_encoder(graph, window_s, runs)
                total = len(LAYERS) * len(WINDOWS_S)
                progress(f"timing, {whisper.stem}", len(found), total, "")
    return found


def _accuracies(
    train: Sequence[Clip], dev: Sequence[Clip], embeddings: Float32
) -> dict[str, dict[str, float]]:
    """Return read-out -> corpus -> accuracy, for ``embeddings`` (n, E) of ``train`` and ``dev``."""
    corpora = [name for name in KNOWN_CORPORA if any(clip.corpus == name for clip in dev)]
    out: dict[str, dict[str, float]] = {}
    for read_out in READ_OUTS:
        rows = [
            row
            for row, clip in enumerate(train)
            if read_out.corpora is None or clip.corpus in read_out.corpora
        ]
        known = [train[row] for row in rows]
        inputs = np.concatenate([embeddings[rows], embeddings[len(train) :]])
        if read_out.has_profile:
            population = inputs[: len(rows)].mean(0)
            inputs = own_embeddings([*known, *dev], inputs, population)
        named = read_emotions(known, inputs[: len(rows)], inputs[len(rows) :])
        right = [name == clip.emotion for name, clip in zip(named, dev, strict=True)]
        out[read_out.name] = {
            corpus: fmean(
                float(one) for one, clip in zip(right, dev, strict=True) if clip.corpus == corpus
            )
            for corpus in corpora
        }
    return out


def tables(rows: Sequence[EncoderRow]) -> list[TextTable]:
    """Return the encoders with cost and mean accuracy, and the accuracy on each corpus."""
    encoder = ("encoder", "layers", "window s")
    read_outs = tuple(one.name for one in READ_OUTS)
    summary = [
        (
            *_name(row),
            f"{row.cost.encode_ms:.1f}",
            f"{row.cost.file_mb:.1f}",
            f"{row.cost.memory_mb:.0f}",
            *(f"{row.mean(one):.3f}" for one in READ_OUTS),
            "yes" if row.is_on_frontier else "",
        )
        for row in rows
    ]
    header = (*encoder, "ms", "MB", "memory MB", *read_outs, "frontier")
    out = [TextTable(header, summary, "Mean over corpora", left=("encoder", "frontier"))]
    for corpus in rows[0].emotion[READ_OUTS[0].name]:
        each = [
            (*_name(row), *(f"{row.emotion[n][corpus]:.2f}" for n in read_outs)) for row in rows
        ]
        out.append(TextTable((*encoder, *read_outs), each, corpus, left=("encoder",)))
    return out


def _name(row: EncoderRow) -> tuple[str, ...]:
    return row.whisper, " and ".join(map(str, row.layers)), f"{row.window_s:g}"


def notes() -> list[str]:
    """Return what readers of the tables need to know."""
    return [
        "Emotion: share of the development speakers' clips whose emotion a linear read-out of the "
        "audio embedding names, mean over corpora.",
        f"Drafter: read-out trained on {' and '.join(DRAFTER_CORPORA)}; bound: on all corpora. It "
        "subtracts the speaker profile, or not: unenrolled.",
        "ms: CPU time of log-mel, encoder and pooling of a clip of 4 s on one thread, p50. MB: "
        "graph as stored, weights in int8. Memory: growth of a process that loads and runs it.",
        "Frontier: no other encoder is at least as good for drafters and as fast.",
    ]
