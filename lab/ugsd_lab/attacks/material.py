"""Builds the inputs of the frontier's candidates from the drafter under attack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, DrafterBundle
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.candidates import Material
from ugsd_lab.attacks.encoder_outputs import encode_parts
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
    """Return audio embeddings with and without profiles of minimum enrolment, and predicted
    attributes.

    Raises :class:`EvaluationError` if a corpus that projections are fitted on is missing.
    """
    voices, embedding = target.voices, target.outputs.embeddings
    training = voices.split == "train"
    fitted = training & np.isin(voices.corpus, PROJECTED)
    in_domain = training & np.isin(voices.corpus, list(target.in_domain))
    missing = sorted({*PROJECTED, *target.in_domain} - set(voices.corpora))
    if missing:
        raise EvaluationError(
            f"the frontier needs {', '.join(missing)}: name the folder with --data"
        )
    population = embedding[fitted].mean(axis=0)
    least = Settings().min_enrolment
    profile_removed = _profile_removed(target, Enrolment(least, "running"), population)
    rows = np.flatnonzero(fitted).tolist()
    parts = encode_parts(
        DrafterBundle(target.folder).find(AUDIO_ENCODER_GRAPH), [voices.clips[row] for row in rows],
        None if cache is None else cache.with_name(f"parts-{cache.name}"), progress,
    )  # fmt: skip
    training_set = TrainingSet(
        embedding[fitted], voices.speaker[fitted], voices.emotion[fitted], parts,
        profile_removed[in_domain], voices.speaker[in_domain], voices.emotion[in_domain],
    )  # fmt: skip
    one_profile = _profile_removed(target, Enrolment(least, "at once"), population)
    return Material(
        voices,
        embedding,
        profile_removed,
        one_profile,
        _predicted_attributes(target, least, progress),
        training_set,
    )


def _profile_removed(target: Target, known: Enrolment, population: Float32) -> Float32:
    """Return (n, E) embeddings with the profile subtracted, as the conditioning network does it."""
    embedding = target.outputs.embeddings
    profiles = drawn_profiles(target.voices, embedding, known)
    return np.stack(
        [
            embedded - profile.weight * (profile.mean - population) if profile.count else embedded
            for embedded, profile in zip(embedding, profiles, strict=True)
        ]
    ).astype(np.float32)


def _predicted_attributes(target: Target, least: int, progress: Progress) -> Float32:
    """Return the (n, ATTRIBUTE_DIM) last part of the state at the first position."""
    embedding = target.outputs.embeddings
    profiles = drawn_profiles(target.voices, embedding, Enrolment(least))
    attributes = []
    for done, (embedded, profile) in enumerate(zip(embedding, profiles, strict=True), 1):
        session = target.drafter.start(target.drafter.condition(embedded, profile))
        attributes.append(session.predict().state[-ATTRIBUTE_DIM:])
        progress("predicting attributes", done, len(embedding), "")
    return np.stack(attributes).astype(np.float32)
