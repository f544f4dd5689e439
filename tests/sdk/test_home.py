"""Charges are never lost silently: ledger and log key exist only together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import LedgerCorrupt, LedgerUnavailable
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of

New = Callable[..., Captioner]
Voice = NDArray[np.float32]
ONE_BLOCK = Settings(limits=BudgetLimits(blocks_per_day=1))


@pytest.fixture
def home(new_captioner: New, voice: Voice, tmp_path: Path) -> Home:
    """A home whose budget of the day is used up."""
    with new_captioner(config=ONE_BLOCK) as captioner:
        assert captioner.caption(voice, 16_000).usage.num_blocks == 1
    return Home.from_path(tmp_path / "home")


def remove(ledger: Path) -> None:
    ledger.unlink()


def empty(ledger: Path) -> None:
    ledger.write_bytes(b"")


def replace_by_an_empty_database(ledger: Path) -> None:
    ledger.unlink()
    Ledger(ledger.parent).open().close()
    import sqlite3

    with sqlite3.connect(ledger) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        for (table,) in db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA application_id = 0")
        db.execute("PRAGMA user_version = 0")
    db.close()


@pytest.mark.parametrize("lose", [remove, empty, replace_by_an_empty_database])
def test_lost_ledger_does_not_renew_the_budget(
    home: Home, new_captioner: New, fake: Any, voice: Voice, lose: Callable[[Path], None]
) -> None:
    lose(Ledger(home.ledger).path)
    sent = len(fake.frames)
    with new_captioner(config=ONE_BLOCK) as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
        with pytest.raises(LedgerCorrupt, match=r"restore it, or move the home"):
            captioner.wait_until_connected(5)
    assert len(fake.frames) == sent


def test_lost_log_key_is_not_replaced(
    home: Home, new_captioner: New, fake: Any, voice: Voice
) -> None:
    home.log_key.unlink()
    sent = len(fake.frames)
    with new_captioner() as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
        with pytest.raises(LedgerCorrupt, match=r"log\.key was removed"):
            captioner.wait_until_connected(5)
    assert len(fake.frames) == sent
    assert not home.log_key.exists()


def test_anchor_exposes_loss_of_ledger_and_key(
    home: Home, new_captioner: New, fake: Any, voice: Voice
) -> None:
    Ledger(home.ledger).path.unlink()
    home.log_key.unlink()
    sent = len(fake.frames)
    with new_captioner(config=ONE_BLOCK) as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
    assert len(fake.frames) == sent


def test_moved_home_starts_new(home: Home, new_captioner: New, voice: Voice) -> None:
    home.path.rename(home.path.with_name("aside"))
    with new_captioner(config=ONE_BLOCK) as captioner:
        assert captioner.caption(voice, 16_000).usage.num_blocks == 1


def test_crash_before_key_creation_is_recovered(
    new_captioner: New, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: object) -> LogKey:
        raise KeyboardInterrupt

    home = Home.from_path(tmp_path / "home")
    with monkeypatch.context() as crashing:
        crashing.setattr(LogKey, "open_or_create", crash)
        with pytest.raises(KeyboardInterrupt):
            UserEgress(home, BudgetLimits(), "ada").open()
    assert Ledger(home.ledger).path.exists()
    assert not home.log_key.exists()
    with new_captioner() as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_inaccessible_home_sends_nothing(
    new_captioner: New, fake: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", forbidden)
        with new_captioner() as captioner:
            assert (
                why_of(captioner.caption(voice, 16_000).unverified_reason) == "ledger_unavailable"
            )
    assert not fake.frames


def test_retention_erases_old_records_on_open(
    tmp_path: Path,
) -> None:
    from ugsd_privacy.audit.verify import verify_log
    from ugsd_privacy.keys.log import LogKey
    from ugsd_privacy.keys.owner import OwnerKey
    from ugsd_privacy.keys.verifier import VerifierKey
    from ugsd_privacy.protocol.channel import ClientChannel
    from ugsd_sdk.settings.config import AuditSettings

    home, verifier = Home.from_path(tmp_path / "new"), VerifierKey.generate().public
    sizes, erased = [], []
    for day in (0, 1, 2, 2, 3):
        now_s = 2e9 + day * 86_400
        keep = AuditSettings(retention_days=1)
        user_egress = UserEgress(
            home, BudgetLimits(), "ada", audit=keep, clock=lambda now_s=now_s: now_s
        )
        user_egress.open()
        if day == 0:
            user_egress.open().egress.seal_hello(ClientChannel(verifier))
        user_egress.close()
        with home.open_ledger() as ledger:
            owner = OwnerKey.load(home.owner_key)
            summary = verify_log(ledger, LogKey.load(home.log_key).public, owner=owner)
        sizes.append(summary.size)
        erased.append(summary.erased)
    assert sizes == [1, 1, 2, 2, 2], "one record per erasure"
    assert erased == [0, 0, 1, 1, 1]


def test_retention_erases_while_home_stays_open(tmp_path: Path) -> None:
    from ugsd_privacy.keys.verifier import VerifierKey
    from ugsd_privacy.protocol.channel import ClientChannel
    from ugsd_sdk.settings.config import AuditSettings

    home, now_s = Home.from_path(tmp_path / "new"), [2e9]
    keep = AuditSettings(retention_days=1)
    user_egress = UserEgress(home, BudgetLimits(), "ada", audit=keep, clock=lambda: now_s[0])
    user_egress.open().egress.seal_hello(ClientChannel(VerifierKey.generate().public))
    num_bodies = []
    for _ in range(4):
        user_egress.open()
        with home.open_ledger() as ledger, ledger.reading() as view:
            num_bodies.append(len(view.sealed_leaves()))
        now_s[0] += 86_400
    user_egress.close()
    assert num_bodies == [1, 1, 0, 0]


def test_home_writable_by_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(LedgerUnavailable, match="chmod 700"):
        UserEgress(Home.from_path(path), BudgetLimits(), "ada").open()


def test_empty_ledger_without_anchor_is_refused(tmp_path: Path) -> None:
    place = Home.from_path(tmp_path / "own")
    user_egress = UserEgress(place, BudgetLimits(), "ada")
    user_egress.open()
    user_egress.close()
    fresh = Home.from_path(tmp_path / "fresh")
    fresh.path.mkdir(mode=0o700)
    fresh.open_ledger().close()
    shutil.rmtree(place.ledger)
    shutil.copytree(fresh.ledger, place.ledger)
    place.anchor.unlink()
    with pytest.raises(LedgerCorrupt, match="anchor was removed"):
        UserEgress(place, BudgetLimits(), "ada").open()


def test_retention_runs_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ugsd_privacy.audit.owner_acts import OwnerActs
    from ugsd_sdk.settings.config import AuditSettings

    erased: list[float] = []
    monkeypatch.setattr(OwnerActs, "erase", lambda self, *, before_s: erased.append(before_s))
    now_s, keep = [2e9], AuditSettings(retention_days=1)
    user_egress = UserEgress(
        Home.from_path(tmp_path / "new"), BudgetLimits(), "a", audit=keep, clock=lambda: now_s[0]
    )
    for later_s in (0, 1, 60, 86_400, 86_401):
        now_s[0] = 2e9 + later_s
        user_egress.open()
    user_egress.close()
    assert len(erased) == 2


def test_readable_owner_key_blocks_sending(tmp_path: Path) -> None:
    home = Home.from_path(tmp_path / "new")
    user_egress = UserEgress(home, BudgetLimits(), "ada")
    user_egress.open()
    user_egress.close()
    home.owner_key.chmod(0o644)
    with pytest.raises(LedgerUnavailable, match="chmod 600"):
        UserEgress(home, BudgetLimits(), "ada").open()
