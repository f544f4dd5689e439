"""A scorer without a model, which exposes cache faults."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
from numpy.typing import NDArray
from ugsd_server.verifier import VerifierInfo

__all__ = ["FakeCache", "FakeScorer", "Input"]

Input = tuple[int, tuple[float, ...] | None]


class FakeCache:
    """A cache that stores the inputs themselves."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []

    @property
    def length(self) -> int:
        return len(self.inputs)

    @property
    def nbytes(self) -> int:
        return len(self.inputs)

    def crop(self, length: int) -> None:
        assert 0 <= length <= len(self.inputs)
        del self.inputs[length:]


class FakeScorer:
    """Logits are a hash of all inputs up to their row, so one wrong cached input changes them.

    ``delay_s`` makes each pass slow, until ``stop`` is set.
    """

    def __init__(self, info: VerifierInfo, *, sharpness: float = 1.0, delay_s: float = 0.0) -> None:
        self.info = info
        self.sharpness = sharpness
        self.passes = 0
        self.inputs_run = 0
        self.loaded = False
        self.fail_next = False
        self.stop = threading.Event()
        self._delay_s = delay_s

    def load(self) -> None:
        self.loaded = True

    def close(self) -> None:
        self.loaded = False

    def new_cache(self) -> FakeCache:
        return FakeCache()

    def logits(self, inputs: list[Input]) -> NDArray[np.float32]:
        """Return the logits after ``inputs``, computed from scratch."""
        digest = hashlib.blake2b(repr(inputs).encode(), digest_size=8).digest()
        noise = np.random.default_rng(int.from_bytes(digest, "big"))
        scores = noise.normal(size=self.info.vocabulary_size) * self.sharpness
        return scores.astype(np.float32)

    def extend(
        self,
        cache: FakeCache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        assert tokens.shape == has_state.shape
        assert states.shape == (len(tokens), self.info.input_dim)
        assert cache.length + len(tokens) <= self.info.max_tokens
        if self._delay_s:
            self.stop.wait(self._delay_s)
        self.passes += 1
        self.inputs_run += len(tokens)
        rows = []
        for token, state, has in zip(tokens, states, has_state, strict=True):
            cache.inputs.append((int(token), tuple(map(float, state)) if has else None))
            rows.append(self.logits(cache.inputs))
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("the accelerator caught fire")
        return np.stack(rows)
