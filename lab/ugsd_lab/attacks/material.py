"""Builds the inputs of the frontier's candidates from the drafter under attack."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, STARTER, DrafterBundle
from ugsd_sdk.profile.speaker_profile import SpeakerProfile
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.candidates import FittedOn, Material
from ugsd_lab.attacks.encoder_outputs import encode_parts
from ugsd_lab.attacks.observations import Enrolment, drawn_profiles
from ugsd_lab.attacks.projections import TrainingSet
from ugsd_lab.attacks.study import Target
from ugsd_lab.data.recipe import DRAFTERS, PROJECTIONS
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import PARTS, Progress

__all__ = ["material_of", "require_corpora"]

Float32 = NDArray[np.float32]
_LEAST_PROBABILITY = 1e-7
_QUICK_PARTS = 2
"""Number of parts of a clip in a quick run: encoding them takes longer than all the rest."""


def require_corpora(folder: Path, corpora: Collection[str]) -> None:
    """Raise :class:`EvaluationError` if ``corpora`` lack one that the projection of the drafter in
    ``folder`` is fitted on."""
    own = DRAFTERS.get(folder.name, DRAFTERS[STARTER]).projected
    missing = sorted({*own} - {*corpora})
    if missing:
        raise EvaluationError(f"--states needs {', '.join(missing)}: name the folder with --data")


def material_of(
    target: Target, cache: Path | None, progress: Progress, *, quick: bool = False
) -> Material:
    """Return audio embeddings with and without profiles of minimum enrolment, for each projection
    of the recipe whose corpora are there, and the drafter's emotions.

    Raises :class:`EvaluationError` if a corpus of the drafter's own projection is missing.
    """
    voices, embedding = target.voices, target.outputs.embeddings
    require_corpora(target.folder, voices.corpora)
    fitted = [some for some in PROJECTIONS if set(some) <= set(voices.corpora)]
    rows = np.flatnonzero(
        (voices.split == "train") & np.isin(voices.corpus, sorted({x for y in fitted for x in y}))
    )
    parts = encode_parts(
        DrafterBundle(target.folder).find(AUDIO_ENCODER_GRAPH),
        [voices.clips[row] for row in rows.tolist()],
        None if cache is None else cache.with_name(f"parts-{cache.name}"), progress,
        count=_QUICK_PARTS if quick else PARTS,
    )  # fmt: skip
    least = Settings().min_enrolment
    running, at_once = (
        drawn_profiles(voices, embedding, Enrolment(least, order))
        for order in ("running", "at once")
    )
    fitted_on = {}
    for corpora in fitted:
        kept = np.isin(voices.corpus[rows], corpora)
        used = rows[kept]
        population = embedding[used].mean(axis=0)
        removed = _less_profile(embedding, running, population)
        fitted_on[corpora] = FittedOn(
            TrainingSet(
                embedding[used], removed[used], voices.speaker[used], voices.emotion[used],
                parts[kept],
            ),
            removed,
            _less_profile(embedding, at_once, population),
        )  # fmt: skip
    emotion = _emotions(target, running)
    return Material(voices, embedding, emotion, fitted_on, target.in_domain)


def _less_profile(
    embedding: Float32, profiles: list[SpeakerProfile], population: Float32
) -> Float32:
    """Return (n, E) embeddings with the profile subtracted, as the conditioning network does it."""
    return np.stack(
        [
            embedded - profile.weight * (profile.mean - population) if profile.count else embedded
            for embedded, profile in zip(embedding, profiles, strict=True)
        ]
    ).astype(np.float32)


def _emotions(target: Target, profiles: list[SpeakerProfile]) -> Float32:
    """Return the (n, K) log-probabilities of the emotions; all alike if the drafter reads none."""
    rows = []
    for embedded, profile in zip(target.outputs.embeddings, profiles, strict=True):
        emotion = target.drafter.condition(embedded, profile).emotion or {}
        rows.append([emotion.get(name, 0.0) for name in EMOTIONS])
    likely: Float32 = np.maximum(np.array(rows, dtype=np.float32), np.float32(_LEAST_PROBABILITY))
    return np.log(likely)
