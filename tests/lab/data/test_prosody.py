from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.prosody import Level, Levels, Measures, Norms, measure, measure_all
from ugsd_lab.errors import CorpusError
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot

RATE = 16_000


def buzz(hz: float, seconds: float = 1.0, amplitude: float = 0.3) -> NDArray[np.float32]:
    """Return a harmonic tone, like a voice."""
    t = np.arange(int(seconds * RATE)) / RATE
    tone = np.sum([np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 12)], axis=0)
    scaled: NDArray[np.float32] = (amplitude * tone / np.abs(tone).max()).astype(np.float32)
    return scaled


def test_pitch_is_in_semitones_above_100_hz() -> None:
    assert measure(buzz(200), 4).pitch_st == pytest.approx(12, abs=0.3)
    assert measure(buzz(100), 4).pitch_st == pytest.approx(0, abs=0.3)


def test_steady_tone_does_not_vary() -> None:
    steady = measure(buzz(150, 2), 4).pitch_sd_st
    moving = measure(np.concatenate([buzz(120), buzz(240)]), 4).pitch_sd_st
    assert steady < 0.5 < 4 < moving


def test_twice_the_amplitude_is_six_decibels() -> None:
    loud, soft = measure(buzz(150, amplitude=0.4), 4), measure(buzz(150, amplitude=0.2), 4)
    assert loud.level_db - soft.level_db == pytest.approx(6.02, abs=0.1)


def test_pauses_do_not_slow_the_pace() -> None:
    pause = np.zeros(RATE // 2, dtype=np.float32)
    spoken = measure(np.concatenate([buzz(150), buzz(150)]), 8)
    paused = measure(np.concatenate([buzz(150), pause, buzz(150)]), 8)
    assert paused.pause_share == pytest.approx(0.2, abs=0.05)
    assert spoken.pause_share == 0
    assert paused.pace == pytest.approx(spoken.pace, rel=0.1)


def test_noise_is_less_clear_than_a_tone() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert measure(noise, 4).cpp_db < measure(buzz(150), 4).cpp_db


def test_measures_are_cached(tmp_path: Path) -> None:
    clips = load_corpora(None)[:3]
    cache = tmp_path / "deep" / "measures.json"
    first = measure_all(clips, cache)
    calls: list[int] = []
    assert measure_all(clips, cache, lambda done, of: calls.append(done)) == first
    assert not calls


def random_measures(clips: Sequence[Clip], seed: int = 0) -> dict[str, Measures]:
    rng = np.random.default_rng(seed)
    return {clip.id: Measures(*rng.normal(size=7)) for clip in clips}


@pytest.mark.parametrize("content", ["{", "[]", '{"emodb/03a01Fa": {"loudness": 1}}'])
def test_foreign_cache_of_measures_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "measures.json").write_text(content)
    with pytest.raises(CorpusError, match="delete it"):
        measure_all(load_corpora(None)[:1], tmp_path / "measures.json")


def test_norms_come_from_training_speakers_alone() -> None:
    clips = load_corpora(None)
    values = random_measures(clips)
    held_out = {clip.id: values[clip.id] for clip in clips if clip.split == "train"}
    other = {clip.id: held_out.get(clip.id, Measures(*[99.0] * 7)) for clip in clips}
    assert Norms.fit(clips, values) == Norms.fit(clips, other)
    train = [clip for clip in clips if clip.split == "train"]
    pitched = [Norms.fit(clips, values).levels(clip, values[clip.id]).pitch for clip in train]
    assert pitched.count("low") == pytest.approx(len(train) / 4, abs=2)
    assert pitched.count("high") == pytest.approx(len(train) / 4, abs=2)


def test_unknown_group_falls_back_to_all_clips() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "train"]
    values = random_measures(clips)
    norms = Norms.fit(clips, values)
    unknown = replace(clips[0], corpus="cremad", language="English", gender=None)
    pooled = replace(clips[0], corpus="any", language="any")
    for name in ("pitch_st", "tilt_db", "pace", "cpp_db"):
        group, quartiles = norms.population(unknown, name)
        every = [getattr(value, name) for value in values.values()]
        assert group == ("any" if name == "pitch_st" else "all")
        assert quartiles == pytest.approx(np.quantile(every, [0.25, 0.75]))
    assert norms.population(clips[0], "tilt_db")[0] == "all"
    assert norms.population(pooled, "pitch_st")[0] == clips[0].gender
    high = Measures(*[9.0] * 7)
    assert set(vars(norms.levels(unknown, high)).values()) == {"high"}


def test_clips_without_pauses_are_low_in_pauses() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "train"][:9]
    share = [0.0] * 4 + [0.05, 0.1, 0.2, 0.3, 0.4]
    values = {
        clip.id: replace(Measures(*[0.0] * 7), pause_share=s)
        for clip, s in zip(clips, share, strict=True)
    }
    norms = Norms.fit(clips, values)
    found = [norms.levels(clip, values[clip.id]).pauses for clip in clips]
    assert found == ["low"] * 4 + ["mid"] * 3 + ["high"] * 2


def test_unmeasured_value_is_mid_and_not_fitted() -> None:
    clips = [clip for clip in load_corpora(None) if clip.split == "train"]
    values = random_measures(clips)
    unmeasured = Measures(*[float("nan")] * 7)
    norms = Norms.fit(clips, values)
    assert set(vars(norms.levels(clips[0], unmeasured)).values()) == {"mid"}
    fewer = Norms.fit(clips, values | {clips[0].id: unmeasured})
    assert fewer == Norms.fit(clips[1:], values)


def test_each_level_depends_on_its_own_measure() -> None:
    """A clip that is high in one measure alone is high in that level alone."""
    clips = [clip for clip in load_corpora(None) if clip.split == "train"]
    norms = Norms.fit(clips, random_measures(clips))
    for measured, level in {
        "pitch_st": "pitch", "pitch_sd_st": "variation", "tilt_db": "loudness", "pace": "pace",
        "pause_share": "pauses", "cpp_db": "clarity",
    }.items():  # fmt: skip
        found = norms.levels(clips[0], replace(Measures(*[0.0] * 7), **{measured: 9.0}))
        assert [name for name, value in vars(found).items() if value == "high"] == [level]


def test_faster_measures_agree_with_a_faster_recording() -> None:
    expected = measure(buzz(150), 4).faster(1.2)
    found = measure(soxr.resample(buzz(150), 1.2 * RATE, RATE), 4)
    assert expected.pitch_st == pytest.approx(found.pitch_st, abs=0.2)
    assert expected.pace == pytest.approx(found.pace, rel=0.05)
    assert expected == replace(
        measure(buzz(150), 4), pitch_st=expected.pitch_st, pace=expected.pace
    )
    assert measure(buzz(150), None).faster(1.2).pace != expected.pace  # NaN stays NaN


def test_loudness_measures_effort_and_not_gain() -> None:
    """More gain changes the level alone; more energy above 1 kHz is a louder voice."""
    quiet, loud = measure(buzz(150, amplitude=0.05), 4), measure(buzz(150, amplitude=0.5), 4)
    assert quiet.tilt_db == pytest.approx(loud.tilt_db, abs=0.01)
    samples = buzz(150)
    pressed = (np.diff(samples, prepend=samples[:1])).astype(np.float32)
    assert measure(pressed, 4).tilt_db > loud.tilt_db + 3


def test_quality_depends_on_clarity_and_loudness() -> None:
    def quality(clarity: Level, loudness: Level) -> str:
        return Levels("mid", "mid", loudness, "mid", "mid", clarity).quality

    every: list[Level] = ["low", "mid", "high"]
    assert [quality("low", loudness) for loudness in every] == ["breathy", "husky", "rough"]
    assert {quality(c, loud) for c in every for loud in every} == set(SLOT_VALUES[Slot.QUALITY])
