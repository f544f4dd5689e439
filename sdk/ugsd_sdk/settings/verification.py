"""What a block is, how it is judged, and how far a verifier may go on after it."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["BLOCK_TOKENS", "MAX_ADAPTED_BLOCK_TOKENS", "BlockUnit", "Continuation", "Verification"]

BLOCK_TOKENS = 5
"""Block length k of the paper, section III."""
MAX_ADAPTED_BLOCK_TOKENS = 16
"""Longest block if its length follows the delay: from there on even a round trip of seconds gains
little by a longer one."""


class BlockUnit(StrEnum):
    """What one block is."""

    SLOT = "slot"
    """The clause of one slot that may be asked about, up to the word that states its value. A
    drafter without slots has blocks of tokens."""
    TOKENS = "tokens"
    """A fixed number of tokens."""


class Verification(StrEnum):
    """How a verifier judges what it is asked."""

    VERIFIER = "verifier"
    """By its own rule, which its operator sets."""
    SPECULATIVE = "speculative"
    """By speculative acceptance: the value of a question is drawn, and what the verdict leaves has
    exactly the verifier's distribution."""


class Continuation(StrEnum):
    """How far a verifier may go on after the tokens that it accepts and corrects."""

    NOTHING = "nothing"
    """Not at all: the device words the rest."""
    CLAUSE = "clause"
    """To the end of the clause."""
    CAPTION = "caption"
    """To the end of the caption, which is slowest on the verifier and fastest on a slow device."""
