"""The drafter and the verifier that are evaluated, and the corpora that the drafter knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ugsd_sdk.drafter.bundle import DESCRIPTION_FILE, STARTER
from ugsd_server.settings import STARTER_FOLDER

from ugsd_lab.data.corpora import CORPORA, KNOWN_CORPORA
from ugsd_lab.data.recipe import CEILING, DRAFTERS
from ugsd_lab.errors import EvaluationError
from ugsd_lab.training.starter import IN_DOMAIN_CORPORA, STARTER_DRAFTER

__all__ = ["CEILING_FOLDER", "Domain", "Pair", "pair_of"]

CEILING_FOLDER = Path("runs/starter") / CEILING
"""The folder to which `ugsd-lab train` writes the drafter that is not shipped."""

Domain = Literal["in-domain", "out-of-domain", "unseen"]
"""What a corpus is: the drafter was trained on it, only the verifier was, or neither was."""


@dataclass(frozen=True)
class Pair:
    """The folders of a drafter and of a verifier."""

    drafter: Path
    verifier: Path = STARTER_FOLDER
    in_domain: tuple[str, ...] = IN_DOMAIN_CORPORA
    """The corpora that the drafter was trained on."""

    def domain_of(self, corpus: str) -> Domain:
        """Return what ``corpus`` is to this pair."""
        if corpus in self.in_domain:
            return "in-domain"
        return "out-of-domain" if corpus in CORPORA else "unseen"


def pair_of(drafter: str, verifier: Path | None = None, in_domain: Sequence[str] = ()) -> Pair:
    """Return the pair of a drafter, given by name or folder, and a verifier, by default the bundled
    one.

    ``in_domain`` replaces the corpora on which the drafter counts as trained: those of the recipe
    that its folder is named after, or else of the starter. Raises :class:`EvaluationError` if there
    is no such drafter or corpus.
    """
    unknown = sorted(set(in_domain) - set(KNOWN_CORPORA))
    if unknown:
        raise EvaluationError(
            f"--in-domain: no corpus {unknown[0]!r}; there are: {', '.join(KNOWN_CORPORA)}"
        )
    folder = _folder(drafter)
    known = DRAFTERS[folder.name if folder.name in DRAFTERS else STARTER].corpora
    if not (folder / DESCRIPTION_FILE).is_file():
        raise EvaluationError(
            f"no drafter in {folder}; name {', '.join(DRAFTERS)} or a folder with its files, or "
            "train it with `ugsd-lab train`"
        )
    return Pair(folder, verifier or STARTER_FOLDER, tuple(in_domain) or known)


def _folder(drafter: str) -> Path:
    if drafter == CEILING:
        return CEILING_FOLDER
    return STARTER_DRAFTER.parent / drafter if drafter in DRAFTERS else Path(drafter)
