"""What the ears hear of every clip, and what a listener would: evidence, and the mel frames.

Listening costs more than all else, so its results are kept in a file between runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from ugsd_sdk.audio.windows import encoder_windows

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.speech import read_speech
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.audio_encoder import N_MELS, AudioEncoder
from ugsd_lab.models.embeddings import PARTS, Progress, part_of

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["FRAMES", "EncoderOutputs", "listen", "listen_to_parts"]

Float32 = NDArray[np.float32]

FRAMES = 32
"""Of a clip's mel frames when its length is taken out."""
_KEEP_EVERY = 1000


@dataclass(frozen=True)
class EncoderOutputs:
    """What was heard of clips, row by row."""

    evidence: Float32
    """(n, E)"""
    mels: NDArray[np.float16]
    """(n, FRAMES * N_MELS)"""

    def __getitem__(self, rows: NDArray[np.int64]) -> EncoderOutputs:
        return EncoderOutputs(self.evidence[rows], self.mels[rows])


def listen(
    ears: Path, clips: Sequence[Clip], cache: Path | None, progress: Progress
) -> EncoderOutputs:
    """Hear each clip with the graph ``ears``; with ``cache``, only those not heard before.

    Raises :class:`EvaluationError` where the file holds something else.
    """
    digest = hashlib.sha256(ears.read_bytes()).hexdigest()
    known = _read(cache, digest) if cache is not None and cache.exists() else {}
    missing = [clip for clip in clips if clip.id not in known]
    if missing:
        session, frames = _session(ears), AudioEncoder()
        for done, clip in enumerate(missing, 1):
            samples = read_speech(clip)
            embedding = session.run(None, {"samples": encoder_windows(samples)})[0][0]
            known[clip.id] = embedding, mel_frames(frames, samples)
            if cache is not None and (done % _KEEP_EVERY == 0 or done == len(missing)):
                _keep(cache, known, digest)
            progress("listening", done, len(missing), "")
    rows = [known[clip.id] for clip in clips]
    return EncoderOutputs(np.stack([e for e, _ in rows]), np.stack([m for _, m in rows]))


def listen_to_parts(
    ears: Path, clips: Sequence[Clip], cache: Path | None, progress: Progress
) -> Float32:
    """(n, PARTS, E) evidence of random parts of each clip, which have its voice and its feeling and
    other words; they depend on the clip alone. Kept in ``cache``."""
    names = [hashlib.sha256(ears.read_bytes()).hexdigest(), *(clip.id for clip in clips)]
    if cache is not None and cache.exists():
        try:
            with np.load(cache, allow_pickle=False) as kept:
                if kept["names"].tolist() == names:
                    known: Float32 = kept["evidence"]
                    return known
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise EvaluationError(f"{cache} holds no evidence: name another --cache") from error
    session, heard = _session(ears), []
    for done, clip in enumerate(clips, 1):
        samples = read_speech(clip)
        for number in range(1, PARTS + 1):
            part = part_of(clip, samples, number)
            heard.append(session.run(None, {"samples": encoder_windows(part)})[0][0])
        progress("listening to parts", done, len(clips), "")
    embedding = np.stack(heard).reshape(len(clips), PARTS, -1)
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, names=np.array(names), evidence=embedding)
    return embedding


@torch.inference_mode()
def mel_frames(ears: AudioEncoder, samples: Float32) -> NDArray[np.float16]:
    """(FRAMES * N_MELS,) the log-mel frames of ``samples``, (n,), their time stretched to one
    length: FRAMES averages, each of N_MELS bands."""
    mel = ears.log_mel(torch.from_numpy(samples)[None])  # (1, N_MELS, T)
    even: torch.Tensor = functional.adaptive_avg_pool1d(mel, FRAMES)[0].T
    return even.reshape(FRAMES * N_MELS).numpy().astype(np.float16)


_Known = dict[str, tuple[Float32, NDArray[np.float16]]]


def _read(cache: Path, ears: str) -> _Known:
    try:
        with np.load(cache, allow_pickle=False) as kept:
            ids, embedding, mels = kept["ids"], kept["evidence"], kept["mels"]
            same_ears = str(kept["ears"]) == ears
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise EvaluationError(f"{cache} holds no evidence: name another --cache") from error
    if not same_ears or embedding.ndim != 2 or mels.shape != (len(ids), FRAMES * N_MELS):
        raise EvaluationError(f"{cache} holds what other ears heard: name another --cache")
    return dict(zip(ids.tolist(), zip(embedding, mels, strict=True), strict=True))


def _keep(cache: Path, known: _Known, ears: str) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name("part-" + cache.name)
    with temporary.open("wb") as part:
        np.savez(
            part,
            ids=np.array(list(known)),
            evidence=np.stack([embedding for embedding, _ in known.values()]),
            mels=np.stack([mels for _, mels in known.values()]),
            ears=ears,
        )
    temporary.replace(cache)


def _session(ears: Path) -> onnxruntime.InferenceSession:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the device does: docs/decisions/007
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(ears), options, providers=["CPUExecutionProvider"])
