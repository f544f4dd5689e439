"""The recipe of the bundled models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ugsd_lab.data.corpora import CORPORA

__all__ = ["CEILING", "DRAFTERS", "PROJECTED", "SHARE_ALIKE", "DrafterRecipe", "Recipe"]


@dataclass(frozen=True)
class DrafterRecipe:
    """A drafter's training corpora and the resulting licence."""

    corpora: tuple[str, ...]
    licence: str
    steps: float = 1.0
    """Training steps as a share of the recipe's: fewer data are learnt sooner."""


SHARE_ALIKE = "CC-BY-NC-SA-4.0 AND MIT"
"""The MIT part is Whisper's: the audio encoder, or states computed from its output."""
DRAFTERS: Mapping[str, DrafterRecipe] = {
    "starter": DrafterRecipe(("ravdess", "emodb"), SHARE_ALIKE),
    "free": DrafterRecipe(("emodb",), "CC0-1.0 AND MIT", 0.5),
    "ceiling": DrafterRecipe(CORPORA, SHARE_ALIKE),
}
"""By name. The corpora that a drafter is trained on are *in-domain*; all others are
*out-of-domain*."""
CEILING = "ceiling"
"""Evaluated to show what a device gains if it knows as much as its verifier; not shipped."""
PROJECTED = ("emodb",)
"""The corpora that the projection of states is fitted on: freely licensed and in every drafter's
data."""


@dataclass(frozen=True)
class Recipe:
    """Everything besides the data that determines the weights."""

    seed: int = 0
    copies: int = 3
    """Augmented copies of each training clip."""
    drafter_steps: int = 3000
    verifier_steps: int = 2000
