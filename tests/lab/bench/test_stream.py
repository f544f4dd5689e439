"""How a stream's utterances are compared with those that are found offline."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_lab.bench.stream import Found, Utterances
from ugsd_lab.data.corpora import load_corpora
from ugsd_sdk.streams.events import FinalCaption

from tests.doubles.captions import sample_caption

CAPTION = sample_caption()


def final(start_s: float, end_s: float) -> tuple[FinalCaption, float]:
    return FinalCaption(start_s, end_s, CAPTION), end_s + 0.5


def compared(offline: list[tuple[float, float]], *online: tuple[float, float]) -> Found:
    found = Found()
    found.compare(offline, [final(*span) for span in online], (0, 10))
    return found


def test_utterance_is_matched_by_overlap() -> None:
    found = compared([(1, 3)], (1.1, 2.8))

    assert (found.utterances, found.lost, found.doubled, found.extra) == (1, 0, 0, 0)
    assert found.start_errors_s == [pytest.approx(0.1)]
    assert found.end_errors_s == [pytest.approx(0.2)]
    assert found.delays_s == [pytest.approx(0.3)]


def test_lost_doubled_and_extra_are_counted() -> None:
    found = compared([(1, 3), (5, 9)], (5, 6), (8, 9), (11, 12))

    assert (found.lost, found.doubled, found.extra) == (1, 1, 1)


def test_joined_utterances_have_the_errors_of_both_ends() -> None:
    found = compared([(1, 3), (3.5, 6)], (1.2, 6.1))

    assert (found.joined, found.lost) == (1, 0)
    assert found.start_errors_s == [pytest.approx(0.2)]
    assert found.end_errors_s == [pytest.approx(0.1)]


def test_clips_are_placed_where_they_are_heard() -> None:
    source = Utterances([clip for clip in load_corpora(None) if clip.split == "test"][:3])

    sound = np.concatenate(list(source.pieces(0.3)))

    assert len(sound) >= 0.3 * 60 * 16_000
    for first, around in source.placed:
        assert np.array_equal(sound[first : first + len(around)], around)
