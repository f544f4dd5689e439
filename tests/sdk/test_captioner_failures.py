"""Captions despite a failing verifier, an exhausted budget, or an unusable ledger or log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import (
    Block,
    Cover,
    Refusal,
    RefusalCode,
    Welcome,
)
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import VerifierMismatch
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport

from tests.doubles.reasons import why_of
from tests.sdk.verdicts import verdict_on

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


def garbage(block: Block) -> bytes:
    return b"garbage"


def silence(block: Block) -> None:
    return None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(garbage, "verifier_misbehaved", id="garbage"),
        pytest.param(lambda block: b"", "verifier_misbehaved", id="empty"),
        pytest.param(silence, "deadline", id="silence"),
        pytest.param(
            lambda block: Refusal(code=RefusalCode.OVERLOADED),
            "verifier_refused: overloaded",
            id="refusal",
        ),
        pytest.param(
            lambda block: verdict_on(block, accepted=0), "verifier_misbehaved", id="no correction"
        ),
        pytest.param(
            lambda block: verdict_on(block, start=1), "verifier_misbehaved", id="other block"
        ),
        pytest.param(
            lambda block: verdict_on(block, caption=9), "verifier_misbehaved", id="other caption"
        ),
        pytest.param(
            lambda block: verdict_on(block, continuation=(400,)),
            "verifier_misbehaved",
            id="no such word",
        ),
        pytest.param(lambda block: Cover(), "verifier_misbehaved", id="cover"),
        pytest.param(
            lambda block: Welcome(
                version=0, vocabulary=bytes(32), projections=(), state_dim=4, max_tokens=9
            ),
            "verifier_misbehaved",
            id="welcome",
        ),
    ],
)
def test_caption_survives_verifier_failure(
    new_captioner: New, fake: Any, voice: Voice, drafter: ScriptedDrafter, answer: Any, reason: str
) -> None:
    with Captioner(drafter) as captioner:
        drafted = captioner.caption(voice, 16_000)
    fake.answer = answer
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.text == drafted.text
    assert len(fake.blocks) == caption.usage.num_blocks == 1
    assert [token.disclosed for token in caption.tokens[:6]] == [True] * 5 + [False]
    assert len(caption.receipts) == 1, "an unanswered block is logged, too"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("vocabulary", bytes(32), "other_vocabulary"),
        ("projections", (bytes(32), bytes(32)), "other_projection"),
        ("projections", (), "other_projection"),
        ("state_dim", 5, "other_projection"),
        ("version", 9, "other_version"),
        ("max_tokens", 3, "beyond_verifier"),
    ],
)
def test_mismatched_verifier_gets_no_blocks(
    new_captioner: New, fake: Any, voice: Voice, field: str, value: object, reason: str
) -> None:
    fake.welcome = fake.welcome.model_copy(update={field: value})
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.usage.num_blocks == 0
    assert not fake.blocks


def test_verifier_with_longer_captions_is_cut(new_captioner: New, fake: Any, voice: Voice) -> None:
    fake.welcome = fake.welcome.model_copy(update={"max_tokens": 200})
    fake.answer = lambda block: verdict_on(block, continuation=(7,) * 100)
    with new_captioner() as captioner:
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
    assert [why_of(caption.unverified_reason) for caption in captions] == [None, None]
    assert [len(caption.tokens) for caption in captions] == [24, 24]
    assert fake.connections == 1


def test_verifier_without_pinned_key_gets_no_blocks(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    other = VerifierKey.generate().public.to_text()
    with new_captioner(verifier_key=other) as captioner:
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
        assert fake.connections == 1, "it backs off"
        with pytest.raises(Exception, match="pinned key"):
            captioner.wait_until_connected(5)
        assert fake.connections == 2, "an explicit wait connects again"
    assert [why_of(caption.unverified_reason) for caption in captions] == ["wrong_verifier_key"] * 2
    assert not fake.blocks


@pytest.mark.parametrize(
    ("limits", "reason", "blocks"),
    [
        (BudgetLimits(tokens_per_day=12), "cap_exceeded: tokens_per_day", 2),
        (BudgetLimits(blocks_per_caption=1), "cap_exceeded: blocks_per_caption", 1),
        (BudgetLimits(bytes_per_day=100), "cap_exceeded: bytes_per_day", 0),
    ],
)
def test_exhausted_budget_still_gives_a_caption(
    new_captioner: New, fake: Any, voice: Voice, limits: BudgetLimits, reason: str, blocks: int
) -> None:
    with new_captioner(config=Settings(limits=limits)) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == reason
    assert caption.usage.num_blocks == len(fake.blocks) == blocks
    sources = [token.source for token in caption.tokens]
    assert sources == [TokenSource.VERIFIED] * 5 * blocks + [TokenSource.DRAFTED] * (
        len(sources) - 5 * blocks
    )


def test_unusable_ledger_blocks_sending(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "ledger").write_text("not a folder")
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "ledger_unavailable"
    assert not fake.frames


@pytest.mark.parametrize("running", [True, False])
def test_rolled_back_log_blocks_sending(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, running: bool
) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    if not running:
        captioner.close()
        captioner = new_captioner()
    with closing(sqlite3.connect(tmp_path / "home" / "ledger" / "ledger.sqlite3")) as db:
        for table in ("charges", "leaves", "nodes"):
            db.execute(f"DELETE FROM {table}")
        db.commit()
    with captioner:
        for _ in range(2):
            assert (
                why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
            )
    assert len(fake.frames) == 6, "a hello and five blocks, of the first caption"


@pytest.mark.parametrize("running", [True, False])
def test_rewritten_log_blocks_sending(
    new_captioner: New, fake: Any, voice: Voice, tmp_path: Path, running: bool
) -> None:
    captioner = new_captioner()
    captioner.caption(voice, 16_000)
    if not running:
        captioner.close()
        captioner = new_captioner()
    with closing(sqlite3.connect(tmp_path / "home" / "ledger" / "ledger.sqlite3")) as db:
        db.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level > 0")
        db.commit()
    captioner.caption(voice, 16_000)  # a running captioner notices when it signs
    captioner._pipeline().links.first._own.retry_at_s = 0.0
    frames = len(fake.frames)
    with captioner:
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "log_tampered"
    assert len(fake.frames) == frames
    assert frames == (11 if running else 6), "a hello and five blocks per caption"


def test_wait_until_connected_reports_the_cause(new_captioner: New, fake: Any) -> None:
    fake.welcome = fake.welcome.model_copy(update={"vocabulary": bytes(32)})
    with new_captioner() as captioner, pytest.raises(VerifierMismatch, match="trained together"):
        captioner.wait_until_connected(5)


def test_caption_waits_within_deadlines(new_captioner: New, voice: Voice) -> None:
    class Stuck(MemoryTransport):
        def __init__(self) -> None:
            super().__init__(lambda data: None)

        def connect(self, timeout_s: float) -> None:
            super().connect(timeout_s)
            threading.Event().wait(1.0)

    settings = Settings(verifier=VerifierSettings(deadline_s=0.2, connect_timeout_s=1.0))
    with new_captioner(verifier=Stuck, config=settings) as captioner:
        first = captioner.caption(voice, 16_000)
        second = captioner.caption(voice, 16_000)
    assert (
        why_of(first.unverified_reason)
        == why_of(second.unverified_reason)
        == "verifier_unreachable"
    )
    assert 150 < first.latency_ms.wait < 600
    assert second.latency_ms.wait < 50, "only one caption waits for an attempt"
