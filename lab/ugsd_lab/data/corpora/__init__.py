"""Corpora of emotional speech: clips, labels, and the split by speaker.

EMO-DB (CC0) is bundled with the package as Opus. Other corpora are read from a folder that the user
names, in the layout in which they are published; each loader's docstring describes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ugsd_lab.data.corpora.clip import EMOTIONS, SPLITS, Clip, Split, read_samples
from ugsd_lab.data.corpora.cremad import load_cremad
from ugsd_lab.data.corpora.emodb import load_emodb
from ugsd_lab.data.corpora.meld import load_meld
from ugsd_lab.data.corpora.mer2024 import load_mer2024
from ugsd_lab.data.corpora.nemo import load_nemo
from ugsd_lab.data.corpora.ravdess import load_ravdess
from ugsd_lab.data.corpora.savee import load_savee
from ugsd_lab.data.corpora.secap import load_secap
from ugsd_lab.data.corpora.tess import load_tess
from ugsd_lab.errors import CorpusError

__all__ = [
    "BUNDLED_EMODB",
    "CORPORA",
    "EMOTIONS",
    "KNOWN_CORPORA",
    "SPLITS",
    "Clip",
    "Split",
    "load_corpora",
    "load_corpus",
    "read_samples",
]

BUNDLED_EMODB = Path(__file__).parents[1] / "emodb"

CORPORA = ("emodb", "ravdess", "nemo")
"""The corpora that the bundled pair is trained on."""

_LOADERS: dict[str, Callable[[Path], Iterator[Clip]]] = {
    "emodb": load_emodb,
    "ravdess": load_ravdess,
    "nemo": load_nemo,
    "cremad": load_cremad,
    "savee": load_savee,
    "tess": load_tess,
    "meld": load_meld,
    "secap": load_secap,
    "mer2024": load_mer2024,
}
KNOWN_CORPORA = tuple(_LOADERS)
"""Every corpus that can be read; each name is also the name of its folder."""


def load_corpus(name: str, folder: Path) -> list[Clip]:
    """Return every clip of a corpus below ``folder``. Raises :class:`CorpusError` if its layout is
    not the published one."""
    if name not in _LOADERS:
        raise CorpusError(f"unknown corpus {name!r}; known: {', '.join(KNOWN_CORPORA)}")
    try:
        clips = list(_LOADERS[name](folder))
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise CorpusError(
            f"{folder} does not have the published layout of {name}: {error}"
        ) from error
    if not clips:
        raise CorpusError(f"no clips of {name} in {folder}")
    return clips


def load_corpora(data: Path | None) -> list[Clip]:
    """Return the bundled EMO-DB and, if ``data`` is given, each other known corpus in a folder of
    its name below it. Raises :class:`CorpusError` if ``data`` contains none."""
    clips = load_corpus("emodb", BUNDLED_EMODB)
    if data is None:
        return clips
    others = [name for name in KNOWN_CORPORA if name != "emodb" and (data / name).is_dir()]
    if not others:
        expected = ", ".join(KNOWN_CORPORA[1:])
        raise CorpusError(f"no corpus folder in {data}; expected one of {expected}")
    for name in others:
        clips += load_corpus(name, data / name)
    return clips
