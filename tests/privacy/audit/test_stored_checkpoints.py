"""Signed checkpoints in a ledger: how many are kept, and what verifying them costs."""

from __future__ import annotations

from ugsd_privacy.audit import verify
from ugsd_privacy.ledger.views import MAX_CHECKPOINTS


def test_only_latest_checkpoints_are_stored(world) -> None:
    egress = world.egress()
    for _ in range(MAX_CHECKPOINTS + 9):
        egress.reset(["hour"])
        egress.checkpoint()
    with world.ledger.reading() as view:
        sizes = [size for size, _ in view.checkpoints()]
        assert sizes == list(range(10, 10 + MAX_CHECKPOINTS))
        assert view.last_checkpoint() == view.checkpoints()[-1]
    assert world.verified().checkpoints == MAX_CHECKPOINTS


def test_checkpoint_does_not_read_every_leaf(world, monkeypatch) -> None:
    """So a ledger with a checkpoint per caption is verified in linear time."""
    egress = world.egress()
    for _ in range(6):
        egress.reset(["hour"])
        egress.checkpoint()
    calculated: list[int] = []
    roots = verify.frontier_root
    monkeypatch.setattr(verify, "frontier_root", lambda f: calculated.append(len(f)) or roots(f))
    assert world.verified().size == 6
    assert len(calculated) == 6 + 1, "one for each checkpoint, and the last one"
