"""Another process is stopped while it holds a lock of ours: what that costs a caption."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.checkpoints import Checkpoints
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.ledger.user_budget import UserBudget
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.home import UserEgress
from ugsd_sdk.profile.profile_file import stored_profile
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.lock_holder import Hold
from tests.doubles.reasons import why_of
from tests.doubles.speech import recorded_clips

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
DEADLINE_S = 1.0
QUICK = Settings(
    user="ada",
    verifier=VerifierSettings(deadline_s=DEADLINE_S, caption_deadline_s=DEADLINE_S),
    min_enrolment=0,
)
NOISE_S = 0.8
"""Time that a busy machine may add: with it, a caption takes less than two deadlines or than any
lock's own timeout."""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process is stopped there")


@pytest.fixture
def drafter() -> ScriptedDrafter:
    return ScriptedDrafter(seed=3, vocabulary_size=400, profiles=True)


def timed(captioner: Captioner, voice: Voice) -> tuple[str | None, float]:
    started_s = time.monotonic()
    caption = captioner.caption(voice, 16_000)
    return why_of(caption.unverified_reason), time.monotonic() - started_s


def test_held_ledger_delays_only_to_the_deadline(
    new_captioner: New, voice: Voice, tmp_path: Path, hold: Hold
) -> None:
    captioner = new_captioner(config=QUICK)
    assert captioner.caption(voice, 16_000).unverified_reason is None
    hold("ledger", tmp_path / "home" / "ledger" / "ledger.sqlite3")
    for _ in range(3):
        reason, elapsed_s = timed(captioner, voice)
        assert reason == "ledger_unavailable"
        assert elapsed_s < 1.1 * DEADLINE_S + NOISE_S
    started_s = time.monotonic()
    captioner.close()
    assert time.monotonic() - started_s < 3


def test_held_profile_delays_only_to_the_deadline(
    new_captioner: New, voice: Voice, tmp_path: Path, hold: Hold
) -> None:
    with new_captioner(config=QUICK) as captioner:
        captioner.caption(voice, 16_000)
        (profile,) = (tmp_path / "home" / "habits").glob("*.npz")
        hold("profile", profile.with_suffix(".lock"))
        for _ in range(2):
            reason, elapsed_s = timed(captioner, voice)
            assert reason is None
            assert elapsed_s < 1.1 * DEADLINE_S + NOISE_S


def test_freed_profile_is_stored_again(new_captioner: New, tmp_path: Path, hold: Hold) -> None:
    first, second, third, *_ = recorded_clips()
    fcntl = pytest.importorskip("fcntl")
    with new_captioner(config=QUICK) as captioner:
        captioner.caption(first, 16_000)
        (profile,) = (tmp_path / "home" / "habits").glob("*.npz")
        with profile.with_suffix(".lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            captioner.caption(second, 16_000)
        captioner.caption(third, 16_000)
    assert stored_profile(tmp_path / "home" / "habits", "ada").count == 2


def test_waits_of_a_caption_share_one_deadline(
    new_captioner: New,
    fake: Any,
    voice: Voice,
    tmp_path: Path,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    def held(*_: object, timeout_s: float, **__: object) -> Any:
        waits.append(timeout_s)
        time.sleep(timeout_s)
        raise LedgerUnavailable("held")

    def held_note(*_: object, timeout_s: float, **__: object) -> None:
        waits.append(timeout_s)
        time.sleep(timeout_s)

    captioner = new_captioner(config=QUICK)
    captioner.caption(voice, 16_000)
    (profile,) = (tmp_path / "home" / "habits").glob("*.npz")
    hold("profile", profile.with_suffix(".lock"))
    monkeypatch.setattr(UserEgress, "write_journal", held_note)
    for owner, name in (
        (Checkpoints, "receipts"),
        (UserBudget, "usage"),
        (UserBudget, "remaining"),
    ):
        monkeypatch.setattr(owner, name, held)
    fake.answer = lambda block: None  # a verifier that is silent, too
    monkeypatch.setattr("ugsd_sdk.transport.memory.MemoryTransport.receive", patiently(fake, waits))
    reason, elapsed_s = timed(captioner, voice)
    assert reason == "deadline"
    assert elapsed_s < 1.1 * DEADLINE_S + NOISE_S
    assert len(waits) >= 3
    assert sum(waits) < 1.1 * DEADLINE_S
    captioner.close()


def patiently(fake: Any, waits: list[float]) -> Callable[[Any, float], bytes]:
    """A ``receive`` that waits as long as it is told to."""
    from ugsd_sdk.transport.memory import MemoryTransport

    receive = MemoryTransport.receive

    def waiting(transport: MemoryTransport, timeout_s: float) -> bytes:
        if not transport._answers:
            waits.append(timeout_s)
            time.sleep(timeout_s)
        return receive(transport, timeout_s)

    return waiting
