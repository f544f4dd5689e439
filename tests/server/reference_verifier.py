"""A simple, slow definition of a verdict: no cache, every position is scored from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
from ugsd_privacy.dp.plausible_states import plausible_states
from ugsd_privacy.protocol.messages import AskedSlot, Block, ContinueTo, Verdict
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, probabilities

__all__ = ["CONTENT", "VALUES", "ReferenceVerifier"]

CONTENT = frozenset({4, 5, 6, 7})
VALUES = {AskedSlot.EMOTION: ((4, 5), (6,), (7,))}
"""Three emotions; the first one has a synonym."""


class ReferenceVerifier:
    """The verifier of one caption."""

    def __init__(self, scorer: Any, rule: Acceptance, continuation: ContinuationRule) -> None:
        self.scorer, self.rule, self.continuation = scorer, rule, continuation
        self.tokens: list[int] = []
        self.states: dict[int, tuple[int, int, bytes]] = {}
        """Projection, exponent and numbers of each disclosed state."""

    def verify(self, block: Block) -> Verdict:
        committed = self.tokens[: block.keep] + list(block.prefix)
        self.states = {i: s for i, s in self.states.items() if i <= block.keep}
        for row, i in enumerate(block.state_positions):
            numbers = block.states[row * block.state_dim :][: block.state_dim]
            self.states[i] = (block.projection, block.exponent, numbers)
        accepted, correction, more = 0, None, []
        is_stated = False
        for token in block.tokens:
            if not is_stated:  # what follows only completes the value
                correction = self._correction(block.slot, committed, token)
                is_stated = block.slot is not AskedSlot.ANY_TOKEN and token in CONTENT
            if correction is not None:
                break
            committed.append(token)
            accepted += 1
        self.states = {i: s for i, s in self.states.items() if i <= len(committed)}
        if correction is not None:
            committed.append(correction)
        if block.continue_to is not ContinueTo.NOTHING and (
            correction is not None or (self.continuation.after_acceptance and self.states)
        ):
            more = self._continuation(committed)
        self.tokens = committed + more
        return Verdict(
            caption=block.caption,
            start=block.start,
            accepted=accepted,
            correction=correction,
            continuation=tuple(more),
        )

    def _correction(self, slot: AskedSlot, committed: list[int], token: int) -> int | None:
        has_state = any(i <= len(committed) for i in self.states)
        if not has_state and token in CONTENT:
            return None
        if slot is AskedSlot.ANY_TOKEN:
            p = self._p(committed, without_content=not has_state)
            return None if self.rule.accepts(p, token) else int(p.argmax())
        values = self.scorer.info.values[slot]
        stated = [value for value, tokens in enumerate(values) if token in tokens]
        if not stated:
            return None
        p, has_noise = self._p(committed), any(s[1] for s in self.states.values())
        if has_noise:
            p = self._under_noise(committed, [token for tokens in values for token in tokens])
        of_values = np.array([sum(p[token] for token in tokens) for tokens in values])
        of_values /= of_values.sum()
        if self.rule.accepts(of_values, stated[0]) or (has_noise and of_values.max() <= 0.5):
            return None
        likeliest: int = max(values[int(of_values.argmax())], key=lambda token: p[token])
        return likeliest

    def _under_noise(self, committed: list[int], stating: list[int]) -> np.ndarray:
        """Return the average over the states that the first one may have been."""
        info, first = self.scorer.info, min(self.states)
        projection, exponent, numbers = self.states[first]
        units = np.maximum(np.frombuffer(numbers, dtype=np.int8), -127).astype(np.float32)
        average = np.zeros(info.vocabulary_size)
        found = plausible_states(units / np.float32(127) * 2**exponent, exponent)
        for state, share in zip(*found, strict=True):
            inputs = []
            for i, token in enumerate([info.bos, *committed]):
                columns = np.zeros((len(info.projections), info.state_dim), dtype=np.float32)
                columns[projection] = state
                inputs.append((token, tuple(map(float, columns.ravel())) if i == first else None))
            masked = ~np.isin(np.arange(info.vocabulary_size), stating)
            average += share * probabilities(self.scorer.logits(inputs), masked)
        return average

    def _continuation(self, committed: list[int]) -> list[int]:
        info, more = self.scorer.info, list[int]()
        while (
            [*committed, *more][-1] != info.eos
            and len(committed) + len(more) < info.max_tokens
            and len(more) < self.continuation.max_tokens
        ):
            p = self._p([*committed, *more])
            token = int(p.argmax())
            is_unfounded = token in CONTENT and not self.states
            if p[token] < self.continuation.continue_above or is_unfounded:
                break
            more.append(token)
        return more

    def _p(self, tokens: list[int], *, without_content: bool = False) -> np.ndarray:
        info = self.scorer.info
        inputs = []
        for i, token in enumerate([info.bos, *tokens]):
            row = None
            if i in self.states:
                projection, exponent, numbers = self.states[i]
                units = np.maximum(np.frombuffer(numbers, dtype=np.int8), -127)
                columns = np.zeros((len(info.projections), info.state_dim), dtype=np.float32)
                columns[projection] = units.astype(np.float32) / 127 * 2**exponent
                row = tuple(map(float, columns.ravel()))
            inputs.append((token, row))
        masked = np.isin(np.arange(info.vocabulary_size), list(CONTENT))
        return probabilities(self.scorer.logits(inputs), masked if without_content else None)
