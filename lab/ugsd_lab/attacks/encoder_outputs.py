"""The audio embedding and the mel frames of every clip.

Encoding takes longer than everything else, so its results are cached in a file between runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from ugsd_sdk.speech.windows import encoder_frames

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.speech import read_speech
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.audio_encoder import N_MELS, LogMel
from ugsd_lab.models.device_encoder import DeviceEncoder
from ugsd_lab.models.embeddings import PARTS, Progress, part_of

__all__ = ["FRAMES", "EncoderOutputs", "encode_clips", "encode_parts"]

Float32 = NDArray[np.float32]

FRAMES = 32
"""Length to which a clip's mel frames are averaged."""
_STORE_EVERY = 1000


@dataclass(frozen=True)
class EncoderOutputs:
    """The encoder's outputs, one row per clip."""

    embeddings: Float32
    """(n, E)"""
    mels: NDArray[np.float16]
    """(n, FRAMES * N_MELS)"""

    def __getitem__(self, rows: NDArray[np.int64]) -> EncoderOutputs:
        return EncoderOutputs(self.embeddings[rows], self.mels[rows])


def encode_clips(
    encoder: Path, clips: Sequence[Clip], cache: Path | None, progress: Progress
) -> EncoderOutputs:
    """Encode each clip with the graph ``encoder``; with ``cache``, only those that it lacks.

    Raises :class:`EvaluationError` if the cache file holds something else.
    """
    device_encoder = DeviceEncoder(encoder)
    digest = device_encoder.sha256
    known = _read(cache, digest) if cache is not None and cache.exists() else {}
    missing = [clip for clip in clips if clip.id not in known]
    if missing:
        log_mel = LogMel()
        for done, clip in enumerate(missing, 1):
            samples = read_speech(clip)
            embedding = device_encoder.embed(samples)
            known[clip.id] = embedding, mel_frames(log_mel, samples)
            if cache is not None and (done % _STORE_EVERY == 0 or done == len(missing)):
                _store(cache, known, digest)
            progress("encoding clips", done, len(missing), "")
    rows = [known[clip.id] for clip in clips]
    return EncoderOutputs(np.stack([e for e, _ in rows]), np.stack([m for _, m in rows]))


def encode_parts(
    encoder: Path,
    clips: Sequence[Clip],
    cache: Path | None,
    progress: Progress,
    *,
    count: int = PARTS,
) -> Float32:
    """Return (n, P, E) embeddings of ``count`` random parts of each clip, which share its voice and
    emotion but not its words. They depend on the clip alone and are cached in ``cache``."""
    device_encoder = DeviceEncoder(encoder)
    names = [device_encoder.sha256, f"{count} parts", *(clip.id for clip in clips)]
    if cache is not None and cache.exists():
        try:
            with np.load(cache, allow_pickle=False) as stored:
                if stored["names"].tolist() == names:
                    known: Float32 = stored["embeddings"]
                    return known
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise EvaluationError(
                f"{cache} does not hold audio embeddings: name another --cache"
            ) from error
    embeddings = []
    for done, clip in enumerate(clips, 1):
        samples = read_speech(clip)
        for number in range(1, count + 1):
            part = part_of(clip, samples, number)
            embeddings.append(device_encoder.embed(part))
        progress("encoding parts", done, len(clips), "")
    embedding = np.stack(embeddings).reshape(len(clips), count, -1)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, names=np.array(names), embeddings=embedding)
    return embedding


@torch.inference_mode()
def mel_frames(log_mel: LogMel, samples: Float32) -> NDArray[np.float16]:
    """Return the (FRAMES * N_MELS,) log-mel frames of ``samples`` (n,), averaged over time to
    FRAMES frames of N_MELS bands."""
    mel = log_mel(torch.from_numpy(encoder_frames(samples).copy())[None])[0]  # (T, N_MELS)
    even: torch.Tensor = functional.adaptive_avg_pool1d(mel.T, FRAMES).T
    return even.reshape(FRAMES * N_MELS).numpy().astype(np.float16)


_Known = dict[str, tuple[Float32, NDArray[np.float16]]]


def _read(cache: Path, encoder_sha256: str) -> _Known:
    try:
        with np.load(cache, allow_pickle=False) as stored:
            ids, embedding, mels = stored["ids"], stored["embeddings"], stored["mels"]
            same_encoder = str(stored["encoder"]) == encoder_sha256
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise EvaluationError(
            f"{cache} does not hold audio embeddings: name another --cache"
        ) from error
    if not same_encoder or embedding.ndim != 2 or mels.shape != (len(ids), FRAMES * N_MELS):
        raise EvaluationError(
            f"{cache} holds outputs of another audio encoder: name another --cache"
        )
    return dict(zip(ids.tolist(), zip(embedding, mels, strict=True), strict=True))


def _store(cache: Path, known: _Known, encoder_sha256: str) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name("part-" + cache.name)
    with temporary.open("wb") as part:
        np.savez(
            part,
            ids=np.array(list(known)),
            embeddings=np.stack([embedding for embedding, _ in known.values()]),
            mels=np.stack([mels for _, mels in known.values()]),
            encoder=encoder_sha256,
        )
    temporary.replace(cache)
