"""What the frontier's candidates are made of, from the drafter under attack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter.onnx import AUDIO_ENCODER_GRAPH, find_file
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.candidates import Material
from ugsd_lab.attacks.encoder_outputs import listen_to_parts
from ugsd_lab.attacks.observations import Enrolment, drawn_profiles
from ugsd_lab.attacks.projections import TrainingSet
from ugsd_lab.attacks.study import Target
from ugsd_lab.data.recipe import PROJECTED
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.networks import ATTRIBUTE_DIM

__all__ = ["material_of"]

Float32 = NDArray[np.float32]


def material_of(target: Target, cache: Path | None, progress: Progress) -> Material:
    """Evidence with and without habits of the device's least acquaintance, and beliefs.

    Raises :class:`EvaluationError` where a corpus is missing that projections are fitted on.
    """
    voices, embedding = target.voices, target.heard.evidence
    training = voices.split == "train"
    taught = training & np.isin(voices.corpus, PROJECTED)
    home = training & np.isin(voices.corpus, list(target.home))
    missing = sorted({*PROJECTED, *target.home} - set(voices.corpora))
    if missing:
        raise EvaluationError(f"the frontier needs {', '.join(missing)}: name its --data")
    population = embedding[taught].mean(axis=0)
    least = Settings().min_enrolment
    own = _profile_removed(target, Enrolment(least, "running"), population)
    rows = np.flatnonzero(taught).tolist()
    parts = listen_to_parts(
        find_file(target.folder, AUDIO_ENCODER_GRAPH), [voices.clips[row] for row in rows],
        None if cache is None else cache.with_name(f"parts-{cache.name}"), progress,
    )  # fmt: skip
    lessons = TrainingSet(
        embedding[taught], voices.speaker[taught], voices.emotion[taught], parts,
        own[home], voices.speaker[home], voices.emotion[home],
    )  # fmt: skip
    at_once = _profile_removed(target, Enrolment(least, "at once"), population)
    return Material(voices, embedding, own, at_once, _beliefs(target, least, progress), lessons)


def _profile_removed(target: Target, known: Enrolment, population: Float32) -> Float32:
    """(n, E) as the drafter's reader takes the habit out."""
    embedding = target.heard.evidence
    profiles = drawn_profiles(target.voices, embedding, known)
    return np.stack(
        [
            heard - profile.weight * (profile.mean - population) if profile.count else heard
            for heard, profile in zip(embedding, profiles, strict=True)
        ]
    ).astype(np.float32)


def _beliefs(target: Target, least: int, progress: Progress) -> Float32:
    """(n, BELIEF_DIM) the last part of the state of the first position."""
    embedding = target.heard.evidence
    profiles = drawn_profiles(target.voices, embedding, Enrolment(least))
    believed = []
    for done, (heard, profile) in enumerate(zip(embedding, profiles, strict=True), 1):
        session = target.reader.start(target.reader.condition(heard, profile))
        believed.append(session.predict().state[-ATTRIBUTE_DIM:])
        progress("reading beliefs", done, len(embedding), "")
    return np.stack(believed).astype(np.float32)
