"""Which drafter and verifier are evaluated, and where the drafter is at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ugsd_sdk.captioner import STARTER
from ugsd_sdk.drafter.onnx import DESCRIPTION_FILE
from ugsd_server.settings import STARTER_FOLDER

from ugsd_lab.data.corpora import CORPORA, KNOWN_CORPORA
from ugsd_lab.data.recipe import CEILING, DRAFTERS
from ugsd_lab.errors import EvaluationError
from ugsd_lab.training.starter import IN_DOMAIN_CORPORA, STARTER_DRAFTER

__all__ = ["CEILING_FOLDER", "Pair", "Where", "pair_of"]

CEILING_FOLDER = Path("runs/starter") / CEILING
"""Where `ugsd-lab train` leaves the drafter that is not shipped."""

Where = Literal["home", "away", "unseen"]
"""Of a corpus: the drafter was trained on it, only the verifier was, neither was."""


@dataclass(frozen=True)
class Pair:
    """A drafter's and a verifier's folder."""

    drafter: Path
    verifier: Path = STARTER_FOLDER
    home: tuple[str, ...] = IN_DOMAIN_CORPORA
    """The corpora that the drafter was trained on."""

    def where(self, corpus: str) -> Where:
        """Where the drafter is when it hears ``corpus``."""
        if corpus in self.home:
            return "home"
        return "away" if corpus in CORPORA else "unseen"


def pair_of(drafter: str, verifier: Path | None = None, home: Sequence[str] = ()) -> Pair:
    """The pair of a drafter, by name or folder, and a verifier, the bundled one unless named.

    ``home`` replaces the corpora that the drafter is taken to know: those of the recipe of its
    folder's name, or of the starter. Raises :class:`EvaluationError` where there is no drafter, or
    no such corpus.
    """
    unknown = sorted(set(home) - set(KNOWN_CORPORA))
    if unknown:
        raise EvaluationError(
            f"no corpus {unknown[0]!r} to be at home in; there are: {', '.join(KNOWN_CORPORA)}"
        )
    folder = _folder(drafter)
    known = DRAFTERS[folder.name if folder.name in DRAFTERS else STARTER].corpora
    if not (folder / DESCRIPTION_FILE).is_file():
        raise EvaluationError(
            f"no drafter in {folder}; name {', '.join(DRAFTERS)} or a folder with its files, or "
            "train it with `ugsd-lab train`"
        )
    return Pair(folder, verifier or STARTER_FOLDER, tuple(home) or known)


def _folder(drafter: str) -> Path:
    if drafter == CEILING:
        return CEILING_FOLDER
    return STARTER_DRAFTER.parent / drafter if drafter in DRAFTERS else Path(drafter)
