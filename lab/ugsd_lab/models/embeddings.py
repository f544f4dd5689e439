"""Audio embeddings of the speech in every clip and its augmented copies, as a device makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_sdk.speech.windows import embed_in_windows

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.training_recordings import TrainingRecordings, copy_key, copy_rng
from ugsd_lab.models.audio_encoder import SAMPLE_RATE, AudioEncoder

__all__ = ["PARTS", "Progress", "embed_clips", "embed_parts", "part_of"]

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, of, note)."""

_Job = tuple[Clip, int]
"""A clip and the number of its augmented copy; negative numbers are its parts."""
_STORE_EVERY = 1000
PARTS = 8
"""Number of parts that are embedded per clip."""
_PART_S = (0.7, 1.4)
"""Their length in seconds: a word or a few."""


def embed_clips(
    clips: Sequence[Clip], copies: int, whisper: Path, cache: Path, progress: Progress
) -> NDArray[np.float32]:
    """Return (n, 1 + copies, E) embeddings of each clip and of its augmented copies.

    Only training clips have augmented copies; the rows of the others repeat the clip. The copies
    depend on clip and number alone. Results are cached in ``cache``; an interrupted run resumes.
    """
    known: dict[str, NDArray[np.float32]] = {}
    if cache.exists():
        stored = np.load(cache)
        known = dict(zip(stored["keys"].tolist(), stored["embeddings"], strict=True))
    missing = [
        (clip, copy)
        for copy in range(1 + copies)
        for clip in clips
        if (copy == 0 or clip.split == "train") and copy_key(clip, copy) not in known
    ]
    for done, (job, embedding) in enumerate(
        zip(missing, _embedded(missing, clips, whisper), strict=True), 1
    ):
        known[copy_key(*job)] = embedding
        if done % _STORE_EVERY == 0 or done == len(missing):
            _store(cache, known)
        progress("encoding clips", done, len(missing), "")
    return np.stack(
        [
            [
                known.get(copy_key(clip, copy), known[copy_key(clip, 0)])
                for copy in range(1 + copies)
            ]
            for clip in clips
        ]
    )


def embed_parts(
    clips: Sequence[Clip], whisper: Path, cache: Path, progress: Progress
) -> NDArray[np.float32]:
    """Return (n, P, E) embeddings of random parts of each clip: the same voice and emotion, other
    words.

    They depend on the clip alone and are cached in ``cache``.
    """
    names = [clip.id for clip in clips]
    if cache.exists():
        stored = np.load(cache)
        if stored["names"].tolist() == names:
            parts: NDArray[np.float32] = stored["embeddings"]
            return parts
    jobs = [(clip, -number) for clip in clips for number in range(1, PARTS + 1)]
    embeddings = []
    for done, embedding in enumerate(_embedded(jobs, clips, whisper), 1):
        embeddings.append(embedding)
        progress("encoding parts", done, len(jobs), "")
    parts = np.stack(embeddings).reshape(len(clips), PARTS, -1)
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name("part-" + cache.name)
    np.savez(temporary, names=np.array(names), embeddings=parts)
    temporary.replace(cache)
    return parts


def part_of(clip: Clip, samples: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """Cut part ``number``, from 1 on, out of the clip's ``samples`` (n,)."""
    rng = copy_rng(clip, -number)
    length = min(len(samples), round(SAMPLE_RATE * rng.uniform(*_PART_S)))
    start = int(rng.integers(len(samples) - length + 1))
    return samples[start : start + length]


def _store(cache: Path, known: dict[str, NDArray[np.float32]]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name("part-" + cache.name)
    np.savez(temporary, keys=np.array(list(known)), embeddings=np.stack(list(known.values())))
    temporary.replace(cache)


_encoder: AudioEncoder
_recordings: TrainingRecordings
"""The encoder and the recordings of a worker process."""


def _start_worker(clips: Sequence[Clip], whisper: Path) -> None:
    global _encoder, _recordings  # noqa: PLW0603  # the only way for a pool's initializer
    torch.set_num_threads(1)
    _encoder = AudioEncoder.from_whisper(whisper)
    _recordings = TrainingRecordings(clips)


def _work(job: _Job) -> NDArray[np.float32]:
    clip, copy = job
    speech = _recordings.speech(clip, max(copy, 0))
    if copy < 0:
        speech = part_of(clip, speech, -copy)
    return embed_in_windows(_encoder.embed, speech)


def _embedded(
    jobs: Sequence[_Job], clips: Sequence[Clip], whisper: Path
) -> Iterator[NDArray[np.float32]]:
    if not jobs:
        return
    AudioEncoder.from_whisper(whisper)  # raises here, not in a worker, if the file is wrong
    with ProcessPoolExecutor(initializer=_start_worker, initargs=(clips, whisper)) as pool:
        yield from pool.map(_work, jobs, chunksize=8)
