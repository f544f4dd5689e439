"""Audio embeddings of clips by each number of an encoder's layers and each window length."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_sdk.speech.voice_activity import DETECTOR_FILE
from ugsd_sdk.speech.windows import SPEECH_RMS, WINDOW_S, encoder_windows, levelled, pooled

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.speech import read_speech
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.audio_encoder import MAX_WINDOW_S, AudioEncoder
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.torch_threads import one_torch_thread

__all__ = ["MAX_LAYERS", "WINDOWS_S", "embed_layers", "speech_layers"]

MAX_LAYERS = 3
WINDOWS_S = (WINDOW_S, MAX_WINDOW_S)
"""Longest windows, in seconds."""
_STORE_EVERY = 1000

Float32 = NDArray[np.float32]


def speech_layers(encoder: AudioEncoder, speech: Float32) -> Float32:
    """Return (W, 1 + layers, E) for speech (n,) at 16 kHz: its audio embedding by window length and
    number of layers. Each window passes through the encoder once."""
    level = levelled(speech)
    by_count: dict[int, Float32] = {}
    rows = []
    for window_s in WINDOWS_S:
        windows = encoder_windows(level, window_s)
        if len(windows) not in by_count:  # short speech is one window of either length
            lengths = [len(window) for window in windows]
            each = [encoder.layer_embeddings(window) for window in windows]
            by_count[len(windows)] = np.stack(
                [pooled(list(of_layer), lengths) for of_layer in zip(*each, strict=True)]
            )
        rows.append(by_count[len(windows)])
    return np.stack(rows)


def embed_layers(
    clips: Sequence[Clip],
    whisper: Path,
    cache: Path | None,
    progress: Progress,
    *,
    workers: int = 2,
) -> Float32:
    """Return (n, W, 1 + MAX_LAYERS, E) audio embeddings of the speech in ``clips``.

    They are kept in ``cache``, which may hold those of several encoders; an interrupted run
    resumes. One worker is this process. Raises :class:`TrainingError` if ``whisper`` is no Whisper
    encoder, and :class:`EvaluationError` if ``cache`` is something else.
    """
    AudioEncoder.from_whisper(whisper, (MAX_LAYERS,))  # raises here, not in a worker
    digest = _digest(whisper)
    stored = _read(cache) if cache is not None and cache.exists() else {}
    known: dict[str, Float32] = {}
    if f"{digest}.ids" in stored:
        ids = stored.pop(f"{digest}.ids").tolist()
        known = dict(zip(ids, stored.pop(f"{digest}.embeddings"), strict=True))
    missing = [clip for clip in clips if clip.id not in known]
    for done, (clip, embedding) in enumerate(
        zip(missing, _embedded(missing, whisper, workers), strict=True), 1
    ):
        known[clip.id] = embedding
        if cache is not None and (done % _STORE_EVERY == 0 or done == len(missing)):
            own = {
                f"{digest}.ids": np.array(list(known)),
                f"{digest}.embeddings": np.stack(list(known.values())),
            }
            _store(cache, stored | own)
        progress(f"encoding, {whisper.stem}", done, len(missing), "")
    return np.stack([known[clip.id] for clip in clips])


def _digest(whisper: Path) -> str:
    """Return a name, in hex, of everything besides a clip that its embeddings depend on."""
    digest = hashlib.sha256(repr((MAX_LAYERS, WINDOWS_S, SPEECH_RMS)).encode())
    for file in (whisper, DETECTOR_FILE):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _read(cache: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, BadZipFile, TypeError) as error:
        raise EvaluationError(f"{cache} holds no embeddings: name another file") from error


def _store(cache: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"part-{cache.stem}.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(cache)


_encoder: AudioEncoder
"""What a worker works with."""


def _start_worker(whisper: Path) -> None:
    global _encoder  # noqa: PLW0603  # the only way for a pool's initializer
    torch.set_num_threads(1)
    _encoder = AudioEncoder.from_whisper(whisper, (MAX_LAYERS,))


def _work(clip: Clip) -> Float32:
    return speech_layers(_encoder, read_speech(clip))


def _embedded(clips: Sequence[Clip], whisper: Path, workers: int) -> Iterator[Float32]:
    if not clips:
        return
    if workers == 1:
        encoder = AudioEncoder.from_whisper(whisper, (MAX_LAYERS,))
        with one_torch_thread():
            yield from (speech_layers(encoder, read_speech(clip)) for clip in clips)
        return
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawned, initializer=_start_worker, initargs=(whisper,)
    ) as pool:
        yield from pool.map(_work, clips, chunksize=8)
