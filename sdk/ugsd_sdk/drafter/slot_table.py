"""Which slot each token of a vocabulary belongs to, and with which values it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.attributes.plan import WORDED_VALUES
from ugsd_sdk.attributes.slots import Slot

__all__ = ["SlotTable", "parse_slots"]

_MAX_ITEMS = 500_000
_TokenId = Annotated[int, Field(ge=0)]


class _SlotsFile(StrictModel):
    """``slots.json``."""

    format: Annotated[int, exactly(1)]
    slots: tuple[Slot | None, ...]
    values: dict[Slot, dict[str, tuple[_TokenId, ...]]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set(self.values) != set(Slot):
            raise ValueError("it does not have the slots of this release")
        for slot, by_value in self.values.items():
            if tuple(by_value) != WORDED_VALUES[slot]:
                raise ValueError(f"{slot} does not have the values of this release")
            for value, tokens in by_value.items():
                if not tokens:
                    raise ValueError(f"no token states that {slot} is {value}")
                if any(token >= len(self.slots) for token in tokens):
                    raise ValueError("a token id is not in the vocabulary")
                if any(self.slots[token] is not slot for token in tokens):
                    raise ValueError(f"a token of {slot} belongs to another slot")
        return self


@dataclass(frozen=True)
class SlotTable:
    """The slots of a vocabulary of V tokens."""

    slots: tuple[Slot | None, ...]
    """(V,) the slot of each token; ``None`` for special tokens and the last full stop."""
    values: Mapping[Slot, Mapping[str, Sequence[int]]]
    """The tokens with which a clause may state each value of its slot."""

    def stating_tokens(self, slot: Slot) -> list[list[int]]:
        """Return for each value of ``slot``, in order, the tokens that no other value uses."""
        by_value = self.values[slot].values()
        used = Counter(token for tokens in by_value for token in set(tokens))
        return [sorted({token for token in tokens if used[token] == 1}) for tokens in by_value]

    def emotions_in(self, tokens: Iterable[int]) -> set[str]:
        """Return the emotions that ``tokens`` name. More than one is a contradiction."""
        return {self._emotions[token] for token in tokens if token in self._emotions}

    def emotion_in(self, tokens: Iterable[int]) -> str | None:
        """Return the emotion that ``tokens`` name; ``None`` if they name none, or several."""
        named = self.emotions_in(tokens)
        return named.pop() if len(named) == 1 else None

    def without_other_emotions(self, emotion: str) -> NDArray[np.bool_]:
        """Return the (V,) tokens of clauses that name ``emotion``, and those of all other slots."""
        return self._without_other_emotions[emotion]

    def compatible(self, slot: Slot, tokens: Iterable[int]) -> list[str]:
        """Return the values of ``slot`` that a clause with ``tokens`` may still state."""
        written = frozenset(tokens)
        return [value for value, used in self._tokens[slot].items() if written <= used]

    def still_compatible(self, slot: Slot, values: Iterable[str], token: int) -> tuple[str, ...]:
        """Return those of ``values`` that a clause of ``slot`` may state if ``token`` follows."""
        used = self._tokens[slot]
        return tuple(value for value in values if token in used[value])

    def is_stated(self, slot: Slot, value: str, compatible: Iterable[str]) -> bool:
        """Return whether a clause that is ``compatible`` with these values states ``value``. It
        states "higher" although "higher and faster" may follow, but not the other way round."""
        return self._stated_as_well[slot][value].issuperset(compatible)

    def allowed(self, slot: Slot, values: Iterable[str]) -> NDArray[np.bool_]:
        """Return the (V,) tokens of clauses that state one of ``values``, at least one."""
        masks = self._masks[slot]
        return reduce(np.logical_or, [masks[value] for value in values])

    @cached_property
    def _tokens(self) -> dict[Slot, dict[str, frozenset[int]]]:
        return {
            slot: {value: frozenset(tokens) for value, tokens in by_value.items()}
            for slot, by_value in self.values.items()
        }

    @cached_property
    def _stated_as_well(self) -> dict[Slot, dict[str, frozenset[str]]]:
        """The values of which a clause may have all tokens of a value."""
        return {
            slot: {
                value: frozenset(other for other in by_value if by_value[other] >= used)
                for value, used in by_value.items()
            }
            for slot, by_value in self._tokens.items()
        }

    @cached_property
    def _masks(self) -> dict[Slot, dict[str, NDArray[np.bool_]]]:
        """The (V,) tokens of each value, read-only since callers get them."""
        return {
            slot: {value: self._mask(tokens) for value, tokens in by_value.items()}
            for slot, by_value in self.values.items()
        }

    @cached_property
    def _without_other_emotions(self) -> dict[str, NDArray[np.bool_]]:
        others = ~self.allowed(Slot.EMOTION, self.values[Slot.EMOTION])
        masks = self._masks[Slot.EMOTION]
        return {emotion: _read_only(others | mask) for emotion, mask in masks.items()}

    def _mask(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.slots), dtype=np.bool_)
        mask[list(tokens)] = True
        return _read_only(mask)

    @cached_property
    def _emotions(self) -> dict[int, str]:
        owners: dict[int, list[str]] = {}
        for value, tokens in self.values[Slot.EMOTION].items():
            for token in tokens:
                owners.setdefault(token, []).append(value)
        return {token: names[0] for token, names in owners.items() if len(names) == 1}


def _read_only(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask.flags.writeable = False
    return mask


def parse_slots(data: bytes, *, num_tokens: int) -> SlotTable:
    """Return the table in ``slots.json`` for a vocabulary of ``num_tokens``. Raises
    :class:`ValueError`."""
    file = read_json(_SlotsFile, data, max_items=_MAX_ITEMS)
    if len(file.slots) != num_tokens:
        raise ValueError("it is about another vocabulary")
    return SlotTable(file.slots, file.values)
