"""The norms of prosody: borders of what is usual, and errors that are wide enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.data.corpora import Clip, Split
from ugsd_lab.data.prosody import Measures
from ugsd_lab.data.reference_prosody import ReferenceProsody
from ugsd_lab.errors import TrainingError
from ugsd_lab.training.prosody_norms import fit_norms, write_norms
from ugsd_lab.training.prosody_rows import ProsodyRow, agreement, right_values
from ugsd_sdk.attributes.attribute import SAID_ABOVE
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.prosody.norms import load_norms
from ugsd_sdk.prosody.prosody import Changes, Emphasis, Prosody

REFERENCE = ReferenceProsody(
    start_s=0, end_s=4, pauses=(), level_change_db=0, effort_change_db=0, pitch_change_st=0,
    final_pitch_st=0, emphasis_place=0.5,
)  # fmt: skip


def _row(split: Split, truth: float, error: float, other: float) -> ProsodyRow:
    """Return a recording whose every measure is ``truth``, and which the device measures with an
    ``error``."""
    gender = "female" if other > 0 else "male"
    clip = Clip(
        path=Path("clip.wav"), corpus="made", speaker=split, gender=gender, language="German",
        emotion=None, intensity=None, sentence="", split=split,
    )  # fmt: skip
    own = truth + error
    changes = Changes(effort_db=other, level_db=other, pitch_st=other, pace=other, final_pitch_st=0)
    device = Prosody(
        speech_s=4, start_s=0, end_s=4, level_db=-20, effort_db=own, pitch_st=own,
        variation_st=own, clarity_db=own, pace=own, pauses=(), changes=changes,
        emphasis=Emphasis(0.5, 3),
    )  # fmt: skip
    measures = Measures(
        pitch_st=truth, pitch_sd_st=truth, level_db=-20, pace=truth, pause_share=0, tilt_db=truth,
        cpp_db=truth,
    )  # fmt: skip
    reference = replace(REFERENCE, level_change_db=other, pitch_change_st=other)
    return ProsodyRow(clip, device, measures, reference)


def _rows(error: float, count: int = 400) -> list[ProsodyRow]:
    drawn = np.random.default_rng(0).normal(size=(count, 3)) * (3, error, 4) + (20, 0, 0)
    return [
        _row("dev" if i % 3 == 0 else "train", *(float(v) for v in values))
        for i, values in enumerate(drawn)
    ]


def test_borders_are_quartiles_of_training_speakers() -> None:
    rows = _rows(0.1)
    norms = fit_norms(rows)
    train = [row.measures.tilt_db for row in rows if row.clip.split == "train"]
    assert norms.effort_db.low == pytest.approx(np.quantile(train, 0.25), abs=1e-3)
    assert norms.effort_db.high == pytest.approx(np.quantile(train, 0.75), abs=1e-3)
    assert norms.effort_db.sd == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize("error", [0.1, 1.0, 3.0])
def test_certain_values_are_right(error: float) -> None:
    rows = _rows(error)
    norms = fit_norms(rows)
    said = [
        (attribute.value in right)
        for row in rows
        if (attribute := row.attributes(norms)[Slot.LOUDNESS]).value
        and (attribute.confidence or 0) >= SAID_ABOVE
        and (right := right_values(row, Slot.LOUDNESS, norms))
    ]
    assert len(said) - sum(said) <= max(1, 0.1 * len(said))


def test_a_worse_measure_is_certain_less_often() -> None:
    def worded(error: float) -> int:
        rows = _rows(error)
        table = agreement(rows, fit_norms(rows))
        (row,) = [row for row in table.rows if row[:2] == ["loudness", "all"]]
        return int(row[4])

    assert worded(0.1) > worded(1.0) > worded(4.0)


def test_written_norms_are_read(tmp_path: Path) -> None:
    norms = fit_norms(_rows(0.5))
    write_norms(norms, tmp_path / "norms.json")
    assert load_norms(tmp_path / "norms.json") == norms


def test_too_few_recordings_are_refused() -> None:
    with pytest.raises(TrainingError, match="more corpora"):
        fit_norms(_rows(0.5, count=20))
