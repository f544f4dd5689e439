"""No caption falls into a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.decoding.repetition import MAX_COPIES, MAX_PERIOD, completes_loop, greedy_token

EOS = 0


@pytest.mark.parametrize(("tokens", "token"), [([7], 7), ([1, 2, 1], 2), ([9, 1, 2, 3, 1, 2], 3)])
def test_second_copy_completes_a_loop(tokens: list[int], token: int) -> None:
    assert completes_loop(tokens, token)


@pytest.mark.parametrize(("tokens", "token"), [([], 7), ([8], 7), ([1, 2, 1], 3), ([7, 8], 7)])
def test_word_may_come_again(tokens: list[int], token: int) -> None:
    assert not completes_loop(tokens, token)


def test_likeliest_token_is_taken_without_loop() -> None:
    assert greedy_token(np.array([0.1, 0.2, 0.9], np.float32), [2, 1], eos=EOS) == 2


def test_next_likeliest_token_breaks_a_loop() -> None:
    assert greedy_token(np.array([0.1, 0.2, 0.9], np.float32), [2], eos=EOS) == 1


def test_end_marker_is_never_excluded() -> None:
    assert greedy_token(np.array([9.0, 1, 2], np.float32), [EOS, EOS], eos=EOS) == EOS


@given(st.lists(st.integers(0, 3), max_size=4), st.integers(1, 64))
def test_stubborn_drafter_never_loops(favourites: list[int], length: int) -> None:
    logits = np.arange(5, dtype=np.float32)
    logits[favourites] += 10
    tokens: list[int] = []
    for _ in range(length):
        tokens.append(greedy_token(logits, tokens, eos=EOS))
    copies = MAX_COPIES + 1
    for period in range(1, MAX_PERIOD + 1):
        for start in range(len(tokens) - period * copies + 1):
            run = tokens[start : start + period]
            if EOS not in run:
                assert tokens[start : start + period * copies] != run * copies
