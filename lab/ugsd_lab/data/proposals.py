"""Makes ``proposals.json`` of a drafter: the grammar's clauses as a decision diagram.

A clause follows from few features of its plan. Nodes that are equal are stored once, a feature that
decides nothing has no node, and values of a feature that are worded alike share one, so that the
file is small. It also covers most combinations that were not among its examples.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter.bundle import PROPOSALS_FILE
from ugsd_sdk.drafter.proposals import ClauseFeature, clause_features

from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.vocabulary import Vocabulary, every_kind

__all__ = ["proposals_json", "write_proposals"]

_Clause = tuple[int, ...]
_Examples = Mapping[tuple[str, ...], _Clause]
"""A clause by the values of some features."""
_ORDER = (
    ClauseFeature.PREVIOUS,
    ClauseFeature.NEXT,
    ClauseFeature.LENGTH,
    ClauseFeature.OPENING,
    ClauseFeature.STRENGTH,
    ClauseFeature.PREVIOUS_VALUE,
    ClauseFeature.VALUE,
    ClauseFeature.VARIANT,
)
"""From the root to the clauses. What matters seldom comes first: then it makes fewest nodes."""


def write_proposals(folder: Path, vocabulary: Vocabulary) -> Path:
    """Write ``proposals.json`` into a drafter's folder and return its path."""
    path = folder / PROPOSALS_FILE
    path.write_bytes(proposals_json(vocabulary))
    return path


def proposals_json(vocabulary: Vocabulary) -> bytes:
    """Return the bytes of ``proposals.json`` for a vocabulary of the grammar."""
    examples: dict[Slot, dict[tuple[str, ...], _Clause]] = defaultdict(dict)
    for emotion, plan in every_kind():
        for clause in clauses(emotion, plan):
            if clause.slot is not None:
                features = clause_features(plan, emotion, clause.slot)
                values = tuple(str(features[feature]) for feature in _ORDER)
                examples[clause.slot][values] = tuple(vocabulary.encode([clause]))
    diagram = _Diagram({clause for by_values in examples.values() for clause in by_values.values()})
    roots = {slot.value: diagram.add(examples[slot], _ORDER) for slot in Slot}
    fields = {"format": 1, "clauses": diagram.clauses, "nodes": diagram.nodes, "roots": roots}
    return json.dumps(fields, separators=(",", ":")).encode()


class _Diagram:
    """Clauses and nodes with their ids."""

    def __init__(self, clauses: set[_Clause]) -> None:
        self.clauses = sorted(clauses)
        self.nodes: list[tuple[str, dict[str, int]]] = []
        self._clause_ids = {clause: place for place, clause in enumerate(self.clauses)}
        self._node_ids: dict[tuple[str, tuple[tuple[str, int], ...]], int] = {}

    def add(self, examples: _Examples, features: Sequence[ClauseFeature]) -> int:
        """Return the id of a node, or clause, that words ``examples`` by their ``features``."""
        if len(set(examples.values())) == 1:
            return self._clause_ids[next(iter(examples.values()))]
        feature, *rest = features
        without = _united((values[1:], clause) for values, clause in examples.items())
        if without is not None:
            return self.add(without, rest)
        children: dict[str, int] = {}
        for values, united in _alike(examples):
            child = self.add(united, rest)
            children |= dict.fromkeys(values, child)
        children = dict(sorted(children.items()))
        key = (feature.value, tuple(children.items()))
        if key not in self._node_ids:
            self._node_ids[key] = len(self.clauses) + len(self.nodes)
            self.nodes.append((feature.value, children))
        return self._node_ids[key]


def _alike(examples: _Examples) -> list[tuple[list[str], _Examples]]:
    """Return the values of the first feature in groups that are worded alike, each with examples by
    the other features."""
    by_value: dict[str, dict[tuple[str, ...], _Clause]] = defaultdict(dict)
    for (value, *others), clause in examples.items():
        by_value[value][tuple(others)] = clause
    groups: list[tuple[list[str], _Examples]] = []
    for value, own in by_value.items():
        for place, (values, shared) in enumerate(groups):
            both = _united(chain(shared.items(), own.items()))
            if both is not None:
                groups[place] = ([*values, value], both)
                break
        else:
            groups.append(([value], own))
    return groups


def _united(examples: Iterable[tuple[tuple[str, ...], _Clause]]) -> _Examples | None:
    """Return ``examples`` as a mapping; ``None`` if two contradict each other."""
    united: dict[tuple[str, ...], _Clause] = {}
    for values, clause in examples:
        if united.setdefault(values, clause) != clause:
            return None
    return united
