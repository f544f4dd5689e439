"""What the bundled models are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ugsd_lab.data.corpora import CORPORA

__all__ = ["CEILING", "DRAFTERS", "PROJECTED", "SHARE_ALIKE", "DrafterRecipe", "Recipe"]


@dataclass(frozen=True)
class DrafterRecipe:
    """What a drafter is trained on, and the terms that follow."""

    corpora: tuple[str, ...]
    licence: str
    steps: float = 1.0
    """As a share of the recipe's: less data are learnt sooner."""


SHARE_ALIKE = "CC-BY-NC-SA-4.0 AND MIT"
"""The share of MIT is Whisper's: ears, or states computed from what they hear."""
DRAFTERS: Mapping[str, DrafterRecipe] = {
    "starter": DrafterRecipe(("ravdess", "emodb"), SHARE_ALIKE),
    "free": DrafterRecipe(("emodb",), "CC0-1.0 AND MIT", 0.5),
    "ceiling": DrafterRecipe(CORPORA, SHARE_ALIKE),
}
"""By name. What a drafter is trained on is *home* to it; everything else is *away*."""
CEILING = "ceiling"
"""Evaluated to show what a device gains that knows as much as its verifier; not shipped."""
PROJECTED = ("emodb",)
"""What the projection of states is fitted on: a part of every drafter's own data, and free."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, beside the data."""

    seed: int = 0
    copies: int = 3
    """Augmented copies of each training clip."""
    drafter_steps: int = 3000
    verifier_steps: int = 2000
