"""The vocabulary: the words of captions, each for one slot, in files that both sides hash.

A word that occurs in the clauses of several slots is several tokens, so that a token says to which
slot it belongs. No token spells a gender; the device adds it when it turns tokens into text.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import NUM_OPENINGS, NUM_VARIANTS, WORDED_VALUES, CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot

from ugsd_lab.data.grammar import Clause, clauses
from ugsd_lab.data.random_plans import random_plan

__all__ = ["BOS", "EOS", "PAD", "Vocabulary", "every_kind"]

PAD, BOS, EOS = 0, 1, 2
_SPECIAL = 3
_CAPTIONS = 60_000
"""Captions in which every word of every clause is found."""
_PIECE = re.compile(r"[.,;]| ?[^\s.,;]+")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id. ``vocabulary.json`` is the list of their texts, and ``slots.json`` says which
    slot each belongs to, and with which of its values it is used."""

    pieces: tuple[str, ...]
    """Texts with leading spaces; special tokens are empty."""
    slots: tuple[str | None, ...]
    """The slot of each token; ``None`` for special tokens and the last full stop."""
    values: Mapping[str, Mapping[str, tuple[int, ...]]]
    """Slot -> value -> tokens of the clauses that state it."""

    @classmethod
    def build(cls) -> Vocabulary:
        """Return the vocabulary of the grammar."""
        ids: dict[tuple[str | None, str], int] = {}
        used: dict[Slot, dict[str, set[int]]] = {
            slot: {value: set() for value in values} for slot, values in WORDED_VALUES.items()
        }
        for emotion, plan in every_kind():
            for clause in clauses(emotion, plan):
                for piece in _PIECE.findall(clause.text):
                    token = ids.setdefault((clause.slot, piece), _SPECIAL + len(ids))
                    if clause.slot is not None:
                        value = emotion if clause.slot is Slot.EMOTION else plan.values[clause.slot]
                        used[clause.slot][value].add(token)
        return cls(
            pieces=("",) * _SPECIAL + tuple(piece for _, piece in ids),
            slots=(None,) * _SPECIAL + tuple(slot for slot, _ in ids),
            values={
                slot.value: {value: tuple(sorted(tokens)) for value, tokens in by_value.items()}
                for slot, by_value in used.items()
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read the files that :meth:`save` wrote."""
        pieces = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        described = json.loads((folder / "slots.json").read_text("utf-8"))
        values = {
            slot: {value: tuple(tokens) for value, tokens in by_value.items()}
            for slot, by_value in described["values"].items()
        }
        return cls(tuple(pieces), tuple(described["slots"]), values)

    def save(self, folder: Path) -> None:
        """Write ``vocabulary.json`` and ``slots.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocabulary.json").write_bytes(self.pieces_json)
        (folder / "slots.json").write_bytes(self.slots_json)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def pieces_json(self) -> bytes:
        """The bytes of ``vocabulary.json``."""
        return json.dumps(self.pieces, ensure_ascii=True, separators=(",", ":")).encode()

    @property
    def slots_json(self) -> bytes:
        """The bytes of ``slots.json``."""
        fields = {"format": 1, "slots": self.slots, "values": self.values}
        return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode()

    @property
    def sha256(self) -> str:
        """SHA-256 of ``vocabulary.json``, in hex."""
        return hashlib.sha256(self.pieces_json).hexdigest()

    @cached_property
    def _ids(self) -> dict[tuple[str | None, str], int]:
        pairs = zip(self.slots, self.pieces, strict=True)
        return {pair: token for token, pair in enumerate(pairs) if token >= _SPECIAL}

    def encode(self, parts: Iterable[Clause]) -> list[int]:
        """Return the tokens of clauses."""
        return [
            self._ids[clause.slot, piece]
            for clause in parts
            for piece in _PIECE.findall(clause.text)
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return "".join(self.pieces[token] for token in tokens).strip()

    def content_tokens(self) -> list[int]:
        """Return the tokens of words that state a value: those that not all values of their slot
        share."""
        stated: set[int] = set()
        for by_value in self.values.values():
            used = Counter(token for tokens in by_value.values() for token in tokens)
            stated |= {token for token, count in used.items() if count < len(by_value)}
        return sorted(stated)

    def stating_tokens(self) -> dict[str, list[int]]:
        """Return the tokens that name an emotion, by emotion: those that no other one uses."""
        stating: dict[str, list[int]] = {emotion: [] for emotion in EMOTIONS}
        for token, emotion in sorted(self._emotion_of.items()):
            stating[emotion].append(token)
        return stating

    def num_before_emotion(self, tokens: Sequence[int]) -> int:
        """Return how many of ``tokens`` come before the first one that names an emotion."""
        return next(i for i, token in enumerate(tokens) if token in self._emotion_of)

    def emotions_named(self, tokens: Iterable[int]) -> set[str]:
        """Return the emotions that ``tokens`` name. More than one is a contradiction."""
        return {self._emotion_of[token] for token in tokens if token in self._emotion_of}

    @cached_property
    def _emotion_of(self) -> dict[int, str]:
        by_value = self.values[Slot.EMOTION.value]
        users: dict[int, list[str]] = {}
        for value, tokens in by_value.items():
            for token in tokens:
                users.setdefault(token, []).append(value)
        return {token: names[0] for token, names in users.items() if len(names) == 1}


def every_kind() -> Iterable[tuple[str, CaptionPlan]]:
    """Yield captions with every first clause, and random ones with every other clause."""
    kinds = ((False, False), (False, True), (True, False))
    every = product(EMOTIONS, range(NUM_OPENINGS), range(NUM_VARIANTS), kinds)
    for emotion, opening, variant, (is_strong, is_doubtful) in every:
        plan = CaptionPlan(CaptionLength.NORMAL, {}, is_strong, is_doubtful, opening, variant)
        yield emotion, plan
    rng = random.Random(0)  # noqa: S311  # reproducible text, not a secret
    for _ in range(_CAPTIONS):
        yield rng.choice(EMOTIONS), random_plan(rng)
