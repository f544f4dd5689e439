"""Small evaluations on real speech, for the tests of ``ugsd-lab evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.prosody import Norms
from ugsd_lab.evaluation import Pair, Result, evaluate
from ugsd_lab.evaluation.baselines import sample
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms

SCORED = 9
"""Clips of each speaker that are scored."""


def sample_speakers(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return ``count`` clips of each speaker, of all emotions."""
    speakers = dict.fromkeys((clip.corpus, clip.speaker) for clip in clips)
    by_speaker = [[c for c in clips if (c.corpus, c.speaker) == speaker] for speaker in speakers]
    return [clip for own in by_speaker for clip in sample(own, count)]


def after_enrolment(clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips that a device captions after the enrolment of their speaker."""
    by_speaker: dict[tuple[str, str], list[int]] = {}
    for index in in_recording_order(clips):
        by_speaker.setdefault((clips[index].corpus, clips[index].speaker), []).append(index)
    return [clips[i] for i in sorted(i for own in by_speaker.values() for i in own[MIN_ENROLMENT:])]


def few_clips() -> list[Clip]:
    """Return some of EMO-DB's test clips, a few training clips for the majority caption, and clips
    of the dev speaker as a corpus ``elsewhere`` that nothing was trained on."""
    every = load_corpora(None)
    count = MIN_ENROLMENT + SCORED
    test = sample_speakers([clip for clip in every if clip.split == "test"], count)
    train = [clip for clip in every if clip.split == "train"][::90]
    dev = sample_speakers([clip for clip in every if clip.split == "dev"], count)
    return [*test, *train, *(replace(clip, corpus="elsewhere", split="test") for clip in dev)]


def run(clips: list[Clip], cache: Path, norms: Norms | None = None, **options: object) -> Result:
    return evaluate(
        clips,
        Pair(STARTER_DRAFTER),
        norms=norms or load_norms(),
        cache=cache,
        progress=lambda *_: None,
        **options,  # type: ignore[arg-type]
    )
