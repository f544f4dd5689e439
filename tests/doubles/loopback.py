"""The real server on loopback, with a fake model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.drafter.scripted import EOS, ScriptedDrafter
from ugsd_server.app import serve
from ugsd_server.settings import STARTER_FOLDER, Settings
from ugsd_server.verifier import VerifierInfo
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, Rank
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from tests.doubles.fake_scorer import FakeScorer

BOS = 399
"""The last of the drafter's 400 words is the start token."""


def fake_info(drafter: ScriptedDrafter) -> VerifierInfo:
    """Describe a verifier with the drafter's vocabulary and states."""
    return VerifierInfo(
        name="fake",
        licence="none",
        vocabulary=drafter.info.vocabulary,
        projections=(drafter.info.projection,),
        bos=BOS,
        eos=EOS,
        vocabulary_size=drafter.vocabulary_size,
        state_dim=drafter.info.state_dim,
        max_tokens=drafter.info.max_tokens,
        content_tokens=frozenset(),
    )


class Running:
    """The real server, in its own thread."""

    def __init__(
        self,
        scorer: FakeScorer | OnnxScorer,
        key: VerifierKey | Path,
        acceptance: Acceptance,
    ) -> None:
        """``key`` is the key, or its file."""
        self._key_file = key if isinstance(key, Path) else Path("unused")
        self._key = None if isinstance(key, Path) else key
        self.key = VerifierKey.load(key) if isinstance(key, Path) else key
        self.public_key = self.key.public.to_text()
        self._scorer = scorer
        # Continues after corrections only, so that a caption takes several blocks.
        continuation = ContinuationRule(after_acceptance=False)
        self._verifier = Verifier(scorer, acceptance=acceptance, continuation=continuation)  # type: ignore[arg-type]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = ""

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._scorer, FakeScorer):
            self._scorer.stop.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        settings = Settings(port=0, key_file=self._key_file, drain_timeout_s=1)
        async with await serve(settings, key=self._key, verifier=self._verifier) as server:
            self.url = server.url
            self._ready.set()
            await self._stop.wait()


@pytest.fixture
def run_server(drafter: ScriptedDrafter) -> Iterator[Callable[..., Running]]:
    """Start the real server: ``run(delay_s=, rank=, key=)``. The default is a fresh key.
    ``starter`` uses the bundled model instead of a fake."""
    with ExitStack() as stack:

        def run(
            *,
            delay_s: float = 0.0,
            rank: int = 200,
            key: VerifierKey | Path | None = None,
            starter: bool = False,
        ) -> Running:
            scorer = (
                OnnxScorer(STARTER_FOLDER)
                if starter
                else FakeScorer(fake_info(drafter), delay_s=delay_s)
            )
            key = key or VerifierKey.generate()
            return stack.enter_context(Running(scorer, key, Rank(rank=rank)))

        yield run
