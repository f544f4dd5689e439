"""How well speakers are told apart is counted rightly, by the device's own rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.bench.profile_trials import ENROLLED, REFUSED, SAME_RECORDING, SEVERAL
from ugsd_lab.bench.recording_trials import enrol_sounds
from ugsd_lab.bench.speaker_counts import TOTAL, Count, Trials
from ugsd_lab.bench.speaker_tables import distance_tables, notes, tables
from ugsd_lab.bench.speakers import SpeakerBench, TrialCounts, bench_speakers
from ugsd_lab.bench.spoken_clips import VoiceEncoder
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.matching import MAX_VOICE_DISTANCE
from ugsd_sdk.speech.reader import SpeechDetector, WholeRecording
from ugsd_sdk.speech.spans import Speech
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from tests.lab.bench.planted_speakers import ADA, BEN, EVE, PlantedDrafter, Speaker, recordings

FEW = TrialCounts(encoded=12, recordings=6, sounds=0)


def measured(
    clips: list[Clip],
    drafter: Drafter | None = None,
    *,
    trials: TrialCounts = FEW,
    limit: int = 60,
    detector: SpeechDetector | None = None,
) -> SpeakerBench:
    return bench_speakers(
        clips, drafter or PlantedDrafter(), lambda *_: None, limit=limit, trials=trials,
        detector=detector or WholeRecording(),
    )  # fmt: skip


def shares(found: SpeakerBench, question: str, corpus: str = TOTAL) -> dict[str, float]:
    """Return the share of each case that has trials."""
    return {
        one.case: one.share
        for one in found.counts
        if (one.question, one.corpus) == (question, corpus) and one.share is not None
    }


def count(found: SpeakerBench, case: str, corpus: str = TOTAL) -> Count:
    (one,) = (one for one in found.counts if (one.case, one.corpus) == (case, corpus))
    return one


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return recordings(tmp_path, (ADA, EVE, BEN))


def test_distinct_voices_are_always_told_apart(clips: list[Clip]) -> None:
    found = measured(clips)

    assert {one.share for one in found.counts if one.is_right} == {1.0, None}
    assert {one.share for one in found.counts if not one.is_right} == {0.0, None}
    assert len(shares(found, REFUSED)) == 9
    assert set(shares(found, ENROLLED)) == {
        "one speaker, 3 clips", "one speaker, 5 clips", "one speaker, 8 clips",
        "two speakers in turns, same gender", "two speakers in turns, other gender",
        "one clip three times",
    }  # fmt: skip
    assert len(shares(found, SEVERAL)) == 4
    assert len(shares(found, SAME_RECORDING)) == 5
    (alone,) = (one for one in found.time_to_enrol if one.corpus == TOTAL)
    assert (alone.trials, alone.enrolled, alone.mean_clips) == (FEW.encoded, FEW.encoded, 3)


def test_voices_that_sound_alike_are_taken_for_one(clips: list[Clip]) -> None:
    found = measured(clips, PlantedDrafter(hz_per_unit=1e6))

    assert set(shares(found, REFUSED).values()) == {0.0}
    assert shares(found, ENROLLED)["two speakers in turns, same gender"] == 1
    assert shares(found, ENROLLED)["two speakers in turns, other gender"] == 1
    assert set(shares(found, SEVERAL).values()) == {0.0}


def test_only_pairs_of_their_gender_are_counted(clips: list[Clip]) -> None:
    """At this scale the two women sound alike, and the man sounds different."""
    found = measured(clips, PlantedDrafter(hz_per_unit=330))

    assert shares(found, REFUSED) == {
        f"profile of {size}: {whose}": share
        for size in ("1 clip", "3 clips", "10 clips")
        for whose, share in (
            ("own clip", 0), ("other speaker, same gender", 0), ("other speaker, other gender", 1),
        )
    }  # fmt: skip
    enrolled = shares(found, ENROLLED)
    assert enrolled["two speakers in turns, same gender"] == 1
    assert enrolled["two speakers in turns, other gender"] == 0


def test_speaker_who_never_sounds_alike_never_enrols(clips: list[Clip]) -> None:
    found = measured(clips, PlantedDrafter(hz_per_unit=10, takes_are_speakers=True))

    assert shares(found, REFUSED)["profile of 1 clip: own clip"] == 1
    assert shares(found, ENROLLED)["one speaker, 8 clips"] == 0
    (alone,) = (one for one in found.time_to_enrol if one.corpus == TOTAL)
    assert (alone.trials, alone.enrolled, alone.mean_clips) == (FEW.encoded, 0, None)
    assert shares(found, SEVERAL)["one speaker, two clips joined"] == 1
    assert shares(found, SEVERAL)["one speaker, one clip"] == 0


def test_short_clips_enrol_only_with_enough_speech(tmp_path: Path) -> None:
    found = measured(recordings(tmp_path, (ADA,), duration_s=1.0))

    enrolled = shares(found, ENROLLED)
    assert (enrolled["one speaker, 3 clips"], enrolled["one speaker, 5 clips"]) == (0, 1)
    assert found.time_to_enrol[0].mean_clips == 5
    assert "one speaker, two clips joined" not in shares(found, SEVERAL)


def test_takes_that_sound_alike_are_one_recording(clips: list[Clip]) -> None:
    found = measured(clips, PlantedDrafter(hears_takes=False))

    assert shares(found, SAME_RECORDING)["another clip, profile of 10 clips"] == 1
    assert shares(found, ENROLLED)["one speaker, 8 clips"] == 0


def test_recording_at_another_level_may_be_missed(clips: list[Clip]) -> None:
    found = measured(clips, PlantedDrafter(hears_level=True))

    same = shares(found, SAME_RECORDING)
    assert same["the clip itself"] == 1
    assert same["the clip at a gain of 0.1"] == 0


def test_distances_are_those_of_the_rules(clips: list[Clip]) -> None:
    found = measured([clip for clip in clips if clip.speaker != EVE.name])

    by_case = {one.case: one for one in found.distances if one.corpus == TOTAL}
    apart = (BEN.hz - ADA.hz) / 100
    for size, name in ((1, "1 clip"), (3, "3 clips"), (10, "10 clips")):
        own = by_case[f"profile of {name}: own clip"].quantiles
        assert list(own) == ["0.5", "0.9", "0.95", "0.98", "0.99"]
        assert set(own.values()) == {0.0}
        other = by_case[f"profile of {name}: other speaker, other gender"].quantiles
        assert list(other) == ["0.01", "0.02", "0.05", "0.1", "0.5"]
        assert other["0.5"] == pytest.approx(apart / np.sqrt((1 + 1 / size) / 2))
    windows = by_case["two speakers joined, other gender"].quantiles
    assert windows["0.01"] == windows["0.5"] == pytest.approx(apart)
    titles = [table.title for table in distance_tables(found)]
    assert (
        f"Voice distances that should be at most MAX_VOICE_DISTANCE = {MAX_VOICE_DISTANCE:g}"
        in titles
    )
    assert len(titles) == 4


def test_each_clip_is_encoded_once(clips: list[Clip]) -> None:
    drafter = PlantedDrafter()
    measured(clips, drafter, trials=TrialCounts(encoded=50, recordings=0, sounds=0))

    assert drafter.encoded == len(clips)


def test_limit_holds_for_each_speaker(clips: list[Clip]) -> None:
    found = measured(clips, limit=4)

    (size,) = found.corpora
    assert (size.speakers, size.clips) == (3, 12)
    assert count(found, "profile of 3 clips: own clip").trials == FEW.encoded
    assert count(found, "profile of 10 clips: own clip").trials == 0


def test_corpora_do_not_change_each_other(tmp_path: Path, clips: list[Clip]) -> None:
    more = recordings(tmp_path, (ADA, BEN), corpus="another")
    drafter = PlantedDrafter(hz_per_unit=330)
    alone, both = measured(clips, drafter), measured([*more, *clips], drafter)

    def of_first(found: SpeakerBench) -> list[Count]:
        return [one for one in found.counts if one.corpus == "planted"]

    assert of_first(alone) == of_first(both)
    for case in ("profile of 1 clip: other speaker, other gender", "one clip three times"):
        total, *own = (count(both, case, corpus) for corpus in (TOTAL, "planted", "another"))
        assert total.trials == sum(one.trials for one in own)
        assert total.count == sum(one.count for one in own)
    assert count(both, "two speakers joined, same gender", "another").share is None


def test_speakers_without_gender_are_counted_apart(tmp_path: Path) -> None:
    found = measured(recordings(tmp_path, (ADA, Speaker("kim", None, 925))))

    assert count(found, "two speakers in turns, gender not given").trials == FEW.encoded
    assert count(found, "two speakers in turns, same gender").trials == 0
    shown = [row[0] for table in tables(found) for row in table.rows]
    assert "two speakers in turns, gender not given" in shown
    assert "two speakers in turns, same gender" not in shown


class DeafTo(WholeRecording):
    """A detector that finds no speech in some recordings, by their number."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._found = 0

    def find(self, recording: NDArray[np.float32]) -> Speech:
        self._found += 1
        if self._found - 1 in self._numbers:
            return Speech((), len(recording))
        return super().find(recording)


def test_clips_without_speech_are_left_out(clips: list[Clip]) -> None:
    found = measured(clips, detector=DeafTo(0, 5))

    (size,) = found.corpora
    assert (size.clips, size.without_speech) == (len(clips) - 2, 2)
    assert count(found, "one clip three times").trials == len(clips) - 2


def enrolled_by_sounds(detector: SpeechDetector) -> list[bool]:
    trials = Trials()
    encoder = VoiceEncoder(PlantedDrafter(hz_per_unit=1e6), detector)
    enrol_sounds(trials, encoder, 1, np.random.default_rng(0), lambda *_: None)
    ((case, answers),) = trials.answers.items()
    assert (case.question, case.is_right) == (ENROLLED, False)
    return answers


def test_sounds_enrol_only_where_taken_for_speech() -> None:
    assert not any(enrolled_by_sounds(VoiceActivityDetector()))
    assert any(enrolled_by_sounds(WholeRecording()))


def test_drafter_without_voice_vectors_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(EvaluationError, match=r"folder holds voice\.onnx"):
        measured(clips, PlantedDrafter(has_voices=False))
    with pytest.raises(EvaluationError, match="name another --drafter"):
        measured(clips, ScriptedDrafter())


@pytest.mark.parametrize(
    ("split", "message"), [("train", "not held out"), ("dev", "name another --split")]
)
def test_splits_without_held_out_clips_are_refused(
    clips: list[Clip], split: str, message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        bench_speakers(clips, PlantedDrafter(), lambda *_: None, split=split, limit=60)


def test_tables_have_a_column_for_each_corpus(tmp_path: Path, clips: list[Clip]) -> None:
    found = measured([*clips, *recordings(tmp_path, (ADA,), corpus="another")])

    sizes, refused, *_ = tables(found)
    assert [row[0] for row in sizes.rows] == ["planted", "another"]
    assert tuple(refused.header) == ("trials", "planted", "another", TOTAL, "best")
    assert tuple(refused.rows[0]) == (
        "profile of 1 clip: own clip", "0.000 of 12", "0.000 of 12", "0.000 of 24", "0",
    )  # fmt: skip
    assert "another: 2 speakers or fewer" in notes(found)[-1]


def test_command_prints_counts_and_distances(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ugsd_lab.data.corpora.load_corpora", lambda _: clips)
    monkeypatch.setattr("ugsd_sdk.drafter.onnx.OnnxDrafter", lambda _: PlantedDrafter())
    monkeypatch.setattr("ugsd_lab.bench.speakers.VoiceActivityDetector", WholeRecording)
    monkeypatch.setattr("ugsd_lab.bench.speakers.TrialCounts", lambda: FEW)

    assert main(["bench", "speakers", "--json", "--limit", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["corpora"][0]["clips"] == 15
    assert found["thresholds"]["MAX_VOICE_DISTANCE"] == MAX_VOICE_DISTANCE
    assert found["distances"][0]["quantiles"]["0.98"] == 0

    assert main(["bench", "speakers", "--markdown"]) == 0
    assert "Voice distances" not in capsys.readouterr().out
    assert main(["bench", "speakers", "--markdown", "--distances"]) == 0
    assert "Voice distances" in capsys.readouterr().out
    assert main(["bench", "speakers", "--split", "train"]) == 1
    assert "not held out" in capsys.readouterr().err
