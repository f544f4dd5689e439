"""Fixtures of the evaluation's tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Measures


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A measures file. Prosody is invented: measuring it takes longer than all else here, and has
    tests of its own."""

    def measure_all(clips: Sequence[Clip], *_: object) -> dict[str, Measures]:
        values = np.random.default_rng(0).normal(size=(len(clips), len(fields(Measures))))
        return {
            clip.id: Measures(*map(float, row)) for clip, row in zip(clips, values, strict=True)
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ugsd_lab.evaluation.study.measure_all", measure_all)
        yield tmp_path_factory.mktemp("cache") / "measures.json"
