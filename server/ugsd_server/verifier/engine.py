"""From a block to a verdict, with the model's cache kept between the blocks of a caption.

A caption's inputs are the start token and then its tokens; input ``i`` predicts position ``i`` and
carries the state of position ``i`` where one was disclosed. A block is verified in one forward pass
over the inputs that the cache does not hold yet; each token of a continuation takes one more.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import dequantise
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
    Block,
    RefusalCode,
    Verdict,
    Welcome,
)

from ugsd_server.errors import BlockRefused
from ugsd_server.verifier import Cache, CausalScorer, VerifierInfo
from ugsd_server.verifier.acceptance import Acceptance, Continuation, Typical, probabilities

__all__ = ["CaptionState", "Verifier"]

_Input: TypeAlias = tuple[int, bytes | None]
_DEFAULT_CACHE_BYTES = 256 * 2**20


class CaptionState:
    """One caption as the verifier holds it: its tokens, its states and the model's cache."""

    def __init__(self) -> None:
        self.tokens: tuple[int, ...] = ()
        """What the device may ``keep`` a part of."""
        self.states: dict[int, bytes] = {}
        """Disclosed states by position, as they came; each was computed from ``tokens``."""
        self._cache: Cache | None = None
        self._inputs: list[_Input] = []

    @property
    def cache_bytes(self) -> int:
        """Memory that the model's cache takes."""
        return 0 if self._cache is None else self._cache.nbytes

    def drop_cache(self) -> None:
        """Free the model's cache; the next block computes it anew from tokens and states."""
        self._cache = None
        self._inputs = []

    def run(self, scorer: CausalScorer, inputs: list[_Input], first: int) -> NDArray[np.float32]:
        """Make the cache hold exactly ``inputs``; returns the logits (rows, V) of
        ``inputs[first:]``."""
        if self._cache is None:
            self._cache = scorer.new_cache()
        common = 0
        for held, wanted in zip(self._inputs[:first], inputs, strict=False):
            if held != wanted:
                break
            common += 1
        new = inputs[common:]
        states = np.zeros((len(new), scorer.info.state_dim), dtype=np.float32)
        has_state = np.zeros(len(new), dtype=np.float32)
        for row, (_, state) in enumerate(new):
            if state is not None:
                states[row] = dequantise(state, scorer.info.state_dim)[0]
                has_state[row] = 1
        tokens = np.array([token for token, _ in new], dtype=np.int64)
        try:
            self._cache.crop(common)
            logits = scorer.extend(self._cache, tokens, states, has_state)
        except BaseException:
            self.drop_cache()
            raise
        self._inputs[common:] = new
        return logits[first - common :]


class Verifier:
    """A scorer, an acceptance rule and how far to continue. Called by one thread at a time."""

    def __init__(
        self,
        scorer: CausalScorer,
        *,
        acceptance: Acceptance | None = None,
        continuation: Continuation | None = None,
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
    ) -> None:
        """``cache_bytes`` is the ceiling for the caches of all captions together; those used
        longest ago are dropped first, which costs time and no verdict."""
        self._scorer = scorer
        self._acceptance = acceptance or Typical()
        self._continuation = continuation or Continuation()
        self._ceiling = _CacheCeiling(cache_bytes)

    @property
    def info(self) -> VerifierInfo:
        """The model's description, known after :meth:`load`."""
        return self._scorer.info

    def load(self) -> None:
        """Read the model. Raises :class:`~ugsd_server.errors.ModelError`."""
        self._scorer.load()
        info = self._scorer.info
        self._content = np.zeros(info.vocabulary_size, dtype=np.bool_)
        self._content[sorted(info.content_tokens)] = True

    def close(self) -> None:
        """Let go of the model."""
        self._scorer.close()

    def welcome(self) -> Welcome:
        """What a device is told about this verifier."""
        info = self.info
        return Welcome(
            version=WIRE_VERSION,
            vocabulary=info.vocabulary,
            projection=info.projection,
            state_dim=info.state_dim,
            max_tokens=info.max_tokens,
        )

    def verify(self, caption: CaptionState, block: Block) -> Verdict:
        """Judge ``block`` and leave in ``caption`` the prefix, what was accepted, the correction
        and the continuation.

        Where no state has been disclosed up to a position, words of content are neither rejected
        nor proposed there: the verifier has heard nothing that it could overrule them with. Raises
        :class:`BlockRefused`, ``caption`` being unchanged, or :class:`ModelFailed`.
        """
        self._check(caption, block)
        tokens = (*caption.tokens[: block.keep], *block.prefix, *block.tokens)
        # A held state survives while every token that it was computed from does.
        states = {i: s for i, s in caption.states.items() if i <= block.keep}
        for row, i in enumerate(block.state_positions):
            states[i] = block.states[row * block.state_dim : (row + 1) * block.state_dim]
        inputs: list[_Input] = [(t, states.get(i)) for i, t in enumerate((self.info.bos, *tokens))]
        logits = caption.run(self._scorer, inputs[: block.end], block.start)
        correction = None
        accepted = 0
        for row, token in zip(logits, block.tokens, strict=True):
            correction = self._judge(row, token, _heard(states, block.start + accepted))
            if correction is not None:
                break
            accepted += 1
        length = block.start + accepted
        states = {i: s for i, s in states.items() if i <= length}
        continuation: tuple[int, ...] = ()
        if correction is not None:
            tokens = (*tokens[:length], correction)
            inputs = [*inputs[: length + 1], (correction, None)]
        if correction is not None or (self._continuation.after_acceptance and states):
            continuation = self._continue(caption, inputs, states)
        caption.tokens = (*tokens, *continuation)
        caption.states = states
        self._ceiling.touch(caption)
        return Verdict(
            caption=block.caption,
            start=block.start,
            accepted=accepted,
            correction=correction,
            continuation=continuation,
        )

    def _check(self, caption: CaptionState, block: Block) -> None:
        info = self.info
        if block.keep > len(caption.tokens):
            raise BlockRefused(RefusalCode.UNKNOWN_PREFIX)
        if block.end > info.max_tokens:
            raise BlockRefused(RefusalCode.TOO_LARGE)
        tokens = (*caption.tokens[: block.keep], *block.prefix, *block.tokens)
        if (
            max(tokens) >= info.vocabulary_size
            or info.eos in tokens[:-1]  # nothing follows the end
            or (block.state_positions and not 0 < block.state_dim == info.state_dim)
        ):
            raise BlockRefused(RefusalCode.BAD_MESSAGE)

    def _judge(self, logits: NDArray[np.float32], token: int, heard: bool) -> int | None:
        """``None`` where the token passes, else its correction."""
        if not heard and self._content[token]:
            return None
        p = probabilities(logits, None if heard else self._content)
        return None if self._acceptance.accepts(p, token) else int(p.argmax())

    def _continue(
        self, caption: CaptionState, inputs: list[_Input], states: dict[int, bytes]
    ) -> tuple[int, ...]:
        room = min(self._continuation.max_tokens, self.info.max_tokens - len(inputs) + 1)
        heard = bool(states)
        chosen: list[int] = []
        while len(chosen) < room and inputs[-1][0] != self.info.eos:
            p = probabilities(caption.run(self._scorer, inputs, len(inputs) - 1)[0], None)
            token = int(p.argmax())
            if p[token] < self._continuation.continue_above or (self._content[token] and not heard):
                break
            chosen.append(token)
            inputs = [*inputs, (token, None)]
        return tuple(chosen)


class _CacheCeiling:
    """Drops the caches of the captions used longest ago once all together pass a ceiling."""

    def __init__(self, ceiling_bytes: int) -> None:
        self._ceiling_bytes = ceiling_bytes
        # Weak, since a closed session's captions must vanish with it.
        self._recent: OrderedDict[int, weakref.ref[CaptionState]] = OrderedDict()

    def touch(self, caption: CaptionState) -> None:
        self._recent.pop(id(caption), None)
        self._recent[id(caption)] = weakref.ref(caption)
        alive = {key: held for key, ref in self._recent.items() if (held := ref()) is not None}
        total = sum(held.cache_bytes for held in alive.values())
        for key in list(self._recent):
            held = alive.get(key)
            if held is None:
                del self._recent[key]
            elif total > self._ceiling_bytes:
                total -= held.cache_bytes
                held.drop_cache()
                del self._recent[key]


def _heard(states: dict[int, bytes], position: int) -> bool:
    """Whether the prediction of ``position`` saw a state."""
    return any(i <= position for i in states)
