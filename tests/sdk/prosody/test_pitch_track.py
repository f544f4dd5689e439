"""The path through the candidates of a pitch, and frames that are measured in pieces."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_lab.data.corpora import load_corpora, read_samples
from ugsd_sdk.prosody import contours, pitch_track
from ugsd_sdk.prosody.contours import measure_contours
from ugsd_sdk.prosody.pitch_track import _best_path


def score_of(
    path: list[int], octaves: np.ndarray, strengths: np.ndarray, unvoiced: np.ndarray,
    begins: np.ndarray,
) -> float:  # fmt: skip
    """Return the score of a path by the rules of Boersma (1993)."""
    local = np.concatenate([unvoiced[:, None], strengths], axis=1)
    score = sum(local[frame, state] for frame, state in enumerate(path))
    for frame in range(1, len(path)):
        before, now = path[frame - 1], path[frame]
        if begins[frame] or before == now == 0:
            continue
        if 0 in (before, now):
            score -= 0.14
        else:
            score -= 0.7 * abs(octaves[frame, now - 1] - octaves[frame - 1, before - 1])
    return float(score)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_no_path_scores_higher_than_the_best(seed: int, num_frames: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = (
        rng.uniform(-1, 3, (num_frames, 3)), rng.uniform(0, 1, (num_frames, 3)),
        rng.uniform(0.5, 1.5, num_frames), rng.uniform(size=num_frames) < 0.2,
    )  # fmt: skip

    path = _best_path(*drawn)

    others = np.stack(np.meshgrid(*[range(4)] * num_frames), -1).reshape(-1, num_frames)
    best = max(score_of(other, *drawn) for other in others.tolist())
    assert np.isclose(score_of(path.tolist(), *drawn), best)


@pytest.mark.parametrize("chunk", [7, 512])
def test_contours_do_not_depend_on_the_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = read_samples(load_corpora(None)[0])
    spans = [(0, len(samples))]
    usual = measure_contours(samples, spans)
    for module in (contours, pitch_track):
        monkeypatch.setattr(module, "CHUNK", chunk)

    other = measure_contours(samples, spans)

    for field in fields(contours.Contours):
        one, two = (getattr(found, field.name) for found in (usual, other))
        assert np.array_equal(one, two, equal_nan=one.dtype.kind == "f")
