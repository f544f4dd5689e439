"""The recipe of the bundled models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ugsd_lab.data.corpora import CORPORA

__all__ = ["CEILING", "DRAFTERS", "PROJECTIONS", "SHARE_ALIKE", "DrafterRecipe", "Recipe"]


@dataclass(frozen=True)
class DrafterRecipe:
    """A drafter's training corpora and the resulting licence."""

    corpora: tuple[str, ...]
    licence: str
    projected: tuple[str, ...]
    """The corpora that the projection of its states is fitted on. The licence covers them."""
    steps: float = 1.0
    """Training steps as a share of the recipe's: fewer data are learnt sooner."""


SHARE_ALIKE = "CC-BY-NC-SA-4.0 AND MIT"
"""The MIT part is Whisper's: the audio encoder, or states computed from its output."""
DRAFTERS: Mapping[str, DrafterRecipe] = {
    "starter": DrafterRecipe(("ravdess", "emodb"), SHARE_ALIKE, ("ravdess", "emodb")),
    "free": DrafterRecipe(("emodb",), "CC0-1.0 AND MIT", ("emodb",), 0.5),
    "ceiling": DrafterRecipe(CORPORA, SHARE_ALIKE, ("ravdess", "emodb")),
}
"""By name. The corpora that a drafter is trained on are *in-domain*; all others are
*out-of-domain*."""
CEILING = "ceiling"
"""Evaluated to show what a device gains if it knows as much as its verifier; not shipped."""
PROJECTIONS = tuple(dict.fromkeys(recipe.projected for recipe in DRAFTERS.values()))
"""The projections of states that the verifier reads, each by the corpora that it is fitted on."""


@dataclass(frozen=True)
class Recipe:
    """Everything besides the data that determines the weights."""

    seed: int = 0
    copies: int = 2
    """Augmented copies of each training clip."""
    reader_steps: int = 3000
    decoder_steps: int = 4000
    verifier_steps: int = 2000
