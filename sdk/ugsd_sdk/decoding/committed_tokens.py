"""The tokens of a caption that are final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.decoding.events import DecodedToken, TokenSource

__all__ = ["CommittedTokens", "DraftedToken"]


@dataclass(frozen=True)
class DraftedToken:
    """A token that was drafted and is not final."""

    token: int
    uncertainty: float | None
    """``None`` for a token that no verifier judges."""
    state: NDArray[np.float32]
    """(B,) the state of its position."""
    gain: float | None = None
    """The expected gain of asking about it, -1 to 1; ``None`` if nothing predicts it."""
    draft_weights: bytes = b""
    """The distribution from which the token's value was drawn; empty if it was not."""


class CommittedTokens:
    """The final tokens of one caption, in order."""

    def __init__(self) -> None:
        self.tokens: list[DecodedToken] = []
        self.num_at_verifier = 0
        """The verifier knows so many of the first tokens, since it accepted or wrote them."""
        self._states: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ids(self) -> list[int]:
        """The numbers of all tokens."""
        return [token.token for token in self.tokens]

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens that the verifier does not know yet."""
        return tuple(self.ids[self.num_at_verifier :])

    @property
    def states(self) -> Mapping[int, NDArray[np.float32]]:
        """The state (B,) of each position that the verifier does not know yet."""
        return self._states

    def add_drafted(
        self, block: Sequence[DraftedToken], sources: Sequence[TokenSource], *, disclosed: bool
    ) -> None:
        """Add ``block`` as it was drafted, with the source of each token."""
        for drafted, source in zip(block, sources, strict=True):
            self._states[len(self)] = drafted.state
            self.tokens.append(DecodedToken(drafted.token, source, drafted.uncertainty, disclosed))

    def add_written(self, written: Sequence[int], replaced: Sequence[DraftedToken] | None) -> None:
        """Add the verifier's own words. The first one corrects the ``replaced`` tokens, if they are
        given, and the others continue."""
        for index, token in enumerate(written):
            corrects = index == 0 and replaced is not None
            source = TokenSource.CORRECTED if corrects else TokenSource.CONTINUED
            before = tuple(one.token for one in replaced or ()) if corrects else ()
            self.tokens.append(DecodedToken(token, source, None, disclosed=False, replaced=before))
        self.verifier_knows_all()

    def add_reworded(
        self,
        question: Sequence[DraftedToken],
        sources: Sequence[TokenSource],
        *,
        before: Sequence[DraftedToken],
        disclosed: bool,
    ) -> None:
        """Add ``question``, which words another value than ``before``. What was ``disclosed`` is
        marked: the tokens that both have, and those that were replaced after them."""
        now, old = [one.token for one in question], [one.token for one in before]
        pairs = zip(now, old, strict=False)
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        for place, (token, source) in enumerate(zip(now, sources, strict=True)):
            has_replaced = disclosed and place == min(same, len(now) - 1) and same < len(old)
            self.tokens.append(
                DecodedToken(
                    token,
                    source,
                    None,
                    disclosed=disclosed and place < same,
                    replaced=tuple(old[same:]) if has_replaced else (),
                )
            )

    def verifier_knows_all(self) -> None:
        """Note that the verifier accepted or wrote every token so far."""
        self.num_at_verifier = len(self)
        self._states.clear()

    def mark_disclosed(self, start: int) -> None:
        """Note that the tokens from position ``start`` on were sent."""
        self.tokens[start:] = [replace(token, disclosed=True) for token in self.tokens[start:]]
