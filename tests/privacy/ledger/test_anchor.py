"""A ledger that was restored from a backup is detected and refused."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import ChannelClosed, LedgerCorrupt, LedgerUnavailable
from ugsd_privacy.ledger import Ledger, LedgerView
from ugsd_privacy.ledger.anchor import Anchor, Mark


@pytest.fixture
def anchored(tmp_path: Path, new_world: Callable[[Path], object]):
    """A world whose ledger has an anchor and three records."""
    world = new_world(tmp_path / "home" / "ledger")
    world.anchor = tmp_path / "home" / "anchor"
    (tmp_path / "home").mkdir()
    world.ledger = Ledger(tmp_path / "home" / "ledger", anchor=world.anchor, busy_timeout_s=0.2)
    world.ledger.open()
    use(world)
    yield world
    world.ledger.close()


def use(world, blocks: int = 2) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    for _ in range(blocks):
        egress.seal_block(world.channel, caption, world.escalation())


def back_up(world, tmp_path: Path) -> None:
    world.ledger.close()
    shutil.copytree(tmp_path / "home" / "ledger", tmp_path / "backup")
    world.ledger.open()


def restore(world, tmp_path: Path) -> None:
    world.ledger.close()
    shutil.rmtree(tmp_path / "home" / "ledger")
    shutil.copytree(tmp_path / "backup", tmp_path / "home" / "ledger")


def test_honest_ledger_can_be_reopened(anchored) -> None:
    for _ in range(3):
        anchored.ledger.close()
        anchored.ledger.open()
        use(anchored, blocks=1)
    assert anchored.verified().size == 9


@pytest.mark.parametrize("blocks", [0, 5])
def test_restored_backup_is_refused(anchored, tmp_path: Path, blocks: int) -> None:
    back_up(anchored, tmp_path)
    use(anchored, blocks)
    restore(anchored, tmp_path)
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        anchored.ledger.open()


def test_restored_backup_that_grew_is_refused(anchored, tmp_path: Path) -> None:
    back_up(anchored, tmp_path)
    use(anchored, 2)
    restore(anchored, tmp_path)
    anchored.ledger = Ledger(tmp_path / "home" / "ledger")  # opened without the anchor
    anchored.ledger.open()
    use(anchored, 9)
    anchored.ledger.close()
    anchored.ledger = Ledger(tmp_path / "home" / "ledger", anchor=anchored.anchor)
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        anchored.ledger.open()


def test_ledger_rolled_back_while_open_sends_nothing(anchored) -> None:
    egress = anchored.egress(limits=BudgetLimits.without_caps())
    caption = anchored.connect(egress)
    other = Anchor(anchored.anchor)  # as if another process had written one more record
    mark = other.read()
    other.write(Mark(mark.size + 1, mark.last))
    other.close()
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        egress.seal_block(anchored.channel, caption, anchored.escalation())


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(41)])
def test_removed_or_damaged_anchor_is_refused(anchored, content: bytes | None) -> None:
    anchored.ledger.close()
    if content is None:
        anchored.anchor.unlink()
    else:
        anchored.anchor.write_bytes(content)
    with pytest.raises(LedgerCorrupt, match="anchor was removed or damaged"):
        anchored.ledger.open()


def test_anchor_behind_after_a_crash_is_accepted(anchored, tmp_path: Path) -> None:
    before = anchored.anchor.read_bytes()
    use(anchored)
    anchored.ledger.close()
    anchored.anchor.write_bytes(before)
    anchored.ledger.open()
    use(anchored)
    assert int.from_bytes(anchored.anchor.read_bytes()[:8], "big") == 9


def test_unwritable_anchor_stops_the_frame(anchored) -> None:
    egress = anchored.egress(limits=BudgetLimits.without_caps())
    caption = anchored.connect(egress)
    real = anchored.ledger._anchor._descriptor
    anchored.ledger._anchor._descriptor = os.open(anchored.anchor, os.O_RDONLY)
    try:
        with pytest.raises(LedgerUnavailable, match="anchor"):
            egress.seal_block(anchored.channel, caption, anchored.escalation())
    finally:
        os.close(anchored.ledger._anchor._descriptor)
        anchored.ledger._anchor._descriptor = real
    with pytest.raises(ChannelClosed):
        anchored.channel.seal(b"")
    assert anchored.verified().total.blocks == 3, "the block is charged"


def test_anchor_is_private_and_never_ahead(anchored) -> None:
    assert stat.S_IMODE(anchored.anchor.stat().st_mode) == 0o600
    for _ in range(4):
        use(anchored, 1)
        with anchored.ledger.reading() as view:
            assert int.from_bytes(anchored.anchor.read_bytes()[:8], "big") == view.size()


def test_anchor_accessible_to_others_is_refused(anchored) -> None:
    anchored.ledger.close()
    anchored.anchor.chmod(0o640)
    with pytest.raises(LedgerUnavailable, match="chmod 600"):
        anchored.ledger.open()


def test_anchor_in_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="create the folder"):
        Ledger(tmp_path / "ledger", anchor=tmp_path / "none" / "anchor").open()


@pytest.mark.parametrize("read_first", ["mark", "ledger"])
def test_egress_while_another_process_opens_is_no_rollback(
    anchored, monkeypatch: pytest.MonkeyPatch, read_first: str
) -> None:
    """Whichever of the two the other process reads first."""
    cls, name = (Anchor, "read") if read_first == "mark" else (LedgerView, "size")
    read, pending = getattr(cls, name), [True]

    def interrupted(self):
        value = read(self)
        if pending and pending.pop():
            use(anchored, blocks=1)
        return value

    monkeypatch.setattr(cls, name, interrupted)
    other = Ledger(anchored.ledger.path.parent, anchor=anchored.anchor)
    other.open()
    other.close()
    assert not pending


def test_concurrent_creation_opens_in_both_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pending = Anchor.read, [True]

    def interrupted(self):
        value = read(self)
        if pending and pending.pop():
            with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
                pass
        return value

    monkeypatch.setattr(Anchor, "read", interrupted)
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        pass
    assert not pending


def test_first_mark_is_synced_before_any_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("ugsd_privacy.ledger.anchor.os.fsync", synced.append)
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        assert len(synced) == 1


def test_egress_between_two_reads_is_no_damage(anchored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves and charges are counted in one view."""
    read, pending = LedgerView._one, [True]

    def interrupted(self, query: str, *values: object):
        value = read(self, query, *values)
        if "max(leaf)" in query and pending and pending.pop():
            use(anchored, blocks=1)
        return value

    monkeypatch.setattr(LedgerView, "_one", interrupted)
    with Ledger(anchored.ledger.path.parent, anchor=anchored.anchor):
        pass
    assert not pending
