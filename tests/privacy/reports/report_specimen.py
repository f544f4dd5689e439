"""Reports in which all numbers are different."""

from __future__ import annotations

from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.keys.log import LogPublicKey, log_origin
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode
from ugsd_privacy.reports.fleet_model import FleetReport, FleetRow
from ugsd_privacy.reports.model import (
    CapRow,
    CaptionRow,
    DayRow,
    Gap,
    HandshakeRow,
    Protection,
    ReasonRow,
    Report,
    ResetRow,
    Sent,
    Word,
)
from ugsd_privacy.reports.parts import Amounts, Verification

NOON = 1_767_009_600
"""2025-12-29 12:00 UTC."""
KEY = "aaaaa-bbbbb-ccccc-ddddd-eeeee"
LOG = LogPublicKey(log_origin(bytes(32)), bytes(32)).to_text()


def bounded(epsilon: float | None, unit: str) -> Guarantee:
    label = "none" if epsilon is None else "privacy" if epsilon <= 10 else "noise"
    return Guarantee.model_validate(
        {"epsilon": epsilon, "delta": 1e-6, "unit": unit, "label": label}
    )


def word(position: int, token: int, disclosure: str, *, state: bool = False, **more) -> Word:
    return Word(
        position=position, token=token, text=f" w{token}", disclosure=Disclosure(disclosure),
        has_state=state, **more,
    )  # fmt: skip


def amounts(first: int, *, hidden: int = 0) -> Amounts:
    """Return amounts that differ from each other and from those of other calls."""
    return Amounts(frames=first, blocks=first + 1, tokens=first + 2, states=first + 3,
                   bytes=first + 4, hidden=hidden)  # fmt: skip


SENT = Sent(token=70, text=" w70", disclosure=Disclosure.ALL_STATES, has_state=True)
REPORT = Report(
    made_s=NOON + 9,
    since_s=NOON - NOON % 86_400 - 86_400,
    until_s=NOON - NOON % 86_400 + 86_400,
    user="ada",
    subject="0" * 16,
    log=LOG,
    checkpoint="ugsd.local/0123\n7\nroot\n\n— ugsd.local/0123 sig\n",
    vocabulary="test",
    verification=Verification(
        outcome="verified", message="all adds up", size=1207, checkpoints=3, erased=5, unread=6
    ),
    total=amounts(1100),
    earlier=41,
    later=1,
    lifetime=bounded(12.5, "lifetime"),
    days=(
        DayRow(
            day="2025-12-28", amounts=amounts(1200, hidden=2), captions=77,
            epsilon=bounded(3.25, "day"), lifetime=bounded(7.5, "lifetime"),
        ),
        DayRow(
            day="2025-12-29", amounts=amounts(1300), captions=78, epsilon=None,
            lifetime=bounded(None, "lifetime"),
        ),
    ),
    caps=(
        CapRow(cap="bytes_per_day", configured=9000, on_device=8000, used=1304, remaining=6696,
               is_met=False),
        CapRow(cap="blocks_per_caption", configured=8, on_device=None, used=None, remaining=None,
               is_met=False),
        CapRow(cap="epsilon_per_lifetime", configured=20, on_device=None, used=12.501,
               remaining=7.49, is_met=False),
    ),
    captions=(
        CaptionRow(
            caption="a" * 32, time_s=NOON + 61, to_the_hour=False,
            content=(
                word(0, 7, "summary", state=True), Gap(tokens=3, origin="verifier"),
                word(4, 71, "tokens", replaced=(SENT,)), word(5, 72, "block_states"),
                Gap(tokens=1, origin="kept"),
            ),
            records=(3, 4, 5, 9), disclosures=(Disclosure.SUMMARY, Disclosure.TOKENS),
            amounts=amounts(1400), epsilon=bounded(2.5, "caption"), verifiers=(KEY,), erased=0,
            unread=0,
        ),
        CaptionRow(
            caption="b" * 32, time_s=NOON, to_the_hour=True, content=(), records=(11, 12, 13),
            disclosures=(), amounts=amounts(1500, hidden=2), epsilon=bounded(None, "caption"),
            verifiers=(), erased=2, unread=1,
        ),
        CaptionRow(
            caption="c" * 32, time_s=NOON + 3, to_the_hour=False, content=(), records=(15,),
            disclosures=(), amounts=amounts(1600), epsilon=None, verifiers=(KEY,), erased=0,
            unread=0,
        ),
    ),
    handshakes=(
        HandshakeRow(verifier=KEY, handshakes=21, first_s=NOON, last_s=NOON + 60, bytes=1701),
        HandshakeRow(verifier="", handshakes=1, first_s=NOON, last_s=NOON, bytes=1702),
    ),
    resets=(ResetRow(record=17, time_s=NOON + 5, windows=("day", "hour")),),
    reasons=(
        ReasonRow(outcome="local", reason="sure", code=ReasonCode.BELOW_THRESHOLD,
                  is_cap=False, blocks=31),
        ReasonRow(outcome="blocked", reason="blocks_per_day", code=ReasonCode.CAP_EXCEEDED,
                  is_cap=True, blocks=32),
        ReasonRow(outcome="verifier_disabled", reason="blocks_per_hour",
                  code=ReasonCode.CAP_EXCEEDED, is_cap=True, blocks=33),
        ReasonRow(outcome="unanswered", reason="deadline", code=ReasonCode.DEADLINE,
                  is_cap=False, blocks=34),
    ),
    never=("the recording",),
    protections=(
        Protection(title="Of blocks sent as summary", bound=("epsilon",), learnt=("a guess",),
                   source="measured"),
        Protection(title="Under the settings", leaves=("words",), bound=("nothing",)),
    ),
    unprotected=("which words were sent",),
)  # fmt: skip


def row_of(device: str, first: int, **changes) -> FleetRow:
    fields = {
        "device": device, "subject": "", "log": "", "verified_by": "reader", "earlier": None,
        "verification": Verification(outcome="verified", message="ok", size=first + 9),
        "logged": amounts(first + 10), "checkpoint": f"note of {device}", "since_s": NOON,
        "until_s": NOON + 86_400, "is_reported": True, "total": amounts(first),
        "lifetime": bounded(4.5, "lifetime"), "days": (), "caps_met": (), "resets": first + 30,
        "reasons": REPORT.reasons,
    } | changes  # fmt: skip
    return FleetRow.model_validate(fields)


FLEET = FleetReport(
    since_s=NOON, until_s=NOON + 86_400, total=amounts(5000),
    devices=(
        row_of("kitchen", 1000, verified_by="device", logged=None, earlier=12,
               verification=Verification(outcome="failed", message="leaf 2 differs", index=2)),
        row_of("office", 1100, verification=Verification(outcome="missing", message="nothing came"),
               is_reported=False, logged=None),
        row_of("hall", 1200, earlier=1205, caps_met=("bytes_per_day", "blocks_per_hour")),
        row_of("attic", 1300, verification=Verification(outcome="empty", message="nothing")),
    ),
)  # fmt: skip
