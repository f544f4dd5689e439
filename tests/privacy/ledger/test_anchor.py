"""A ledger restored from a backup is found and refused."""

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
    """A world whose ledger has an anchor; three passages were made."""
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


def test_an_honest_ledger_opens_again_and_again(anchored) -> None:
    for _ in range(3):
        anchored.ledger.close()
        anchored.ledger.open()
        use(anchored, blocks=1)
    assert anchored.verified().size == 9


@pytest.mark.parametrize("blocks", [0, 5])
def test_a_restored_backup_is_refused(anchored, tmp_path: Path, blocks: int) -> None:
    back_up(anchored, tmp_path)
    use(anchored, blocks)
    restore(anchored, tmp_path)
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        anchored.ledger.open()


def test_a_restored_backup_that_went_on_elsewhere_is_refused(anchored, tmp_path: Path) -> None:
    back_up(anchored, tmp_path)
    use(anchored, 2)
    restore(anchored, tmp_path)
    anchored.ledger = Ledger(tmp_path / "home" / "ledger")  # past the anchor: as long as it was
    anchored.ledger.open()
    use(anchored, 9)
    anchored.ledger.close()
    anchored.ledger = Ledger(tmp_path / "home" / "ledger", anchor=anchored.anchor)
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        anchored.ledger.open()


def test_a_ledger_rolled_back_under_an_open_door_lets_nothing_out(anchored) -> None:
    egress = anchored.egress(limits=BudgetLimits.without_caps())
    caption = anchored.connect(egress)
    other = Anchor(anchored.anchor)  # what another process that went further wrote
    mark = other.read()
    other.write(Mark(mark.size + 1, mark.last))
    other.close()
    with pytest.raises(LedgerCorrupt, match="restored from a backup"):
        egress.seal_block(anchored.channel, caption, anchored.escalation())


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(41)])
def test_a_removed_or_damaged_anchor_is_refused(anchored, content: bytes | None) -> None:
    anchored.ledger.close()
    if content is None:
        anchored.anchor.unlink()
    else:
        anchored.anchor.write_bytes(content)
    with pytest.raises(LedgerCorrupt, match="anchor was removed or damaged"):
        anchored.ledger.open()


def test_an_anchor_that_a_crash_left_behind_is_no_fault(anchored, tmp_path: Path) -> None:
    before = anchored.anchor.read_bytes()
    use(anchored)
    anchored.ledger.close()
    anchored.anchor.write_bytes(before)
    anchored.ledger.open()
    use(anchored)
    assert int.from_bytes(anchored.anchor.read_bytes()[:8], "big") == 9


def test_an_anchor_that_cannot_be_written_stops_the_frame(anchored) -> None:
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
    assert anchored.verified().total.blocks == 3, "charged"


def test_an_anchor_is_its_owners_alone_and_never_runs_ahead(anchored) -> None:
    assert stat.S_IMODE(anchored.anchor.stat().st_mode) == 0o600
    for _ in range(4):
        use(anchored, 1)
        with anchored.ledger.reading() as view:
            assert int.from_bytes(anchored.anchor.read_bytes()[:8], "big") == view.size()


def test_an_anchor_that_others_may_use_is_refused(anchored) -> None:
    anchored.ledger.close()
    anchored.anchor.chmod(0o640)
    with pytest.raises(LedgerUnavailable, match="chmod 600"):
        anchored.ledger.open()


def test_an_anchor_in_no_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match="permissions"):
        Ledger(tmp_path / "ledger", anchor=tmp_path / "none" / "anchor").open()


@pytest.mark.parametrize("looked_at", ["mark", "ledger"])
def test_a_passage_while_another_process_opens_is_no_rollback(
    anchored, monkeypatch: pytest.MonkeyPatch, looked_at: str
) -> None:
    """Whichever of the two it looked at first."""
    cls, name = (Anchor, "read") if looked_at == "mark" else (LedgerView, "size")
    look, again = getattr(cls, name), [True]

    def looked(self):
        seen = look(self)
        if again.pop() if again else False:
            use(anchored, blocks=1)
        return seen

    monkeypatch.setattr(cls, name, looked)
    other = Ledger(anchored.ledger.path.parent, anchor=anchored.anchor)
    other.open()
    other.close()
    assert not again


def test_two_that_make_a_ledger_at_once_both_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, again = Anchor.read, [True]

    def looked(self):
        seen = look(self)
        if again.pop() if again else False:
            with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
                pass
        return seen

    monkeypatch.setattr(Anchor, "read", looked)
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        pass
    assert not again


def test_the_first_mark_is_on_disk_before_there_is_a_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("ugsd_privacy.ledger.anchor.os.fsync", synced.append)
    with Ledger(tmp_path / "ledger", anchor=tmp_path / "anchor"):
        assert len(synced) == 1


def test_a_passage_between_two_looks_of_an_open_is_no_damage(
    anchored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves and charges are counted in one view."""
    look, again = LedgerView._one, [True]

    def looked(self, query: str, *values: object):
        seen = look(self, query, *values)
        if "max(leaf)" in query and again and again.pop():
            use(anchored, blocks=1)
        return seen

    monkeypatch.setattr(LedgerView, "_one", looked)
    with Ledger(anchored.ledger.path.parent, anchor=anchored.anchor):
        pass
    assert not again
