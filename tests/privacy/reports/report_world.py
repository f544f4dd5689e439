"""Build a report of a small world's log."""

from __future__ import annotations

import dataclasses

from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.reports.build import BudgetState, ReportedLog, build_report
from ugsd_privacy.reports.entries import Period, read_entries
from ugsd_privacy.reports.parts import Verification

DAY_S = 86_400
VERIFIED = Verification(outcome="verified", message="it adds up", size=1)


def report_of(
    world,
    user: str = "",
    *,
    owner=True,
    verification=VERIFIED,
    checkpoint="",
    subject="",
    **changes,
):
    """Build the report of the last three days of a world."""
    now = int(world.now_s)
    with world.ledger.reading() as view:
        entries = read_entries(view, world.owner if owner else None, user)
        used = view.used(user, view.hour_of(world.now_s, None))
    key = world.log_key.public.to_text()
    arguments = {
        "user": user,
        "period": Period(now - 3 * DAY_S, now + 1),
        "made_s": now,
        "log": ReportedLog(verification, key, checkpoint, subject),
        "budget": BudgetState(BudgetLimits(), {}, used),
        "words": lambda token: f" w{token}",
        "vocabulary": "test",
    } | changes
    return build_report(entries, **arguments)


def send(world, egress, caption, *, keep=0, prefix=(), tokens=(7, 8)):
    escalation = world.escalation(len(tokens), start=keep + len(prefix))
    escalation = dataclasses.replace(escalation, keep=keep, prefix=prefix, tokens=tokens)
    return egress.seal_block(world.channel, caption, escalation)
