from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ugsd_lab.corpora import BUNDLED_EMODB, EMOTIONS, load_corpora, load_corpus, read_samples
from ugsd_lab.errors import CorpusError


def a_recording(path: Path, *, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(rate) / 20), rate)


def test_bundled_emodb_is_whole() -> None:
    clips = load_corpora(None)
    assert len(clips) == 535
    assert len({clip.speaker for clip in clips}) == 10
    assert len({clip.emotion for clip in clips}) == 7
    assert {clip.emotion for clip in clips} <= set(EMOTIONS)


def test_no_speaker_is_in_two_splits() -> None:
    splits: dict[str, set[str]] = {}
    for clip in load_corpora(None):
        splits.setdefault(clip.speaker, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())


def test_ravdess_names_are_read_as_published(tmp_path: Path) -> None:
    a_recording(tmp_path / "Actor_21" / "03-01-06-02-02-01-21.wav")
    (clip,) = load_corpus("ravdess", tmp_path)
    assert (clip.emotion, clip.intensity, clip.gender, clip.split) == (
        "fearful", "strong", "male", "test",
    )  # fmt: skip
    assert clip.syllables == len(["o", "a", "e", "i", "i", "y", "e", "oo"])


def test_nemo_rows_are_read_as_published(tmp_path: Path) -> None:
    a_recording(tmp_path / "SM0_sadness_3.wav")
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "SM0_sadness_3.wav\tsadness\tTak.\ttak\t        SM0\tmale\t24\n",
        encoding="utf-8",
    )
    (clip,) = load_corpus("nemo", tmp_path)
    assert (clip.emotion, clip.speaker, clip.split, clip.language) == (
        "sad", "SM0", "dev", "Polish",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["emodb", "ravdess", "nemo"])
def test_a_folder_of_another_layout_is_a_named_error(name: str, tmp_path: Path) -> None:
    a_recording(tmp_path / "what.wav")
    with pytest.raises(CorpusError, match=name):
        load_corpus(name, tmp_path)


def test_a_data_folder_without_corpora_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="ravdess"):
        load_corpora(tmp_path)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    shutil.copy(BUNDLED_EMODB / "15a01Wa.opus", tmp_path)
    (clip,) = load_corpus("emodb", tmp_path)
    at_16k = read_samples(clip)
    samples, _ = soundfile.read(clip.path)
    soundfile.write(tmp_path / "15a01Wa.wav", np.repeat(samples, 3), 48_000)
    (tmp_path / "15a01Wa.opus").unlink()
    (again,) = load_corpus("emodb", tmp_path)
    assert abs(len(read_samples(again)) - len(at_16k)) <= 1


def test_a_damaged_recording_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "15a01Wa.opus").write_bytes(b"OggS and no more")
    (clip,) = load_corpus("emodb", tmp_path)
    with pytest.raises(CorpusError, match="15a01Wa"):
        read_samples(clip)
