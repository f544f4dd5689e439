"""What the frontier's candidates are made of, from the drafter under attack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter.onnx import EARS_GRAPH, find_file
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.candidates import Material
from ugsd_lab.attacks.heard import listen_to_parts
from ugsd_lab.attacks.projections import Lessons
from ugsd_lab.attacks.seen import Acquaintance, drawn_habits
from ugsd_lab.attacks.study import Target
from ugsd_lab.data.recipe import PROJECTED
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.listening import Progress
from ugsd_lab.models.networks import BELIEF_DIM

__all__ = ["material_of"]

Float32 = NDArray[np.float32]


def material_of(target: Target, cache: Path | None, progress: Progress) -> Material:
    """Evidence with and without habits of the device's least acquaintance, and beliefs.

    Raises :class:`EvaluationError` where a corpus is missing that projections are fitted on.
    """
    voices, evidence = target.voices, target.heard.evidence
    training = voices.split == "train"
    taught = training & np.isin(voices.corpus, PROJECTED)
    home = training & np.isin(voices.corpus, list(target.home))
    missing = sorted({*PROJECTED, *target.home} - set(voices.corpora))
    if missing:
        raise EvaluationError(f"the frontier needs {', '.join(missing)}: name its --data")
    population = evidence[taught].mean(axis=0)
    least = Settings().acquaintance
    own = _less_habit(target, Acquaintance(least, "running"), population)
    rows = np.flatnonzero(taught).tolist()
    parts = listen_to_parts(
        find_file(target.folder, EARS_GRAPH), [voices.clips[row] for row in rows],
        None if cache is None else cache.with_name(f"parts-{cache.name}"), progress,
    )  # fmt: skip
    lessons = Lessons(
        evidence[taught], voices.speaker[taught], voices.emotion[taught], parts,
        own[home], voices.speaker[home], voices.emotion[home],
    )  # fmt: skip
    at_once = _less_habit(target, Acquaintance(least, "at once"), population)
    return Material(voices, evidence, own, at_once, _beliefs(target, least, progress), lessons)


def _less_habit(target: Target, known: Acquaintance, population: Float32) -> Float32:
    """(n, E) as the drafter's reader takes the habit out."""
    evidence = target.heard.evidence
    habits = drawn_habits(target.voices, evidence, known)
    return np.stack(
        [
            heard - habit.trust * (habit.mean - population) if habit.count else heard
            for heard, habit in zip(evidence, habits, strict=True)
        ]
    ).astype(np.float32)


def _beliefs(target: Target, least: int, progress: Progress) -> Float32:
    """(n, BELIEF_DIM) the last part of the state of the first position."""
    evidence = target.heard.evidence
    habits = drawn_habits(target.voices, evidence, Acquaintance(least))
    believed = []
    for done, (heard, habit) in enumerate(zip(evidence, habits, strict=True), 1):
        session = target.reader.start(target.reader.read(heard, habit))
        believed.append(session.predict().state[-BELIEF_DIM:])
        progress("reading beliefs", done, len(evidence), "")
    return np.stack(believed).astype(np.float32)
