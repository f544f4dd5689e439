"""Voice vectors tell planted speakers apart, whatever their clips express."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.models.voice import MAX_VOICE_DIM, VoiceProjection

DIM = 40
SPLITS = ("train",) * 12 + ("dev", "calibration", "test", "test")


def planted() -> tuple[list[Clip], np.ndarray]:
    """Return clips of 16 speakers, and embeddings with a voice and a larger emotion."""
    rng, some = np.random.default_rng(0), load_corpora(None)[0]
    clips, rows = [], []
    emotions = rng.normal(0, 5, (8, DIM // 2))
    for speaker, split in enumerate(SPLITS):
        voice = rng.normal(0, 1, DIM // 2)
        for number in range(24):
            clips.append(replace(some, speaker=f"s{speaker}", split=split))
            row = np.concatenate([voice, emotions[number % 8]])
            rows.append(row + rng.normal(0, 0.2, DIM))
    return clips, np.array(rows, dtype=np.float32)


def test_clips_of_one_speaker_are_near() -> None:
    clips, embeddings = planted()
    projection = VoiceProjection.fit(clips, embeddings, [clips[0].corpus])
    voices = projection(torch.from_numpy(embeddings)).numpy()
    assert voices.shape == (len(clips), MAX_VOICE_DIM)
    first, second = (voices[[clip.speaker == name for clip in clips]] for name in ("s14", "s15"))
    own = np.linalg.norm(first[:12] - first[12:], axis=1)
    others = np.linalg.norm(first - second, axis=1)
    assert np.mean(own <= 1) >= 0.9
    assert np.min(others) > 2


def test_no_more_numbers_than_the_speakers_differ_in() -> None:
    clips, embeddings = planted()
    few = [replace(clip, split="test") if int(clip.speaker[1:]) in range(4, 12) else clip
           for clip in clips]  # fmt: skip
    projection = VoiceProjection.fit(few, embeddings, [clips[0].corpus])
    assert projection(torch.from_numpy(embeddings)).shape[1] == 3
