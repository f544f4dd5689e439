"""The verifier's own captions of a clip's summary, and its judgement of others' captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ugsd_server.verifier import CausalScorer
from ugsd_server.verifier.acceptance import Acceptance, probabilities

__all__ = ["decode_with_verifier", "rejections"]


def decode_with_verifier(scorer: CausalScorer, summary: NDArray[np.float32]) -> list[int]:
    """Return the caption that the verifier decodes greedily from a summary (B,), without its end
    token."""
    cache, token, tokens = scorer.new_cache(), scorer.info.bos, list[int]()
    state, has_state = summary[None], np.ones(1, dtype=np.float32)
    while len(tokens) < scorer.info.max_tokens:
        logits = scorer.extend(cache, np.array([token], dtype=np.int64), state, has_state)
        token = int(probabilities(logits[0], None).argmax())
        if token == scorer.info.eos:
            break
        tokens.append(token)
        state, has_state = np.zeros_like(state), np.zeros_like(has_state)
    return tokens


def rejections(
    scorer: CausalScorer, summary: NDArray[np.float32], tokens: Sequence[int], rule: Acceptance
) -> NDArray[np.bool_]:
    """Return a (T,) mask of the ``tokens`` that the verifier rejects, given those before each and a
    summary (B,)."""
    inputs = np.array([scorer.info.bos, *tokens[:-1]], dtype=np.int64)
    states = np.zeros((len(tokens), len(summary)), dtype=np.float32)
    has_state = np.zeros(len(tokens), dtype=np.float32)
    states[0], has_state[0] = summary, 1
    scores = scorer.extend(scorer.new_cache(), inputs, states, has_state)
    return np.array(
        [
            not rule.accepts(probabilities(row, None), token)
            for row, token in zip(scores, tokens, strict=True)
        ]
    )
