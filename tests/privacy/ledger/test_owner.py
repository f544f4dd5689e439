"""Caps and resets of the device's owner, and the journal of decisions."""

from __future__ import annotations

import dataclasses

import pytest
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.errors import BudgetExceeded, LogTampered
from ugsd_privacy.ledger import ALL_USERS, JournalRow, database
from ugsd_privacy.ledger.journal import MAX_JOURNAL_ROWS
from ugsd_privacy.reasons import Reason, ReasonCode

SURE = Reason(code=ReasonCode.BELOW_THRESHOLD, value=0.25, threshold=0.5)
LOOSE = BudgetLimits.without_caps(blocks_per_day=100)


def set_cap(world, user: str, cap: str, value: float | None) -> None:
    with world.ledger.as_owner() as own:
        own.set_cap(user, cap, value)


def seal(world, egress, caption):
    return egress.seal_block(world.channel, caption, world.escalation())


@pytest.mark.parametrize("user", ["ada", ALL_USERS])
def test_owner_cap_overrides_application_limits(world, user) -> None:
    egress = world.egress(limits=LOOSE, user="ada")
    caption = world.connect(egress)
    seal(world, egress, caption)
    set_cap(world, user, "blocks_per_day", 2)
    assert egress.limits().blocks_per_day == 2
    seal(world, egress, caption)
    with pytest.raises(BudgetExceeded, match="blocks_per_day") as refusal:
        seal(world, egress, caption)
    assert refusal.value.limit == 2
    set_cap(world, user, "blocks_per_day", None)
    seal(world, egress, caption)


def test_owner_cap_only_tightens_and_only_its_user(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(blocks_per_day=1), user="ada")
    set_cap(world, "ada", "blocks_per_day", 50)
    set_cap(world, "ben", "blocks_per_day", 0)
    set_cap(world, ALL_USERS, "blocks_per_day", 40)
    caption = world.connect(egress)
    seal(world, egress, caption)
    with pytest.raises(BudgetExceeded) as refusal:
        seal(world, egress, caption)
    assert refusal.value.limit == 1
    with world.ledger.reading() as view:
        assert view.caps("ada") == {"blocks_per_day": 40}
        assert view.caps("ben") == {"blocks_per_day": 0}
        assert view.caps(ALL_USERS) == {"blocks_per_day": 40}


def test_owner_epsilon_cap_blocks_states_without_noise(world) -> None:
    egress = world.egress(limits=LOOSE, user="ada")
    caption = world.connect(egress)
    set_cap(world, "ada", "epsilon_per_lifetime", 8.5)
    with pytest.raises(BudgetExceeded, match="epsilon_per_lifetime"):
        seal(world, egress, caption)


@pytest.mark.parametrize("delta", [1e-12, 1e-6, 1e-3, 0.1])
def test_owner_epsilon_cap_holds_at_any_configured_delta(world, delta: float) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(delta=delta), user="ada", sigma=20.0)
    set_cap(world, ALL_USERS, "epsilon_per_day", 1.5)
    caption = world.connect(egress)

    def send_sixty() -> None:
        for _ in range(60):
            seal(world, egress, caption)

    with pytest.raises(BudgetExceeded, match="epsilon_per_day"):
        send_sixty()
    privacy_cost = egress.used()["day"].privacy_cost
    assert dp.epsilon_of_privacy_cost(privacy_cost, 1e-6) <= 1.5
    assert egress.limits().delta == min(delta, 1e-6)


def test_reset_clears_windows_and_is_logged(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(blocks_per_day=1, blocks_per_lifetime=3))
    caption = world.connect(egress)
    seal(world, egress, caption)
    with pytest.raises(BudgetExceeded, match="blocks_per_day"):
        seal(world, egress, caption)
    index = egress.reset(["hour", "day"])
    used = egress.used()
    assert (used["hour"], used["day"]) == (Usage(), Usage())
    assert (used["lifetime"].blocks, used["lifetime"].frames) == (1, 2)
    assert egress.usage(caption).blocks == 1
    seal(world, egress, caption)
    record = world.record(index)
    assert (record.kind, record.resets, record.charge) == ("reset", ("hour", "day"), Usage())
    assert record.before["day"][0] == 1
    assert Usage(*record.before["lifetime"]) == used["lifetime"]
    summary = world.verified()
    assert (summary.size, summary.total.blocks) == (4, 2)


def test_reset_affects_only_its_user(world) -> None:
    for user in ("ada", "ben"):
        egress = world.egress(limits=LOOSE, user=user)
        seal(world, egress, world.connect(egress))
    world.egress(limits=LOOSE, user="ada").reset(["hour", "day", "lifetime"])
    assert world.egress(user="ada").used()["lifetime"] == Usage()
    assert world.egress(user="ben").used()["lifetime"].blocks == 1
    world.verified()


def test_totals_changed_without_a_record_are_detected(world) -> None:
    egress = world.egress(limits=LOOSE, user="ada")
    seal(world, egress, world.connect(egress))
    with world.ledger.as_owner() as own:
        own._db.execute("UPDATE totals SET blocks = 0 WHERE window = 'lifetime'")
    with pytest.raises(LogTampered, match="ada's lifetime"):
        world.verified()


def decision(number: int, user: str = "ada") -> JournalRow:
    return JournalRow(number, user, bytes([number % 256]) * 16, 5, 3, 0.25, "local", SURE)


def test_decisions_are_stored_outside_the_log(world) -> None:
    with world.ledger.as_owner() as own:
        own.append_to_journal([decision(1), decision(2), decision(3, "ben")])
        own.append_to_journal([])
    with world.ledger.reading() as view:
        assert view.journal("ada") == [decision(1), decision(2)]
        assert view.journal("ada", limit=1) == [decision(2)]
        assert view.journal("ada", caption=bytes([1]) * 16) == [decision(1)]
        assert view.journal("eve") == []
    assert world.verified().size == 0


@pytest.mark.parametrize(
    ("stored", "outcome"),
    [
        ("kept", "local"),
        ("sent", "sent"),
        ("withheld", "blocked"),
        ("alone", "verifier_disabled"),
        ("an app's own", "an app's own"),
    ],
)
def test_stored_outcomes_of_old_journals_are_read(world, stored: str, outcome: str) -> None:
    new = dataclasses.replace(decision(2), outcome=outcome)
    with world.ledger.as_owner() as own:
        own._db.execute(
            "INSERT INTO decisions VALUES (1, 1, 'ada', zeroblob(16), 5, 3, 0.25, ?, 'sure')",
            (stored,),
        )
        own.append_to_journal([new])
    with world.ledger.reading() as view:
        assert [row.outcome for row in view.journal("ada")] == [outcome, outcome]
        assert view.journal("ada")[1] == new
        words = view._db.execute("SELECT outcome FROM decisions").fetchall()
    assert words == [(stored,), (stored,)]


def test_oldest_decisions_are_deleted(world) -> None:
    with world.ledger.as_owner() as own:
        own.append_to_journal([decision(n) for n in range(MAX_JOURNAL_ROWS)])
        own.append_to_journal([decision(10**6), decision(10**6 + 1)])
    with world.ledger.reading() as view:
        stored = view.journal("ada", limit=2 * MAX_JOURNAL_ROWS)
    assert len(stored) == MAX_JOURNAL_ROWS
    assert (stored[0], stored[-1]) == (decision(2), decision(10**6 + 1))


def test_questions_are_read_once_and_only_priced_ones(world) -> None:
    hour = int(world.now_s // 3600)
    priced = Reason(code=ReasonCode.BELOW_PRICE, worth=0.2, price=0.3, cost=(1, 2, 3, 4, 5))
    words = Reason(code=ReasonCode.APPLICATION, words='"worth":1')

    def row(number: int, reason: Reason, user: str = "ada") -> JournalRow:
        time_s = int(world.now_s) + 3600 * number
        return JournalRow(time_s, user, bytes(16), 0, 2, 0.2, "local", reason)

    with world.ledger.as_owner() as own:
        own.append_to_journal([row(-999, priced), row(0, SURE), row(0, priced), row(1, words)])
        own.append_to_journal([row(1, priced), row(1, priced), row(1, priced, "ben")])
    egress = world.egress(user="ada")
    found = egress.standing(None, questions_after=0).questions
    assert found.latest == [(0.2, (1, 2, 3, 4, 5))] * 3
    assert found.by_hour == {hour: 1, hour + 1: 2}
    assert found.first_s == int(world.now_s)
    with world.ledger.as_owner() as own:
        own.append_to_journal([row(2, priced)])
    after = egress.standing(None, questions_after=found.last_row).questions
    assert (after.latest, after.by_hour) == ([(0.2, (1, 2, 3, 4, 5))], {hour + 2: 1})
    assert egress.standing(None).questions.latest == []


def test_standing_has_limits_usage_and_time(world) -> None:
    egress = world.egress(limits=LOOSE, user="ada")
    caption = world.connect(egress)
    seal(world, egress, caption)
    set_cap(world, "ada", "blocks_per_day", 7)
    standing = egress.standing(caption.id)
    assert standing.limits.blocks_per_day == 7
    assert standing.used["day"].blocks == standing.used["caption"].blocks == 1
    assert standing.time_s == world.now_s
    assert "caption" not in egress.standing(None).used


def test_remaining_budget_is_read_in_one_view(world, monkeypatch: pytest.MonkeyPatch) -> None:
    egress = world.egress(limits=LOOSE, user="ada")
    caption = world.connect(egress)
    seal(world, egress, caption)
    set_cap(world, "ada", "blocks_per_caption", 7)
    for current in (caption, None):
        used = dict(egress.used())
        if current is not None:
            used["caption"] = egress.usage(current)
        expected = egress.limits().remaining(used)
        opened, connect = [], database._connect

        def counted(path, timeout_s, opened=opened, connect=connect):
            opened.append(path)
            return connect(path, timeout_s)

        with monkeypatch.context() as patch:
            patch.setattr(database, "_connect", counted)
            assert egress.remaining(current) == expected
        assert len(opened) == 1
        assert expected["blocks_per_caption"] == (7 if current is None else 6)
        assert expected["blocks_per_day"] == 99
