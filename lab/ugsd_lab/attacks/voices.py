"""Splits speakers into those under attack and those that the attacker learns from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.corpora import Clip

__all__ = ["Fold", "Rows", "Voices", "folds_of", "folds_together", "named", "open_folds"]

Rows = NDArray[np.int64]
_FOLDS = 3


@dataclass(frozen=True)
class Voices:
    """Clips, one per row, and their labels as arrays."""

    clips: Sequence[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def speaker(self) -> NDArray[np.str_]:
        """(n,) ``corpus/speaker``."""
        return np.array([f"{clip.corpus}/{clip.speaker}" for clip in self.clips])

    @cached_property
    def corpus(self) -> NDArray[np.str_]:
        return np.array([clip.corpus for clip in self.clips])

    @cached_property
    def gender(self) -> NDArray[np.str_]:
        """(n,) empty if it is not known."""
        return np.array([clip.gender or "" for clip in self.clips])

    @cached_property
    def emotion(self) -> NDArray[np.str_]:
        return np.array([clip.emotion or "" for clip in self.clips])

    @cached_property
    def sentence(self) -> NDArray[np.str_]:
        return np.array([clip.sentence for clip in self.clips])

    @cached_property
    def split(self) -> NDArray[np.str_]:
        return np.array([clip.split for clip in self.clips])

    @cached_property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora, in the order in which they were loaded."""
        return tuple(dict.fromkeys(clip.corpus for clip in self.clips))


def named(names: NDArray[np.str_]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return a number for each name, and the distinct names that the numbers index."""
    kinds, numbers = np.unique(names, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(kinds.tolist())


@dataclass(frozen=True)
class Fold:
    """Rows that an attacker learns from, and rows of speakers that it then attacks."""

    train: Rows
    test: Rows


def folds_of(voices: Voices, corpus: str, in_domain: Collection[str]) -> list[Fold]:
    """Return folds in which every speaker of ``corpus`` unknown to the states' training is attacked
    once.

    In an ``in_domain`` corpus these are the test speakers. In another corpus they are all speakers,
    in folds of both genders: each is attacked by an attacker that learnt from the speakers of the
    other folds and from the other corpora. A fold needs at least two such speakers.
    """
    if corpus in in_domain:
        tested = (voices.corpus == corpus) & (voices.split == "test")
        groups = [sorted(set(voices.speaker[tested].tolist()))]
    else:
        groups = _by_turns(voices, voices.corpus == corpus)
    used = (voices.split != "test") | ~np.isin(voices.corpus, list(in_domain))
    return _folds(voices, groups, used)


def open_folds(voices: Voices, corpus: str, *, is_known: bool = False) -> list[Fold]:
    """Return folds for making choices: over the speakers of ``corpus`` who are no test speakers,
    with attackers who know no test speaker either. If ``is_known``, the states were made from the
    corpus' training speakers, and only the others are attacked."""
    used = voices.split != "test"
    if not is_known:
        return _folds(voices, _by_turns(voices, used & (voices.corpus == corpus)), used)
    held_out = np.isin(voices.split, ["dev", "calibration"]) & (voices.corpus == corpus)
    return _folds(voices, [sorted(set(voices.speaker[held_out].tolist()))], used)


def folds_together(folds: Sequence[Sequence[Fold]]) -> list[Fold]:
    """Combine the first fold of each corpus into one, whose attackers know none of the speakers
    attacked."""
    first = [some[0] for some in folds if some]
    if not first:
        return []
    test = np.concatenate([fold.test for fold in first])
    train = reduce(np.intersect1d, [fold.train for fold in first])
    return [Fold(train, test)]


def _folds(
    voices: Voices, groups: Sequence[Collection[str]], used: NDArray[np.bool_]
) -> list[Fold]:
    folds = []
    for group in groups:
        own = np.isin(voices.speaker, list(group))
        if len(group) >= 2:
            folds.append(Fold(np.flatnonzero(used & ~own), np.flatnonzero(own)))
    return folds


def _by_turns(voices: Voices, rows: NDArray[np.bool_]) -> list[list[str]]:
    """Distribute speakers to at most :data:`_FOLDS` groups of two or more, alternating genders."""
    gender = dict(zip(voices.speaker[rows].tolist(), voices.gender[rows].tolist(), strict=True))
    ordered = sorted(gender, key=lambda speaker: (gender[speaker], speaker))
    count = max(1, min(_FOLDS, len(ordered) // 2))
    return [ordered[turn::count] for turn in range(count)]
