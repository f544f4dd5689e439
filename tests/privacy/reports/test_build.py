"""What a report counts: for which user, at which time, and what is unknown."""

from __future__ import annotations

import dataclasses
import sqlite3

import numpy as np
import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.errors import LedgerCorrupt
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason
from ugsd_privacy.reports.build import BudgetState, ReportedLog, build_report
from ugsd_privacy.reports.entries import Period, read_entries
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.wording import remaining_text, states, used_text

from tests.privacy.reports.report_world import DAY_S, VERIFIED, report_of, send


def epsilon(vectors: int, *, sigma: float = 2.0) -> float:
    cost = dp.privacy_cost(sensitivity=2.0, sigma=sigma, vectors=vectors)
    return dp.epsilon_of_privacy_cost(cost, 1e-6)


def send_tokens(world, egress, caption, *, keep: int = 0) -> None:
    """A block without states."""
    tokens, nothing = world.escalation(2, start=keep), np.zeros((0, 0), np.float32)
    changes = {"disclosure": Disclosure.TOKENS, "state_positions": (), "states": nothing}
    egress.seal_block(world.channel, caption, dataclasses.replace(tokens, **changes))


def last_day(world) -> Period:
    now = int(world.now_s)
    return Period(now - DAY_S // 4, now + 1)


def test_lifetime_epsilon_includes_egress_before_the_period(world) -> None:
    egress = world.egress(sigma=2.0)
    send(world, egress, world.connect(egress))
    world.now_s += DAY_S
    send(world, egress, world.connect(egress))
    found = report_of(world, period=last_day(world))
    (day,) = found.days
    assert day.epsilon is not None
    assert day.epsilon.epsilon == epsilon(2)
    assert day.lifetime is not None
    assert day.lifetime.epsilon == epsilon(4)
    assert found.lifetime == day.lifetime


def test_epsilon_of_caption_composes_its_blocks(world) -> None:
    egress = world.egress(sigma=2.0)
    caption = world.connect(egress)
    send(world, egress, caption)
    send(world, egress, caption, keep=2, tokens=(9, 10, 11))
    (row,) = report_of(world).captions
    assert row.epsilon is not None
    assert row.epsilon.epsilon == epsilon(5)


def test_caption_is_listed_where_its_first_frame_is(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption)
    world.now_s += DAY_S
    send(world, egress, caption, keep=2, tokens=(9,))
    late = report_of(world, period=last_day(world))
    assert (late.captions, late.total.blocks, late.earlier, late.later) == ((), 1, 2, 0)
    before = report_of(world, period=Period(0, int(world.now_s) - DAY_S + 1))
    assert [row.amounts.blocks for row in before.captions] == [2]
    assert (before.total.blocks, before.earlier, before.later) == (1, 0, 1)
    assert "Not included here: 1 frame after this period." in report_html(before)


def test_egress_after_the_period_is_counted_as_later(world) -> None:
    egress = world.egress()
    world.now_s += 20 * DAY_S
    send(world, egress, world.connect(egress))
    world.now_s -= 20 * DAY_S
    found = report_of(world)
    assert (found.total.frames, found.later) == (0, 2)


def test_resets_outside_the_period_are_omitted(world) -> None:
    egress = world.egress()
    egress.reset(["day"])
    world.now_s += DAY_S
    egress.reset(["hour"])
    (row,) = report_of(world, period=last_day(world)).resets
    assert (row.record, row.windows, row.time_s) == (1, ("hour",), int(world.now_s))


def test_disclosure_of_caption_and_words_is_reported(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption)
    send_tokens(world, egress, caption, keep=2)
    (row,) = report_of(world).captions
    assert row.disclosures == (Disclosure.BLOCK_STATES, Disclosure.TOKENS)
    words = [part for part in row.content if part.kind == "word"]
    assert [word.disclosure for word in words] == ["block_states"] * 2 + ["tokens"] * 2
    assert [word.has_state for word in words] == [True, True, False, False]


def test_reason_with_control_characters_is_escaped() -> None:
    arguments = {"user": "", "period": Period(0, 9), "made_s": 9, "log": ReportedLog(VERIFIED)}
    reason = as_reason("\x1b[31mred\u202e: 1")
    decision = JournalRow(5, "", bytes(16), 0, 5, 0.1, "local", reason)
    (reason,) = build_report(
        (), **arguments, budget=BudgetState(BudgetLimits()), decisions=[decision]
    ).reasons
    assert reason.reason == "\\x1b[31mred\\u202e"


@pytest.mark.parametrize("noise", [None, 2.0])
def test_states_in_unreadable_records_are_a_lower_bound(world, noise) -> None:
    egress = world.egress(sigma=noise)
    caption = world.connect(egress)
    send(world, egress, caption, tokens=(7, 8, 9))
    send(world, egress, caption, keep=3, tokens=(10,))
    assert states(report_of(world).total) == "4"
    sealed = report_of(world, owner=False)
    assert (sealed.total.states, sealed.total.hidden) == (0, 2)
    for amounts in (sealed.total, sealed.days[0].amounts, sealed.captions[0].amounts):
        assert states(amounts) == "at least 2"
    egress.erase()
    erased = report_of(world)
    assert states(erased.total) == "at least 2"
    assert (erased.captions[0].erased, erased.captions[0].unread) == (2, 0)
    assert erased.captions[0].to_the_hour
    assert erased.captions[0].time_s % 3600 == 0


def test_block_of_tokens_alone_hides_no_states(world) -> None:
    egress = world.egress()
    send_tokens(world, egress, world.connect(egress))
    assert states(report_of(world, owner=False).total) == "0"


def test_negative_charges_of_tampered_ledger_count_as_zero(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    db = sqlite3.connect(world.ledger.path)
    db.execute("UPDATE charges SET bytes = -256, tokens = -1, spend = -1, hour = -1")
    db.commit()
    db.close()
    found = report_of(world, owner=False, period=Period(0, 10))
    assert (found.total.bytes, found.total.tokens, found.total.frames) == (0, 0, 2)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO caps VALUES ('', 'foo', 5)",
        "INSERT INTO caps VALUES ('', 'bytes_per_day', 'many')",
        "INSERT INTO caps VALUES ('', 'bytes_per_day', -1)",
        "INSERT INTO decisions VALUES (1, 1, '', x'00', 0, -5, 0.1, 'kept', 'sure')",
        "INSERT INTO decisions VALUES (1, -1, '', x'00', 0, 5, 0.1, 'kept', 'sure')",
    ],
)
def test_invalid_cap_or_journal_entry_is_refused(world, statement: str) -> None:
    egress = world.egress()
    world.connect(egress)
    db = sqlite3.connect(world.ledger.path)
    db.execute(statement)
    db.commit()
    db.close()
    is_cap = "caps" in statement
    with world.ledger.reading() as view, pytest.raises(LedgerCorrupt):
        view.caps("") if is_cap else view.journal("")
    if is_cap:
        with pytest.raises(LedgerCorrupt):
            world.egress().seal_hello(world.channel)


def test_entries_of_other_users_are_not_read(world) -> None:
    for user in ("ada", "ben"):
        egress = world.egress(user=user)
        send(world, egress, world.connect(egress))
    with world.ledger.reading() as view:
        assert {entry.row.user for entry in read_entries(view, world.owner, "ben")} == {"ben"}
        assert view.users() == ["ada", "ben"]


def gaps(row) -> list[tuple[int, str]]:
    return [(part.tokens, part.origin) for part in row.content if part.kind == "gap"]


def test_unreadable_tokens_are_not_attributed_to_the_verifier(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption, tokens=(7, 8))
    world.now_s += 2 * 3600
    send(world, egress, caption, keep=5, tokens=(9,))
    assert gaps(report_of(world).captions[0]) == [(3, "verifier")]
    egress.erase(before_s=world.now_s - 3600)
    (row,) = report_of(world).captions
    assert gaps(row) == [(5, "unknown")]
    assert "5 tokens sent but unreadable, or written by the verifier" in report_html(
        report_of(world)
    ).replace("&#39;", "'")


def test_kept_tokens_are_counted_after_the_last_sent(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption, tokens=(7, 8, 9))
    decisions = [
        JournalRow(
            1, "", caption.id, start, 4, 0.1, "local", Reason(code=ReasonCode.BELOW_THRESHOLD)
        )
        for start in (0, 2, 3, 7)
    ]
    (row,) = report_of(world, decisions=decisions).captions
    assert gaps(row) == [(8, "kept")]


def test_word_with_control_characters_is_escaped(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress), tokens=(7,))
    (row,) = report_of(world, words=lambda token: "\x1b[31m\u202e").captions
    assert [part.text for part in row.content] == ["\\x1b[31m\\u202e"]


def test_resets_and_erasures_are_no_handshakes_or_captions(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    egress.reset(["hour"])
    egress.erase()
    found = report_of(world)
    assert sum(row.handshakes for row in found.handshakes) == 1
    assert [day.captions for day in found.days] == [1]


def test_only_a_lifetime_reset_resets_lifetime_epsilon(world) -> None:
    egress = world.egress(sigma=2.0)
    send(world, egress, world.connect(egress))
    egress.reset(["hour", "day"])
    send(world, egress, world.connect(egress))
    (day,) = report_of(world).days
    assert day.lifetime is not None
    assert day.lifetime.epsilon == epsilon(4)


def test_frame_at_the_end_of_period_is_later(world) -> None:
    egress = world.egress()
    world.connect(egress)
    now = int(world.now_s)
    found = report_of(world, period=Period(now - 9, now))
    assert (found.total.frames, found.earlier, found.later) == (0, 0, 1)


def test_cap_without_remainder_is_met(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress), tokens=(7, 8))
    with world.ledger.reading() as view:
        used = view.used("", view.hour_of(world.now_s, None))
    limits = BudgetLimits(tokens_per_day=2, tokens_per_hour=3, epsilon_per_day=5.0)
    caps = {cap.cap: cap for cap in BudgetState(limits, {}, used).rows()}
    assert caps["tokens_per_day"].is_met
    assert not caps["tokens_per_hour"].is_met
    assert not caps["tokens_per_caption"].is_met
    assert caps["epsilon_per_day"].used is None, "states were sent without noise"
    assert caps["epsilon_per_day"].is_met
    page = report_html(report_of(world, budget=BudgetState(limits, {}, used)))
    assert "0 (reached)" in page
    assert "unbounded" in page


def test_cap_of_a_recording_has_no_remainder(world) -> None:
    egress = world.egress()
    world.connect(egress)
    caption = egress.begin_caption(world.channel, recording=bytes(16))
    send(world, egress, caption, tokens=(7, 8))
    limits = BudgetLimits.without_caps(tokens_per_recording=0)
    budget = BudgetState(limits, {"blocks_per_recording": 3}, {})
    for row in budget.rows():
        assert (row.used, row.remaining, row.is_met) == (None, None, False)
        assert used_text(row) == remaining_text(row) == "per recording"
    report = report_of(world, budget=budget)
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert "per recording" in report_html(report)


def test_total_of_erased_states_is_a_lower_bound(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    egress.erase()
    page = report_html(report_of(world))
    assert "<dt>states</dt><dd>at least 1</dd>" in page


@pytest.mark.parametrize("amount", [1e15, 1e300, 1.7e308])
def test_huge_cap_is_written_short(world, amount: float) -> None:
    limits = BudgetLimits(epsilon_per_lifetime=amount)
    found = report_of(world, budget=BudgetState(limits, {"epsilon_per_day": amount}))
    page = report_html(found)
    assert f"{amount:.3g}" in page
    assert "0" * 20 not in page
