"""Training recordings: copies as people make them, which depend on clip and number alone."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_lab.data import training_recordings
from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.data.speech import speech_in
from ugsd_lab.data.training_recordings import TrainingRecordings

CLIPS = load_corpora(None)
TRAIN = [clip for clip in CLIPS if clip.split == "train"]


@pytest.fixture(scope="module")
def recordings() -> TrainingRecordings:
    return TrainingRecordings(CLIPS)


def test_clip_itself_is_its_speech(recordings: TrainingRecordings) -> None:
    for clip in CLIPS[:3]:
        np.testing.assert_array_equal(recordings.speech(clip, 0), speech_in(read_samples(clip)))
        assert recordings.companion(clip, 0) is None


def test_copy_is_the_same_each_time(recordings: TrainingRecordings) -> None:
    again = TrainingRecordings(CLIPS)
    for clip in TRAIN[:3]:
        np.testing.assert_array_equal(recordings.speech(clip, 1), again.speech(clip, 1))
        assert not np.array_equal(recordings.speech(clip, 1), recordings.speech(clip, 2))


def test_some_copies_join_two_clips_of_one_delivery(recordings: TrainingRecordings) -> None:
    def delivery(clip: Clip) -> tuple[object, ...]:
        return clip.corpus, clip.speaker, clip.emotion, clip.intensity

    found = [(clip, recordings.companion(clip, n)) for clip in TRAIN for n in (1, 2)]
    joined = [(clip, other) for clip, other in found if other is not None]
    assert 0.3 < len(joined) / len(found) < 0.5
    for clip, other in joined:
        assert delivery(clip) == delivery(other)
        assert other.id != clip.id
        assert other.split == "train"


def test_joined_recording_is_longer_than_its_clip(
    recordings: TrainingRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_recordings, "augmented", lambda samples, rng: samples)
    monkeypatch.setattr(training_recordings, "_PADDED_SHARE", 0)
    clip, copy = next((c, n) for c in TRAIN for n in (1, 2) if recordings.companion(c, n))
    assert len(recordings.speech(clip, copy)) > 1.2 * len(recordings.speech(clip, 0))


def test_padding_is_cut_off_again(
    recordings: TrainingRecordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_recordings, "augmented", lambda samples, rng: samples)
    monkeypatch.setattr(training_recordings, "_PADDED_SHARE", 1)
    alone = [clip for clip in TRAIN[:40] if recordings.companion(clip, 1) is None][:5]
    for clip in alone:
        plain, padded = (len(recordings.speech(clip, copy)) for copy in (0, 1))
        assert padded == pytest.approx(plain, rel=0.1)
