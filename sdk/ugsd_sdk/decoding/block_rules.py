"""Which tokens of a caption form a block, and what a verifier may change in it.

If the drafter has slots, a verifier may be asked about the emotion alone, which the first clause
names: the device is the authority on all that it measures. The setting ``block_unit`` says what
one block is:

- a *slot*, the default: one question, which is a block up to the first token that states the
  emotion. The words before it are wording. A verdict may only put a token of another emotion in its
  place, and so says another value; the device words it.
- *tokens*, as in the paper: blocks of k tokens of the clause, any of which a verdict may change.

:mod:`~ugsd_sdk.decoding.verdict_check` refuses a verdict that touches anything else.

With speculative verification the value of the slot is drawn, and the policy decides as if it had
not been: see :mod:`ugsd_sdk.decoding.value_draw`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from itertools import takewhile
from typing import Self

from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo

from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.value_draw import ValueDraw
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.speculative import draw_fault
from ugsd_sdk.settings.verification import BLOCK_TOKENS, BlockUnit, Continuation, Verification

__all__ = ["BlockRules"]


class BlockRules:
    """The rules of one captioner. They hold no state of a caption."""

    def __init__(
        self,
        table: SlotTable | None = None,
        *,
        block_unit: BlockUnit = BlockUnit.SLOT,
        continuation: Continuation | None = None,
        block_tokens: int = BLOCK_TOKENS,
        verification: Verification = Verification.VERIFIER,
        random_below: Callable[[int], int] = secrets.randbelow,
        has_noise: bool = False,
    ) -> None:
        """``table`` is that of the drafter, if it has slots. ``has_noise`` says whether states get
        noise. ``random_below`` is what
        :class:`ValueDraw` draws with, if ``verification`` is speculative.

        Raises :class:`ConfigError` if a verifier may go on to the end of a caption that has slots,
        or if speculative verification is not possible.
        """
        self._table = table
        self._by_slot = table is not None and block_unit is BlockUnit.SLOT
        self.verification = verification
        """How a verifier judges what it is asked."""
        self.value_draw: ValueDraw | None = None
        """Draws the value of a question; ``None`` if it is drafted like any token."""
        fault = draw_fault(
            verification,
            block_unit=block_unit,
            continuation=continuation,
            has_slots=table is not None,
        )
        if fault is not None:
            raise ConfigError(f"verification = speculative: {fault}")
        if table is not None and verification is Verification.SPECULATIVE:
            self.value_draw = ValueDraw(table.stating_tokens(Slot.EMOTION), random_below)
        if self._by_slot and continuation is Continuation.CLAUSE:
            raise ConfigError(
                "continuation = clause: a verifier that is asked about a slot says its value, and "
                "the device words the clause: set nothing, or block_unit = tokens"
            )
        if table is None and continuation is Continuation.CLAUSE:
            raise ConfigError(
                "continuation = clause: the drafter's captions have no clauses: set caption or "
                "nothing"
            )
        if table is not None and continuation is Continuation.CAPTION:
            raise ConfigError(
                "continuation = caption: the drafter's captions state what the device measured, "
                "which no verifier knows: set clause or nothing"
            )
        default = Continuation.CLAUSE if table is not None else Continuation.CAPTION
        default = Continuation.NOTHING if self._by_slot else default
        self.slot = AskedSlot.EMOTION if self._by_slot else AskedSlot.ANY_TOKEN
        """What a block is about."""
        self.continue_to = ContinueTo[(continuation or default).name]
        """How far a verifier may go on."""
        self.block_tokens = block_tokens
        self.has_noise = has_noise
        """Whether states have noise."""

    def with_block_tokens(self, block_tokens: int) -> Self:
        """Return these rules with another length of a block of tokens, 1 or more."""
        if block_tokens == self.block_tokens:
            return self
        changed = copy(self)
        changed.block_tokens = block_tokens
        return changed

    @property
    def has_slots(self) -> bool:
        """Whether a verifier may be asked about the emotion alone. Without slots it may be asked
        about any token."""
        return self._table is not None

    @property
    def by_slot(self) -> bool:
        """Whether a block is a question about a slot. It is sent whole or not at all, since without
        the tokens that state the value it asks about nothing, and a verdict says a value."""
        return self._by_slot

    def emotions_in(self, tokens: Iterable[int]) -> Collection[str]:
        """Return the emotions that a clause with ``tokens`` names."""
        assert self._table is not None  # noqa: S101
        return self._table.emotions_in(tokens)

    def emotion_of(self, tokens: Iterable[int]) -> str | None:
        """Return the emotion that the first of ``tokens`` to state one states."""
        assert self._table is not None  # noqa: S101
        stated = (self._table.emotion_in([token]) for token in tokens)
        return next((emotion for emotion in stated if emotion), None)

    def goes_together(self, tokens: Sequence[int], emotion: str) -> bool:
        """Return whether a clause with ``tokens`` may state ``emotion``."""
        assert self._table is not None  # noqa: S101
        return emotion in self._table.compatible(Slot.EMOTION, tokens)

    def is_judged(self, token: int, before: Sequence[int]) -> bool:
        """Return whether a verifier may judge ``token``, drafted after ``before``."""
        if self._by_slot:
            return self.states_value(token) and not any(map(self.states_value, before))
        return self.may_change(token)

    def next_block_length(
        self, committed: Sequence[int], ahead: Sequence[int], *, is_complete: bool
    ) -> int | None:
        """Return how many of the tokens ``ahead`` form the next block; 0 if nothing more is asked
        in this caption, ``None`` if more tokens must be drafted first, which a complete caption
        does not allow."""
        asked = self._num_asked(ahead)
        if self._by_slot:
            if committed:
                return 0
            return self._question_length(ahead, may_go_on=asked == len(ahead) and not is_complete)
        if asked == len(ahead) < self.block_tokens and not is_complete:
            return None
        return min(asked, self.block_tokens)

    def _question_length(self, ahead: Sequence[int], *, may_go_on: bool) -> int | None:
        """Return the length of the question that ``ahead`` begins with: up to the first token that
        states the value. One that completes it, as in "good humour", is not sent: the verifier does
        not need it, and a drawn value must not decide how much is sent."""
        first = next((i for i, token in enumerate(ahead) if self.states_value(token)), None)
        if first is None:
            return None if may_go_on else 0
        return first + 1

    def may_change(self, token: int) -> bool:
        """Return whether ``token`` is one of a clause that a verifier may change."""
        return self._table is None or self._table.slots[token] is Slot.EMOTION

    def _num_asked(self, tokens: Sequence[int]) -> int:
        return len(list(takewhile(self.may_change, tokens)))

    def states_value(self, token: int) -> bool:
        """Return whether ``token`` states a value of the slot that may be asked about."""
        return self._table is not None and bool(self._table.emotions_in([token]))
