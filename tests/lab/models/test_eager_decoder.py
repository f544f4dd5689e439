"""PyTorch eager computes what the exported decoder does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ugsd_sdk
from numpy.typing import NDArray
from ugsd_lab.models.eager_decoder import EagerDecoder, TunedEagerDecoder, load_decoder
from ugsd_lab.models.networks import CaptionDecoder
from ugsd_sdk.onnx_sessions import onnx_session

GRAPH = Path(ugsd_sdk.__file__).parent / "starter" / "decoder.onnx"
LAYERS, HEADS, HEAD_DIM = 3, 4, 32
TOKENS = [1, 3, 4, 5, 100, 101, 200, 7]
Run = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]


@pytest.fixture(scope="module")
def network() -> CaptionDecoder:
    return load_decoder(GRAPH)


def logits_of(run: Run, seed: int) -> NDArray[np.float32]:
    """Return the logits (T + 2, V) after each token, read one by one; the last two are read again
    after the cache was cropped."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {
        "emotion": np.log(rng.dirichlet(np.ones(9)))[None].astype(np.float32),
        "plan": (rng.random((1, 84)) < 0.2).astype(np.float32),
    }
    past = np.zeros((LAYERS, 2, 1, HEADS, 0, HEAD_DIM), dtype=np.float32)
    rows = []
    for place, token in [*enumerate(TOKENS), *list(enumerate(TOKENS))[-2:]]:
        tokens = np.array([[token]], dtype=np.int64)
        logits, past = run({**feeds, "tokens": tokens, "past": past[:, :, :, :, :place]})
        rows.append(np.array(logits[0, 0]))
    return np.stack(rows)


@pytest.mark.parametrize("kind", [EagerDecoder, TunedEagerDecoder])
def test_eager_logits_equal_those_of_the_graph(
    network: CaptionDecoder, kind: Callable[[CaptionDecoder], Any]
) -> None:
    session = onnx_session(GRAPH.read_bytes())
    eager = kind(network)
    for seed in range(3):
        expected = logits_of(lambda feeds: session.run(None, dict(feeds)), seed)
        np.testing.assert_allclose(logits_of(eager.run, seed), expected, atol=1e-4)
    assert np.ptp(expected) > 1
