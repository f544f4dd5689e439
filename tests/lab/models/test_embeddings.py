from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data import augment
from ugsd_lab.data.augment import augmented, drawn_speed
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.speech import read_speech
from ugsd_lab.data.training_recordings import TrainingRecordings, copy_rng
from ugsd_lab.errors import TrainingError
from ugsd_lab.models import embeddings
from ugsd_lab.models.audio_encoder import HEAD_DIM, AudioEncoder
from ugsd_lab.models.embeddings import embed_clips, embed_parts

WHISPER = Path("no-such-file.safetensors")


class _Killed(Exception):
    pass


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


@pytest.fixture
def clips() -> list[Clip]:
    every = load_corpora(None)
    chosen = [clip for clip in every if clip.split == "train"][:2]
    chosen.append(next(clip for clip in every if clip.split == "test"))
    return chosen


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Install an encoder of two numbers, in this process; return the jobs that it was asked to
    encode."""
    asked: list[tuple[str, int]] = []

    def embed_here(
        jobs: Sequence[tuple[Clip, int]], clips: Sequence[Clip], whisper: Path
    ) -> Iterator[NDArray[np.float32]]:
        monkeypatch.setattr(embeddings, "_recordings", TrainingRecordings(clips), raising=False)
        for job in jobs:
            asked.append((job[0].id, job[1]))
            yield embeddings._work(job)

    def length_and_power(encode: object, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array([len(speech), speech.std()], dtype=np.float32)

    monkeypatch.setattr(embeddings, "_embedded", embed_here)
    monkeypatch.setattr(embeddings, "_encoder", AudioEncoder(HEAD_DIM, (0,)), raising=False)
    monkeypatch.setattr(embeddings, "embed_in_windows", length_and_power)
    return asked


def test_only_training_clips_have_augmented_copies(
    clips: list[Clip], requested: list[tuple[str, int]], tmp_path: Path
) -> None:
    embedding = embed_clips(clips, 2, WHISPER, tmp_path / "heard.npz", quiet)
    assert embedding.shape == (3, 3, 2)
    assert embedding.dtype == np.float32
    assert len(requested) == 3 + 2 * 2
    recordings = TrainingRecordings(clips)
    for row, clip in enumerate(clips):
        for copy in (0, 1, 2) if clip.split == "train" else (0,):
            speech = recordings.speech(clip, copy)
            assert embedding[row, copy].tolist() == [len(speech), speech.std()]
    assert (embedding[2] == embedding[2, 0]).all()
    assert not (embedding[:2, 1:] == embedding[:2, :1]).all()


def test_cached_embeddings_are_reused_and_extended(
    clips: list[Clip], requested: list[tuple[str, int]], tmp_path: Path
) -> None:
    cache = tmp_path / "deep" / "heard.npz"
    first = embed_clips(clips, 1, WHISPER, cache, quiet)
    del requested[:]
    np.testing.assert_array_equal(embed_clips(clips, 1, WHISPER, cache, quiet), first)
    assert not requested
    more = embed_clips(clips[::-1], 2, WHISPER, cache, quiet)
    assert requested == [(clips[1].id, 2), (clips[0].id, 2)]
    np.testing.assert_array_equal(more[::-1, :2], first)


def test_killed_encoding_resumes_from_its_cache(
    clips: list[Clip],
    requested: list[tuple[str, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embeddings, "_STORE_EVERY", 2)

    def kill_at_five(stage: str, done: int, of: int, note: str) -> None:
        if done == 5:
            raise _Killed

    whole = embed_clips(clips, 2, WHISPER, tmp_path / "whole.npz", quiet)
    with pytest.raises(_Killed):
        embed_clips(clips, 2, WHISPER, tmp_path / "killed.npz", kill_at_five)
    del requested[:]
    resumed = embed_clips(clips, 2, WHISPER, tmp_path / "killed.npz", quiet)
    assert len(requested) == 3  # four of seven were cached
    np.testing.assert_array_equal(resumed, whole)


def test_parts_are_some_words_of_each_clip(
    clips: list[Clip], requested: list[tuple[str, int]], tmp_path: Path
) -> None:
    parts = embed_parts(clips, WHISPER, tmp_path / "parts.npz", quiet)
    assert parts.shape == (3, 8, 2)
    assert parts.dtype == np.float32
    assert len(requested) == len(set(requested)) == 3 * 8
    for row, clip in enumerate(clips):
        whole_s = len(read_speech(clip)) / 16_000
        lengths_s = parts[row, :, 0] / 16_000
        assert (lengths_s >= min(0.7, whole_s) - 1e-4).all()
        assert (lengths_s <= min(1.4, whole_s) + 1e-4).all()
        assert len({tuple(part) for part in parts[row]}) == 8, "the parts differ"


def test_part_is_contiguous_or_the_whole_clip(clips: list[Clip]) -> None:
    for length in (40_000, 8_000):
        ramp = np.arange(length, dtype=np.float32)
        for number in range(1, 21):
            part = embeddings.part_of(clips[0], ramp, number)
            assert (np.diff(part) == 1).all()
            assert 11_200 <= len(part) <= 22_400 or len(part) == length == 8_000


def test_parts_depend_on_the_clip_alone(
    clips: list[Clip], requested: list[tuple[str, int]], tmp_path: Path
) -> None:
    first = embed_parts(clips, WHISPER, tmp_path / "first.npz", quiet)
    again = embed_parts(clips[::-1], WHISPER, tmp_path / "again.npz", quiet)
    np.testing.assert_array_equal(first, again[::-1])


def test_parts_are_cached_for_the_same_clips(
    clips: list[Clip], requested: list[tuple[str, int]], tmp_path: Path
) -> None:
    cache = tmp_path / "deep" / "parts.npz"
    first = embed_parts(clips, WHISPER, cache, quiet)
    del requested[:]
    np.testing.assert_array_equal(embed_parts(clips, WHISPER, cache, quiet), first)
    assert not requested
    fewer = embed_parts(clips[1:], WHISPER, cache, quiet)
    assert len(requested) == 2 * 8
    np.testing.assert_array_equal(fewer, first[1:])


def test_copy_depends_on_clip_and_number_alone(clips: list[Clip]) -> None:
    draws = {
        (clip.id, copy): tuple(copy_rng(clip, copy).random(4)) for clip in clips for copy in (1, 2)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[clips[0].id, 1] == tuple(copy_rng(clips[0], 1).random(4))


@pytest.mark.parametrize("copy", range(1, 7))
def test_drawn_speed_is_the_copys_speed(
    clips: list[Clip], copy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "_STEPS", ())
    speed = drawn_speed(copy_rng(clips[0], copy))
    sine = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    output = augmented(sine, copy_rng(clips[0], copy))
    assert len(output) == pytest.approx(16_000 / speed, abs=1)
    peak_hz = np.abs(np.fft.rfft(output, 160_000)).argmax() / 10
    assert peak_hz == pytest.approx(400 * speed, abs=0.5)


def test_foreign_weights_are_refused_before_encoding(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        embed_clips(clips, 0, tmp_path / "none.safetensors", tmp_path / "heard.npz", quiet)
    assert not (tmp_path / "heard.npz").exists()
