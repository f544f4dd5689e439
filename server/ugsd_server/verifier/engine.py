"""Verification of blocks, with the model's cache kept between the blocks of a caption.

A caption's inputs are the start token and then its tokens; input ``i`` predicts position ``i`` and
includes the state of position ``i`` if one was disclosed. One forward pass over the inputs that are
not cached yet verifies a block; each token of a continuation takes one more pass.

A block that asks about a slot is judged by the values that its tokens state: the probabilities of
the tokens of a value are added, so that a synonym counts for the same value. Its other tokens are
wording, which is the device's own and is always accepted. If the block has the draft weights from
which the device drew its value, the value is judged by speculative acceptance, whatever the
verifier's own rule.

If the state of such a block has noise, the values have the average of their probabilities over the
states that it may have been, each in a pass of its own, and a correction must be likelier than not:
a verifier that took the noise for a voice would replace right drafts by arbitrary emotions.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.dp.mechanism import dequantise
from ugsd_privacy.dp.plausible_states import plausible_states
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
    AskedSlot,
    Block,
    ContinueTo,
    RefusalCode,
    Verdict,
    Welcome,
)

from ugsd_server.errors import BlockRefused
from ugsd_server.verifier import Cache, CausalScorer, VerifierInfo
from ugsd_server.verifier.acceptance import (
    Acceptance,
    ContinuationRule,
    Greedy,
    Speculative,
    Typical,
    probabilities,
)

__all__ = ["CaptionState", "Verifier"]

_State: TypeAlias = tuple[int, int, bytes]
"""The index of its projection, its exponent, and its numbers as received."""
_Input: TypeAlias = tuple[int, _State | None]
_DEFAULT_CACHE_BYTES = 256 * 2**20
_LIKELIER_THAN_NOT = 0.5
_LONGEST_WITH_NOISE = 32
"""Where a question with a noised state must end, since it takes many passes without a cache. Those
of the bundled drafters are shorter."""


class CaptionState:
    """The verifier's state of one caption: its tokens, its states and the model's cache."""

    def __init__(self) -> None:
        self.tokens: tuple[int, ...] = ()
        """Tokens of the caption; a block may ``keep`` a prefix of them."""
        self.states: dict[int, _State] = {}
        """Disclosed states by position, as received; each was computed from ``tokens``."""
        self._cache: Cache | None = None
        self._inputs: list[_Input] = []

    @property
    def cache_bytes(self) -> int:
        """Memory that the model's cache takes."""
        return 0 if self._cache is None else self._cache.nbytes

    def drop_cache(self) -> None:
        """Free the model's cache; the next block recomputes it from tokens and states."""
        self._cache = None
        self._inputs = []

    def run(self, scorer: CausalScorer, inputs: list[_Input], first: int) -> NDArray[np.float32]:
        """Make the cache contain exactly ``inputs``; return the logits (rows, V) of
        ``inputs[first:]``."""
        if self._cache is None:
            self._cache = scorer.new_cache()
        common = 0
        for cached, wanted in zip(self._inputs[:first], inputs, strict=False):
            if cached != wanted:
                break
            common += 1
        new = inputs[common:]
        try:
            self._cache.crop(common)
            logits = scorer.extend(self._cache, *_arrays(new, scorer.info))
        except BaseException:
            self.drop_cache()
            raise
        self._inputs[common:] = new
        return logits[first - common :]


class Verifier:
    """A scorer with an acceptance rule and a continuation rule, for one thread at a time."""

    def __init__(
        self,
        scorer: CausalScorer,
        *,
        acceptance: Acceptance | None = None,
        question_acceptance: Acceptance | None = None,
        speculative: Speculative | None = None,
        continuation: ContinuationRule | None = None,
        cache_bytes: int = _DEFAULT_CACHE_BYTES,
    ) -> None:
        """``acceptance`` judges tokens, ``question_acceptance`` the values of a slot, and
        ``speculative`` those of blocks with draft weights. ``cache_bytes`` limits the caches of all
        captions together; the least recently used are dropped first, which costs time but changes
        no verdict."""
        self._scorer = scorer
        self._acceptance = acceptance or Typical()
        self._question_acceptance = question_acceptance or Greedy()
        self._speculative = speculative or Speculative()
        self._continuation = continuation or ContinuationRule()
        self._ceiling = _CacheCeiling(cache_bytes)

    @property
    def info(self) -> VerifierInfo:
        """The model's description, available after :meth:`load`."""
        return self._scorer.info

    def load(self) -> None:
        """Read the model. Raises :class:`~ugsd_server.errors.ModelError`."""
        self._scorer.load()
        info = self._scorer.info
        self._content = np.zeros(info.vocabulary_size, dtype=np.bool_)
        self._content[sorted(info.content_tokens)] = True
        self._values = {slot: _value_of(info, slot) for slot in info.values}
        if info.state_dim:  # its table is made once, and not for a message
            plausible_states(np.ones(info.state_dim), exponent=1)

    def close(self) -> None:
        """Release the model."""
        self._scorer.close()

    def welcome(self) -> Welcome:
        """Return the message that describes this verifier to a device."""
        info = self.info
        return Welcome(
            version=WIRE_VERSION,
            vocabulary=info.vocabulary,
            projections=info.projections,
            state_dim=info.state_dim,
            max_tokens=info.max_tokens,
        )

    def verify(self, caption: CaptionState, block: Block) -> Verdict:
        """Verify ``block``; store in ``caption`` the prefix, the accepted tokens, the correction
        and the continuation.

        Without a disclosed state up to a position, content words are neither rejected nor proposed
        there: the verifier has no information about the voice. Raises :class:`BlockRefused`, which
        leaves ``caption`` unchanged, or :class:`ModelFailed`.
        """
        self._check(caption, block)
        tokens = (*caption.tokens[: block.keep], *block.prefix, *block.tokens)
        # A stored state stays valid while every token that it was computed from does.
        states = {i: s for i, s in caption.states.items() if i <= block.keep}
        for row, i in enumerate(block.state_positions):
            numbers = block.states[row * block.state_dim : (row + 1) * block.state_dim]
            states[i] = (block.projection, block.exponent, numbers)
        inputs: list[_Input] = [(t, states.get(i)) for i, t in enumerate((self.info.bos, *tokens))]
        logits = caption.run(self._scorer, inputs[: block.end], block.start)
        correction = None
        accepted = 0
        judged = self._judged(block)
        for row, token in zip(logits, block.tokens, strict=True):
            if accepted in judged:
                known = inputs[: block.start + accepted + 1]
                correction = self._correction(block, row, token, known)
                if correction is not None:
                    break
            accepted += 1
        length = block.start + accepted
        states = {i: s for i, s in states.items() if i <= length}
        continuation: tuple[int, ...] = ()
        if correction is not None:
            tokens = (*tokens[:length], correction)
            inputs = [*inputs[: length + 1], (correction, None)]
        goes_on = correction is not None or (self._continuation.after_acceptance and states)
        if goes_on and block.continue_to is not ContinueTo.NOTHING:
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
        if block.end > info.max_tokens or (
            block.end > _LONGEST_WITH_NOISE and _is_noised_question(caption, block)
        ):
            raise BlockRefused(RefusalCode.TOO_LARGE)
        tokens = (*caption.tokens[: block.keep], *block.prefix, *block.tokens)
        if (
            max(tokens) >= info.vocabulary_size
            or info.eos in tokens[:-1]  # nothing follows the end
            or (block.state_positions and not 0 < block.state_dim == info.state_dim)
            or (block.state_positions and block.projection >= len(info.projections))
            or (block.slot is not AskedSlot.ANY_TOKEN and block.slot not in self._values)
            or (block.draft_weights and not self._is_drawn(caption, block))
        ):
            raise BlockRefused(RefusalCode.BAD_MESSAGE)

    def _is_drawn(self, caption: CaptionState, block: Block) -> bool:
        """Return whether ``block`` states one value, in one token or several, which its draft
        weights allow, and the verifier has a state, without which it has no distribution to compare
        them with."""
        value_of, draft_weights = self._values[block.slot], block.draft_weights
        drawn = {int(value_of[token]) for token in block.tokens if value_of[token] >= 0}
        return (
            len(draft_weights) == len(self.info.values[block.slot])
            and len(drawn) == 1
            and draft_weights[drawn.pop()] > 0
            and (
                any(i <= block.keep for i in caption.states)
                or any(i <= block.start for i in block.state_positions)
            )
        )

    def _judged(self, block: Block) -> range:
        """Return which of the block's tokens are judged: in a question only the first one that
        states a value, since what follows could only complete it."""
        if block.slot is AskedSlot.ANY_TOKEN:
            return range(len(block.tokens))
        value_of = self._values[block.slot]
        stating = (i for i, token in enumerate(block.tokens) if value_of[token] >= 0)
        first = next(stating, None)
        return range(0) if first is None else range(first, first + 1)

    def _correction(
        self, block: Block, logits: NDArray[np.float32], token: int, inputs: list[_Input]
    ) -> int | None:
        """Return ``None`` if the token is accepted, else its correction. The ``logits`` (V,) are
        those after ``inputs``."""
        has_state = any(state is not None for _, state in inputs)
        if not has_state and self._content[token]:
            return None
        if block.slot is not AskedSlot.ANY_TOKEN:
            return self._other_value(block, logits, token, inputs)
        p = probabilities(logits, None if has_state else self._content)
        return None if self._acceptance.accepts(p, token) else int(p.argmax())

    def _other_value(
        self, block: Block, logits: NDArray[np.float32], token: int, inputs: list[_Input]
    ) -> int | None:
        """Return ``None`` if the value that ``token`` states is accepted, else the likeliest token
        of the likeliest value, or of the one that was drawn instead."""
        value_of = self._values[block.slot]
        drafted, states_value = int(value_of[token]), value_of >= 0
        has_noise = any(state is not None and state[1] for _, state in inputs)
        p = (
            self._under_noise(inputs, value_of < 0)
            if has_noise
            else probabilities(logits, value_of < 0)
        )
        sums = np.bincount(value_of[states_value], weights=p[states_value])
        of_values = sums.astype(np.float64)
        if block.draft_weights:
            q = np.frombuffer(block.draft_weights, dtype=np.uint8).astype(np.float64)
            value = self._speculative.value(of_values, q / q.sum(), drafted)
        else:
            is_accepted = self._question_acceptance.accepts(of_values, drafted) or (
                has_noise and of_values.max() <= _LIKELIER_THAN_NOT
            )
            value = drafted if is_accepted else int(of_values.argmax())
        if value == drafted:
            return None
        return int(np.where(value_of == value, p, -1.0).argmax())

    def _under_noise(self, inputs: list[_Input], masked: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the probabilities (V,) after ``inputs``, on average over what the first of their
        states may have been. Further states of a caption are left out: drafters with slots make one
        for a clip."""
        info = self._scorer.info
        place, state = next((i, state) for i, (_, state) in enumerate(inputs) if state is not None)
        projection, exponent, numbers = state
        received = dequantise(numbers, info.state_dim, exponent)[0]
        tokens, states, has_state = _arrays([(token, None) for token, _ in inputs], info)
        has_state[place] = 1
        own = slice(projection * info.state_dim, (projection + 1) * info.state_dim)
        average = np.zeros(info.vocabulary_size)
        for plausible, share in zip(*plausible_states(received, exponent), strict=True):
            states[place, own] = plausible
            logits = self._scorer.extend(self._scorer.new_cache(), tokens, states, has_state)
            average += share * probabilities(logits[-1], masked)
        return average

    def _continue(
        self, caption: CaptionState, inputs: list[_Input], states: dict[int, _State]
    ) -> tuple[int, ...]:
        room = min(self._continuation.max_tokens, self.info.max_tokens - len(inputs) + 1)
        has_state = bool(states)
        chosen: list[int] = []
        while len(chosen) < room and inputs[-1][0] != self.info.eos:
            p = probabilities(caption.run(self._scorer, inputs, len(inputs) - 1)[0], None)
            token = int(p.argmax())
            is_unfounded = self._content[token] and not has_state
            if p[token] < self._continuation.continue_above or is_unfounded:
                break
            chosen.append(token)
            inputs = [*inputs, (token, None)]
        return tuple(chosen)


class _CacheCeiling:
    """Drops the least recently used caches when all together exceed a ceiling."""

    def __init__(self, ceiling_bytes: int) -> None:
        self._ceiling_bytes = ceiling_bytes
        # Weak references, so that a closed session's captions are freed.
        self._recent: OrderedDict[int, weakref.ref[CaptionState]] = OrderedDict()

    def touch(self, caption: CaptionState) -> None:
        self._recent.pop(id(caption), None)
        self._recent[id(caption)] = weakref.ref(caption)
        alive = {key: found for key, ref in self._recent.items() if (found := ref()) is not None}
        total = sum(found.cache_bytes for found in alive.values())
        for key in list(self._recent):
            oldest = alive.get(key)
            if oldest is None:
                del self._recent[key]
            elif total > self._ceiling_bytes:
                total -= oldest.cache_bytes
                oldest.drop_cache()
                del self._recent[key]


def _is_noised_question(caption: CaptionState, block: Block) -> bool:
    """Return whether ``block`` asks about a slot, and a state that it is judged by has noise."""
    known = any(exponent for i, (_, exponent, _) in caption.states.items() if i <= block.keep)
    return block.slot is not AskedSlot.ANY_TOKEN and (block.exponent > 0 or known)


def _arrays(
    inputs: list[_Input], info: VerifierInfo
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return tokens (T,), states (T, D) and a mask (T,) of the states that are known."""
    dim = info.state_dim
    states = np.zeros((len(inputs), info.input_dim), dtype=np.float32)
    has_state = np.zeros(len(inputs), dtype=np.float32)
    for row, (_, state) in enumerate(inputs):
        if state is not None:
            projection, exponent, numbers = state
            own = slice(projection * dim, (projection + 1) * dim)
            states[row, own] = dequantise(numbers, dim, exponent)[0]
            has_state[row] = 1
    return np.array([token for token, _ in inputs], dtype=np.int64), states, has_state


def _value_of(info: VerifierInfo, slot: AskedSlot) -> NDArray[np.int64]:
    """Return (V,) the index of the value that each token states; -1 if it states none."""
    value_of = np.full(info.vocabulary_size, -1, dtype=np.int64)
    for value, tokens in enumerate(info.values[slot]):
        value_of[list(tokens)] = value
    return value_of
