"""Greedy choice of the next token that cannot fall into a loop.

A decoder that reads something it was not trained on may repeat a word or a phrase until its limit.
Penalising every repeated n-gram would also forbid what captions repeat for good reasons (Keskar et
al. 2019, section 4.1); here only a run that would follow itself is excluded. No caption that the
drafters learnt from holds one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_COPIES", "MAX_PERIOD", "completes_loop", "greedy_token"]

MAX_COPIES = 1
"""How often the same run of tokens may stand in a row."""
MAX_PERIOD = 8
"""Longest run that is looked for, in tokens."""


def greedy_token(logits: NDArray[np.float32], tokens: Sequence[int], *, eos: int) -> int:
    """Return the likeliest token by ``logits`` (V,) that completes no loop after ``tokens``.

    The end marker always may follow.
    """
    best = int(logits.argmax())
    if best == eos or not completes_loop(tokens, best):
        return best
    for token in np.argsort(logits)[::-1].tolist():
        if token == eos or not completes_loop(tokens, token):
            return int(token)
    return eos


def completes_loop(tokens: Sequence[int], token: int) -> bool:
    """Return whether ``tokens`` and then ``token`` end in a run that stands more than
    :data:`MAX_COPIES` times in a row."""
    copies = MAX_COPIES + 1
    for period in range(1, MAX_PERIOD + 1):
        length = period * copies
        if len(tokens) + 1 < length:
            return False
        if tokens[-period] != token:
            continue
        tail = [*tokens[len(tokens) + 1 - length :], token]
        if tail[period:] == tail[:-period]:
            return True
    return False
