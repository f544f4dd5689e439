"""A report shows what is in the log: words, gaps, amounts, epsilon and faults."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import BaseModel
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.egress import Escalation
from ugsd_privacy.errors import ReportRejected
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.protocol.messages import AskedSlot, Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason
from ugsd_privacy.reports.build import BudgetState, Protections, ReportedLog, build_report
from ugsd_privacy.reports.entries import Period
from ugsd_privacy.reports.fleet import Device, merge_rows, verify_device
from ugsd_privacy.reports.html import fleet_html, report_html
from ugsd_privacy.reports.markdown import fleet_markdown, report_markdown
from ugsd_privacy.reports.model import Gap, Protection, ReasonRow, Report, Sent, Word
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.schema import read_report, report_schema
from ugsd_privacy.reports.wording import remaining_text, used_text

from tests.privacy.reports.report_world import DAY_S, VERIFIED, report_of, send

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"
HOSTILE = "<script>alert(1)</script>\"'|*_`[x](y)"


def words(row) -> list[tuple[int, int]]:
    return [(part.position, part.token) for part in row.content if isinstance(part, Word)]


def test_sent_words_keep_positions_and_gaps_are_shown(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption, tokens=(7, 8))
    send(world, egress, caption, keep=5, prefix=(20, 21), tokens=(22,))
    decisions = [
        JournalRow(0, "", caption.id, start, 4, 0.1, outcome, as_reason("mine"))
        for start, outcome in ((0, "sent"), (8, "local"), (12, "verifier_disabled"))
    ]
    (row,) = report_of(world, decisions=decisions).captions
    assert words(row) == [(0, 7), (1, 8), (5, 20), (6, 21), (7, 22)]
    gaps = [part for part in row.content if isinstance(part, Gap)]
    assert gaps == [Gap(tokens=3, origin="verifier"), Gap(tokens=8, origin="kept")]
    assert row.content.index(gaps[0]) == 2
    assert [w.has_state for w in row.content if isinstance(w, Word)] == [True] * 2 + [False] * 2 + [
        True
    ]
    assert row.amounts.tokens == 5
    assert row.caption == caption.id.hex()


def test_replaced_word_is_listed_with_its_successor(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption, tokens=(7, 8))
    send(world, egress, caption, keep=0, prefix=(7, 9), tokens=(10,))
    (row,) = report_of(world).captions
    assert words(row) == [(0, 7), (1, 9), (2, 10)]
    sent = Sent(token=8, text=" w8", disclosure=Disclosure.BLOCK_STATES, has_state=True)
    assert [w.replaced for w in row.content if isinstance(w, Word)] == [(), (sent,), ()]
    assert [w.has_state for w in row.content if isinstance(w, Word)] == [True, False, True], (
        "a repeated token keeps its state, and a replacement has none"
    )


def test_amounts_match_the_ledger_for_this_user_only(world) -> None:
    ada, ben = world.egress(user="ada"), world.egress(user="ben")
    for egress in (ada, ben, ada):
        send(world, egress, world.connect(egress))
    found = report_of(world, "ada")
    with world.ledger.reading() as view:
        used = view.usage("ada", "lifetime", 0)
    total = found.total
    assert (total.frames, total.blocks, total.tokens, total.bytes) == (4, 2, 4, used.bytes)
    assert total.states == 4
    assert len(found.captions) == 2
    assert [(row.handshakes, row.verifier) for row in found.handshakes] == [
        (2, world.verifier.public.fingerprint)
    ]
    assert {cap.cap: cap.used for cap in found.caps}["tokens_per_day"] == 4


def test_epsilon_composes_over_days_until_a_reset(world) -> None:
    egress = world.egress(sigma=2.0)
    one = dp.privacy_cost(sensitivity=2.0, sigma=2.0, vectors=2)
    world.now_s -= 2 * DAY_S
    send(world, egress, world.connect(egress))
    world.now_s += DAY_S
    send(world, egress, world.connect(egress))
    world.now_s += DAY_S
    egress.reset(["lifetime"])
    send(world, egress, world.connect(egress))
    found = report_of(world)
    epsilon = [dp.epsilon_of_privacy_cost(cost, 1e-6) for cost in (one, 2 * one, one)]
    assert [day.lifetime.epsilon for day in found.days if day.lifetime] == epsilon
    assert [day.epsilon.epsilon for day in found.days if day.epsilon] == [epsilon[0]] * 3
    assert found.lifetime is not None
    assert found.lifetime.epsilon == epsilon[2]
    assert [row.windows for row in found.resets] == [("lifetime",)]


def test_without_noise_there_is_no_bound(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    found = report_of(world)
    assert found.days[0].epsilon is not None
    assert found.days[0].epsilon.epsilon is None
    assert "no guarantee (no noise)" in report_html(found)


def test_draft_weights_are_named_as_the_reason(world) -> None:
    egress = world.egress(sigma=2.0, limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    states = np.full((1, 16), 0.1, np.float32)
    weighted = Escalation(
        Disclosure.DISTRIBUTIONS,
        0,
        (),
        (7,),
        (0,),
        states,
        AskedSlot.EMOTION,
        draft_weights=b"\1\2",
    )
    egress.seal_block(world.channel, caption, weighted)
    found, why = report_of(world), "no guarantee (the probabilities have no noise)"
    (row,) = found.captions
    for guarantee in (row.epsilon, found.days[0].epsilon, found.days[0].lifetime, found.lifetime):
        assert guarantee is not None
        assert guarantee.text() == why
    assert why in report_html(found)
    hidden = report_of(world, owner=False)
    assert hidden.lifetime is not None
    assert not hidden.lifetime.only_states_have_noise, "no record says what had noise"


def test_egress_outside_the_period_is_omitted(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    now = int(world.now_s)
    for period in (Period(0, now), Period(now + 1, now + 9)):
        found = report_of(world, period=period)
        assert (found.total, found.captions, found.days) == (Amounts(), (), ())
    assert report_of(world, period=Period(now, now + 1)).total.frames == 2


def test_without_owner_key_only_amounts_are_reported(world) -> None:
    egress = world.egress(user="ada")
    send(world, egress, world.connect(egress), tokens=(7, 8, 9))
    found = report_of(world, "ada", owner=False)
    (row,) = found.captions
    assert (row.content, row.unread, row.amounts.tokens, row.amounts.blocks) == ((), 1, 3, 1)
    assert found.total.bytes == report_of(world, "ada").total.bytes
    assert "1 frame sealed or damaged" in report_html(found)


def test_damaged_record_does_not_hide_the_others(world) -> None:
    egress = world.egress()
    caption = world.connect(egress)
    send(world, egress, caption)
    send(world, egress, caption, keep=2, tokens=(9,))
    db = sqlite3.connect(world.ledger.path)
    db.execute("UPDATE leaves SET sealed = x'01' WHERE leaf = 1")
    db.commit()
    db.close()
    (row,) = report_of(world).captions
    assert (words(row), row.unread, row.erased) == ([(2, 9)], 1, 0)


def test_reasons_are_counted_without_their_numbers() -> None:
    def decision(outcome: str, reason: Reason) -> JournalRow:
        return JournalRow(5, "ada", bytes(16), 0, 5, 0.1, outcome, reason)

    cap = Reason(code=ReasonCode.CAP_EXCEEDED, cap="blocks_per_day", limit=2, used=2, wanted=1)
    sure = [
        Reason(code=ReasonCode.BELOW_THRESHOLD, value=value, threshold=0.2) for value in (0.1, 0.05)
    ]
    unsure = Reason(code=ReasonCode.ABOVE_THRESHOLD, value=0.9, threshold=0.2)
    late = Reason(code=ReasonCode.DEADLINE)
    found = build_report(
        (),
        user="ada",
        period=Period(0, 10),
        made_s=10,
        budget=BudgetState(BudgetLimits(), {"blocks_per_day": 2}, {"day": Usage(blocks=2)}),
        decisions=[
            *(decision("local", reason) for reason in sure),
            decision("blocked", cap),
            decision(
                "verifier_disabled", Reason(code=ReasonCode.AFTER_BLOCK, start=5, failure=cap)
            ),
            decision("sent", dataclasses.replace(unsure, accepted=5, offered=5)),
            decision("sent", dataclasses.replace(unsure, failure=late)),
            dataclasses.replace(decision("blocked", cap), time_s=10),
        ],
        log=ReportedLog(VERIFIED),
    )
    assert [(r.outcome, r.reason, r.code, r.is_cap, r.blocks) for r in found.reasons] == [
        ("local", "sure", "below_threshold", False, 2),
        ("blocked", "blocks_per_day", "cap_exceeded", True, 1),
        ("unanswered", "deadline", "deadline", False, 1),
        ("verifier_disabled", "blocks_per_day", "cap_exceeded", True, 1),
    ]
    (met,) = [row for row in found.caps if row.is_met]
    assert (met.cap, met.on_device, met.used, met.remaining) == ("blocks_per_day", 2, 2, 0)


def test_published_schema_matches_models_and_accepts_reports(world) -> None:
    assert SCHEMA.read_text("utf-8") == report_schema()
    schema = json.loads(report_schema())
    egress = world.egress(sigma=1.0)
    caption = world.connect(egress)
    send(world, egress, caption)
    send(world, egress, caption, keep=4, tokens=(9,))
    found = report_of(world)
    text = found.model_dump_json()
    check = jsonschema.Draft202012Validator(schema)
    check.validate(json.loads(text))
    check.validate(json.loads(merge_rows([verify_device(Device("a", found))]).model_dump_json()))
    assert not check.is_valid(json.loads(text) | {"more": 1})
    assert read_report(text.encode()) == found


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"format": "ugsd-report/2"}'])
def test_malformed_report_is_rejected(data: bytes) -> None:
    with pytest.raises(ReportRejected, match="not a report that this release can read"):
        read_report(data)


def test_redacted_report_has_no_words_user_or_path(world) -> None:
    user, path = "ada@home", "/home/ada@home/drafter"
    egress = world.egress(user=user)
    send(world, egress, world.connect(egress))
    failed = Verification(outcome="failed", message=f"a total of {user}'s day, in {path}")
    way = Protection(title=path, leaves=(path,), bound=(path,), learnt=(path,), source=path)
    found = report_of(
        world,
        user,
        verification=failed,
        vocabulary=path,
        protections=Protections(disclosures=(way,)),
    )
    shared = found.redacted()
    fleet = merge_rows([verify_device(Device("one", found))])
    assert user in found.model_dump_json()
    texts = (
        *map(BaseModel.model_dump_json, (shared, fleet)),
        *(form(shared) for form in (report_html, report_markdown)),
        *(form(fleet) for form in (fleet_html, fleet_markdown)),
    )
    for secret in (user, path, " w7", found.captions[0].caption):
        assert all(secret not in text for text in texts)
    located = Verification(outcome="failed", message="charge 3 is not", index=3)
    shared = report_of(world, user, verification=located).redacted()
    assert shared.verification == located


ALLOWED = {
    "format", "content", "made_s", "since_s", "until_s", "subject", "log", "checkpoint",
    "verification", "total", "earlier", "later", "lifetime", "days", "caps", "handshakes",
    "resets", "reasons", "never", "unprotected",
}  # fmt: skip


def test_new_field_is_redacted_unless_allowed_here(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    shared = report_of(world).redacted()
    assert {name for name in Report.model_fields if getattr(shared, name)} <= ALLOWED
    assert set(Report.model_fields) - ALLOWED == {
        "user", "captions", "vocabulary", "protections", "faults"
    }  # fmt: skip


def test_hostile_names_and_words_are_escaped(world) -> None:
    egress = world.egress(user=HOSTILE)
    send(world, egress, world.connect(egress))
    found = report_of(world, HOSTILE, words=lambda token: f" {HOSTILE}\u202e\n{token}")
    html, text = report_html(found), report_markdown(found)
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in html
    assert "\u202e" not in html + text
    assert len(re.findall("<mark[^>]* data-position", html)) == 2
    assert "<script" not in text.replace("\\<script", "")
    cells = [line for line in text.splitlines() if "alert" in line and line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in cells] == [9]


def test_the_same_report_gives_the_same_bytes(world) -> None:
    egress = world.egress(sigma=1.0)
    send(world, egress, world.connect(egress))
    found = report_of(world)
    assert report_html(found) == report_html(found)
    assert report_markdown(found) == report_markdown(found)


def test_page_has_unique_ids_and_loads_nothing(world) -> None:
    egress = world.egress(sigma=1.0)
    send(world, egress, world.connect(egress))
    html = report_html(report_of(world))
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names))
    assert {
        name for names in re.findall(r'aria-labelledby="([^"]+)"', html) for name in names.split()
    } <= set(names)
    assert not re.findall(r'(?:src|href)="(?!#|data:,)', html)
    assert ' style="' not in html, "the policy would drop it"
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_html_without_jinja_names_the_extra_to_install(world, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    found = report_of(world)
    with pytest.raises(ReportRejected, match=r"pip install 'ugsd\[report\]'"):
        report_html(found)
    assert isinstance(Report.model_validate_json(found.model_dump_json()), Report)
    assert report_markdown(found)


def test_rounding_never_understates_epsilon(world) -> None:
    egress = world.egress(sigma=1.0)
    send(world, egress, world.connect(egress))
    with world.ledger.reading() as view:
        budget = BudgetState(
            BudgetLimits(epsilon_per_day=20.0), {}, view.used("", egress_hour(world))
        )
    (cap,) = [row for row in budget.rows() if row.cap == "epsilon_per_day"]
    assert cap.used is not None
    assert cap.remaining is not None
    assert cap.used <= float(used_text(cap)) < cap.used + 0.11
    assert cap.remaining - 0.11 < float(remaining_text(cap)) <= cap.remaining


def egress_hour(world) -> int:
    return int(world.now_s // 3600)


@pytest.mark.parametrize(
    ("code", "is_cap"),
    [
        (ReasonCode.BELOW_THRESHOLD, False),
        (ReasonCode.CAP_EXCEEDED, True),
        (ReasonCode.APPLICATION, False),
        (ReasonCode.OTHER, True),
    ],
)
def test_redacted_reasons_have_no_foreign_words(world, code: ReasonCode, is_cap: bool) -> None:
    secret = "Ada Smith wants it kept"
    row = ReasonRow(outcome="local", reason=secret, code=code, is_cap=is_cap, blocks=1)
    report = report_of(world).model_copy(update={"reasons": (row,)})
    shared = report.redacted()
    assert secret not in shared.model_dump_json()
    assert (shared.reasons[0].is_cap, shared.reasons[0].blocks) == (False, 1)


def test_sentences_of_earlier_releases_are_redacted(world) -> None:
    old = Reason.from_journal("after the block at 5: Ada Smith wants it kept")
    decisions = [JournalRow(int(world.now_s), "", bytes(16), 0, 1, 0.1, "verifier_disabled", old)]
    found = report_of(world, decisions=decisions)
    assert [(row.code, row.blocks) for row in found.reasons] == [(ReasonCode.OTHER, 1)]
    assert "Smith" not in found.redacted().model_dump_json()


def test_redacted_reasons_are_labels_of_this_software(world) -> None:
    secret = "Ada Smith wants /home/ada/secret.wav kept"
    egress = world.egress()
    world.connect(egress)
    after_secret = Reason(code=ReasonCode.AFTER_BLOCK, start=5, failure=as_reason(secret))
    decisions = [
        JournalRow(int(world.now_s), "", bytes(16), 0, 1, 0.1, *entry)
        for entry in (
            ("local", as_reason(secret)), ("local", as_reason("her own")),
            ("local", as_reason(ReasonCode.BELOW_THRESHOLD)),
            ("blocked", Reason(code=ReasonCode.CAP_EXCEEDED, cap="bytes_per_day")),
            ("verifier_disabled", after_secret),
        )
    ]  # fmt: skip
    found = report_of(world, decisions=decisions)
    assert secret in found.model_dump_json()
    shared = found.redacted()
    assert {(r.outcome, r.reason, r.blocks) for r in shared.reasons} == {
        ("local", "the application's own reason", 2), ("local", "sure", 1),
        ("blocked", "bytes_per_day", 1), ("verifier_disabled", "the application's own reason", 1),
    }  # fmt: skip
    for form in (report_html, report_markdown):
        assert secret in form(found).replace("\\", "")
        assert "Smith" not in form(shared)


@pytest.mark.parametrize("form", [report_html, report_markdown])
def test_redacted_report_states_what_is_omitted(world, form) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    found = report_of(world)
    notice = "Left out: only the owner may read the words that were sent."
    assert notice in form(found.redacted())
    assert notice not in form(found)


def test_faults_outside_the_log_are_shown_separately(world) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    found = report_of(world)
    found = found.model_copy(update={"faults": ("a cap that was set on this device is invalid",)})
    for form in (report_html, report_markdown):
        assert "Not part of the log: a cap that was set on this device is invalid" in form(found)
        assert "Not part of the log" not in form(found.redacted())


def test_report_that_ends_before_it_begins_is_rejected(world) -> None:
    world.connect(world.egress())
    fields = json.loads(report_of(world).model_dump_json())
    for change in ({"since_s": 9, "until_s": 9}, {"since_s": 9, "until_s": 5}, {"until_s": 10**15}):
        with pytest.raises(ReportRejected):
            read_report(json.dumps(fields | change).encode())
