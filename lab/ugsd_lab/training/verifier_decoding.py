"""The verifier's own words about a clip's state, and its verdict on a question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import clip as clipped
from ugsd_privacy.dp.mechanism import quantise
from ugsd_privacy.protocol.messages import AskedSlot, Block, Verdict
from ugsd_sdk.drafter import DrafterInfo
from ugsd_server.verifier import CausalScorer, VerifierInfo
from ugsd_server.verifier.acceptance import probabilities
from ugsd_server.verifier.engine import CaptionState, Verifier

from ugsd_lab.errors import LabError

__all__ = ["decode_with_verifier", "is_rejected", "projection_index", "verdict_on"]

_CLIP_NORM = 1.0


def projection_index(drafter: DrafterInfo, verifier: VerifierInfo) -> int:
    """Return the place of the drafter's projection among those that the verifier reads. Raises
    :class:`LabError` if it reads no states of this drafter."""
    if drafter.projection not in verifier.projections:
        raise LabError(
            f"the verifier {verifier.name} does not read the states of the drafter {drafter.name}: "
            "train both together with `ugsd-lab train`"
        )
    return verifier.projections.index(drafter.projection)


def decode_with_verifier(
    scorer: CausalScorer,
    state: NDArray[np.float32],
    projection: int,
    wording: Sequence[int] = (),
) -> list[int]:
    """Return the caption that the verifier decodes greedily from a state (B,) of one of its
    projections, after the tokens of ``wording``; without its end token."""
    info = scorer.info
    tokens = list(wording)
    inputs = [info.bos, *tokens]
    states = np.zeros((len(inputs), info.input_dim), dtype=np.float32)
    states[0, projection * info.state_dim : (projection + 1) * info.state_dim] = state
    has_state = np.zeros(len(inputs), dtype=np.float32)
    has_state[0] = 1
    cache = scorer.new_cache()
    while len(tokens) < info.max_tokens:
        logits = scorer.extend(cache, np.array(inputs, dtype=np.int64), states, has_state)
        token = int(probabilities(logits[-1], None).argmax())
        if token == info.eos:
            break
        tokens.append(token)
        inputs, states, has_state = [token], np.zeros_like(states[:1]), np.zeros_like(has_state[:1])
    return tokens


def is_rejected(
    verifier: Verifier, question: Sequence[int], state: NDArray[np.float32], projection: int
) -> bool:
    """Return whether the verifier rejects the emotion that the tokens of a ``question`` state,
    given the state (B,) as it is received, clipped and quantised."""
    return verdict_on(verifier, question, state, projection).accepted < len(question)


def verdict_on(
    verifier: Verifier, question: Sequence[int], state: NDArray[np.float32], projection: int
) -> Verdict:
    """Return the verdict on a question, given the state (B,) as it is received."""
    block = Block(
        caption=0,
        slot=AskedSlot.EMOTION,
        tokens=tuple(question),
        state_positions=(0,),
        states=quantise(clipped(state[None], _CLIP_NORM), _CLIP_NORM),
        projection=projection,
    )
    return verifier.verify(CaptionState(), block)
