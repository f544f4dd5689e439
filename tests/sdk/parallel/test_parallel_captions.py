"""Many threads caption at once with one set of models, and get what one thread alone gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle

from tests.doubles.busy_threads import all_at_once, switching_often

CLIPS = sorted((DrafterBundle.of(STARTER).folder / "clips").glob("*.opus"))[::2]
THREADS = 8

Contents = dict[str, Any]


def contents(caption: Caption) -> Contents:
    """Return all that a caption says, tokens and attributes included, but not how long it took."""
    return caption.model_dump(exclude={"latency_ms"})


def captions_of(captioner: Captioner, clips: list[Path], user: str | None) -> list[Contents]:
    return [contents(captioner.caption(clip, user=user)) for clip in clips]


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioner]:
    with Captioner() as captioner:
        yield captioner


def test_unnamed_people_get_what_one_gets(captioner: Captioner) -> None:
    alone = captions_of(captioner, CLIPS, None)

    def work(first: int) -> Callable[[], list[Contents]]:
        clips = [*CLIPS[first:], *CLIPS[:first]]
        return lambda: captions_of(captioner, clips, None)

    for first, found in enumerate(all_at_once(*map(work, range(THREADS)))):
        assert found == [*alone[first:], *alone[:first]]


def test_named_users_get_what_one_gets() -> None:
    """Each has a profile, which the captions of others do not touch."""
    orders = [[*CLIPS[first:], *CLIPS[:first]][:4] for first in range(4)]
    with Captioner() as captioner:
        alone = [captions_of(captioner, clips, f"alone-{n}") for n, clips in enumerate(orders)]
    with Captioner() as captioner:
        works = [
            lambda n=n, clips=clips: captions_of(captioner, clips, f"user-{n}")
            for n, clips in enumerate(orders)
        ]
        assert all_at_once(*works) == alone


def test_constant_switching_changes_no_caption(captioner: Captioner) -> None:
    alone = captions_of(captioner, CLIPS[:4], None)
    with switching_often():
        works = [lambda: captions_of(captioner, CLIPS[:4], None)] * THREADS
        assert all_at_once(*works) == [alone] * THREADS


def test_resampled_arrays_in_many_threads(captioner: Captioner) -> None:
    samples = [soundfile.read(clip, dtype="float32")[0] for clip in CLIPS[:3]]
    stereo = [np.stack([one, np.roll(one, 5)], axis=1) for one in samples]

    def work() -> list[Contents]:
        return [contents(captioner.caption(one, 22_050)) for one in stereo]

    alone = work()
    assert all_at_once(*[work] * THREADS) == [alone] * THREADS
