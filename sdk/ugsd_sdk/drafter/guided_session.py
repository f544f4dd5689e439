"""A caption that is drafted in few steps of the decoder.

A *proposer* guesses how the caption goes on, and the decoder reads its proposals together with the
last token, in one step. It thereby predicts every position up to the first wrong proposal exactly
as if it had read the tokens one by one (Leviathan et al. 2023, with a proposer that has no model).
Proposals decide how many steps a caption takes, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.drafter import NOT_CHOSEN, Prediction
from ugsd_sdk.drafter.clause_guide import ClauseGuide

__all__ = ["DecoderStep", "GuidedDraftSession", "Proposer", "no_proposals"]

Float32 = NDArray[np.float32]
DecoderStep = Callable[[NDArray[np.int64], Float32], Sequence[NDArray[Any]]]
"""Maps tokens (1, T) and the keys and values (L, 2, 1, H, P, Dh) of the P tokens before them to
logits (1, T, V) and the keys and values of all."""
Proposer = Callable[[Sequence[int]], Sequence[int]]
"""Returns tokens of the vocabulary that may follow a draft; as many as it likes, and any."""


def no_proposals(tokens: Sequence[int]) -> Sequence[int]:
    """A :data:`Proposer` with which each token is a step of its own."""
    return ()


class GuidedDraftSession:
    """A :class:`~ugsd_sdk.drafter.DraftSession` that keeps to the plan of a guide."""

    def __init__(
        self,
        step: DecoderStep,
        guide: ClauseGuide,
        *,
        propose: Proposer,
        state: Float32,
        bos: int,
        max_tokens: int,
        empty_past: Float32,
    ) -> None:
        """``state`` (B,) is that of every position, and ``empty_past`` (L, 2, 1, H, 0, Dh)."""
        self._step = step
        self._guide = guide
        self._propose = propose
        self._state = state
        self._max_tokens = max_tokens
        self._past = empty_past
        self._tokens: list[int] = []
        self._clauses = [guide.start]
        """What the caption's last clause says before each position, up to the next one."""
        self._read = [bos]
        """The start token and then what the decoder has read, or must read next: the draft and,
        once they are read, proposals."""
        self._logits: list[Float32] = []
        """Those that follow each token that was read."""

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        position = len(self._tokens)
        if position >= len(self._logits):
            self._run()
        row, clause = self._logits[position], self._clauses[position]
        guided = np.where(self._guide.allowed(clause), row, row + NOT_CHOSEN)
        return Prediction(guided, self._state, self._guide.choices(clause))

    def append(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            self._tokens.append(token)
            self._clauses.append(self._guide.after(self._clauses[-1], token))
            position = len(self._tokens)
            if self._read[position : position + 1] != [token]:
                del self._read[position:], self._logits[position:]
                self._read.append(token)

    def crop(self, length: int) -> None:
        del self._tokens[length:], self._clauses[length + 1 :]

    def _run(self) -> None:
        """Let the decoder read the tokens of the draft that it has not read, and proposals."""
        known = len(self._logits)
        room = self._max_tokens - len(self._tokens)
        self._read += self._propose(self._tokens)[:room]
        unread = np.array([self._read[known:]], dtype=np.int64)
        logits, self._past = self._step(unread, self._past[:, :, :, :, :known])
        self._logits += list(logits[0])
