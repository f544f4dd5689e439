"""What a verifier says of a clip on its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ugsd_server.verifier import CausalScorer
from ugsd_server.verifier.acceptance import probabilities

__all__ = ["verifiers_own"]


def verifiers_own(scorer: CausalScorer, summary: NDArray[np.float32]) -> list[int]:
    """The caption, its end left out, that the verifier decodes greedily from a summary (B,)."""
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
