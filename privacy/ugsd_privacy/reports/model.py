"""What a report of one device says. Its JSON form follows docs/report.schema.json."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ugsd_privacy.audit.records import Resettable
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reports.parts import (
    MAX_COUNT,
    Count,
    Counted,
    Part,
    Several,
    Time,
    Verification,
)

__all__ = [
    "SHARED_REASONS",
    "CapRow",
    "CaptionRow",
    "DayRow",
    "Gap",
    "HandshakeRow",
    "Protection",
    "Reason",
    "Report",
    "ResetRow",
    "Sent",
    "Word",
]

_CAP = r"^(blocks|tokens|frames|bytes|epsilon)_per_(caption|hour|day|lifetime)$"
_Cap = Annotated[str, Field(pattern=_CAP)]
SHARED_REASONS = frozenset(
    {
        "sure", "unsure", "deadline", "constant shape", "beyond the verifier", "block too large",
        "ledger unavailable", "not acquainted with the voice", "nothing is sent", "tls failed",
        "the policy keeps it", "the policy sends it", "verifier key not trusted",
        "verifier misbehaved", "verifier of another version", "verifier refused",
        "verifier unreachable", "wrong verifier key",
    }
)  # fmt: skip
"""Those that others may read: whatever else is said may say anything."""
_OTHERS_FAULT = "the log does not verify; the device itself tells where"


class DayRow(Part):
    """One day, UTC, by the device's clock."""

    day: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    """Its date."""
    amounts: Counted
    """What left on it."""
    captions: Count
    """That anything left of on it."""
    epsilon: Guarantee | None
    """Of the day's vectors; null where none left."""
    lifetime: Guarantee | None
    """Of all vectors since the last reset of the lifetime, at the day's end."""


class CapRow(Part):
    """One cap, now. Null in place of a limit is no limit."""

    cap: _Cap
    """Its name in the settings; epsilon's is at the settings' delta."""
    configured: float | None
    """By the settings that the report was made with."""
    on_device: float | None
    """As the owner set it on the device; the smaller of both is in force."""
    used: float | None
    """Null of a caption's, which begin anew with each, and where vectors left without noise."""
    left: float | None
    """What still fits; null of a caption's."""
    is_met: bool
    """Whether nothing more fits."""


class Sent(Part):
    """A token as it left."""

    token: Count
    """Its id."""
    text: str
    """As the vocabulary has it, with its leading space; empty of the end marker, and without a
    vocabulary."""
    disclosure: Disclosure
    """Of the block that it left in."""
    has_state: bool
    """Whether a vector of this very position left with it."""


class Word(Sent):
    """The token that left last for its position."""

    kind: Literal["word"] = "word"
    """Tells it from a gap."""
    position: Count
    """In the caption, from 0."""
    replaced: Several[Sent] = ()
    """Other tokens that left for this position before, oldest first."""


class Gap(Part):
    """Tokens between those that left, or after them."""

    kind: Literal["gap"] = "gap"
    """Tells it from a word."""
    tokens: Count
    """How many."""
    origin: Literal["kept", "verifier", "unknown"]
    """`kept` on this device, or written by the `verifier`, which held them already; `unknown` where
    frames of the caption cannot be read: they may have left."""


class CaptionRow(Part):
    """A caption that anything left of."""

    caption: Annotated[str, Field(pattern="^[0-9a-f]*$")]
    """Its id in the log, hex."""
    time_s: Time
    """When its first frame left, Unix time in seconds by the device's clock."""
    to_the_hour: bool
    """Whether that is known to the hour only, for want of the record."""
    content: Several[Annotated[Word | Gap, Field(discriminator="kind")]]
    """In the order of the caption."""
    records: Several[Count]
    """Indices in the log."""
    disclosures: Several[Disclosure]
    """By which its blocks left."""
    amounts: Counted
    """What left of it."""
    epsilon: Guarantee | None
    """Of its vectors; null where none left."""
    verifiers: Several[str]
    """Fingerprints of the keys that it was sealed for."""
    erased: Count
    """Frames whose record the owner erased."""
    unread: Count
    """Frames whose record is sealed to a key that was not given, or damaged."""


class HandshakeRow(Part):
    """First flights for one key."""

    verifier: str
    """The key's fingerprint; empty where the records cannot be read."""
    handshakes: Count
    """How many."""
    first_s: Time
    """Unix time in seconds by the device's clock; to the hour where the record cannot be read."""
    last_s: Time
    """As the first."""
    bytes: Count
    """Of all of them."""


class ResetRow(Part):
    """The owner had windows of the budget begin anew."""

    record: Count
    """Its index in the log."""
    time_s: Time
    """Unix time in seconds by the device's clock."""
    windows: Several[Resettable]
    """Which."""


class Reason(Part):
    """Why blocks stayed here, or left in vain: as the device noted it, outside the log."""

    outcome: Literal["kept", "withheld", "alone", "unanswered"]
    """`kept` by the policy, `withheld` by a cap or a fault, `alone` after such a block,
    `unanswered` though it left."""
    reason: str
    """A cap's name where one refused."""
    is_cap: bool
    """Whether it is a cap's name."""
    blocks: Count
    """How many."""


class Protection(Part):
    """What is and what is not protected, in plain sentences, of one way in which blocks leave."""

    title: str = ""
    """Which way: one in which blocks of the period left, or that of the settings."""
    leaves: Several[str] = ()
    """What leaves; empty of a way in which blocks left, which the captions show."""
    bound: Several[str] = ()
    """What noise guarantees, or that nothing does."""
    learnt: Several[str] = ()
    """What attackers got in the lab, or that nobody measured it."""
    source: str = ""
    """Of those figures."""


class Report(Part):
    """What left of one user of one device, from `since_s` until before `until_s`."""

    format: Literal["ugsd-report/1"] = "ugsd-report/1"
    """Of this file."""
    made_s: Time
    """When it was made, Unix time in seconds by the device's clock."""
    since_s: Time
    """Its first second, Unix time."""
    until_s: Time
    """The second after its last."""
    content: Literal["told", "left out"] = "told"
    """`left out` of a report for others: no words, captions, user, vocabulary or protections."""
    user: str
    """Empty in a report without content."""
    subject: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    """Stands for the user in every report of this log, and names them to nobody; empty before there
    is a log."""
    log: str
    """The log's public key, as a note's verifier key; empty before there is one."""
    checkpoint: str
    """The latest signed one; keep it: a later log must extend it."""
    vocabulary: str
    """Whose words the tokens are told in."""
    verification: Verification
    """Of the whole log."""
    faults: Several[str] = ()
    """What beside the log could not be read: caps that were set on the device, and its notes."""
    total: Counted
    """What left in the period."""
    earlier: Count
    """Frames of this user before the period, which is told nothing of."""
    later: Count
    """Frames after it, say while the device's clock ran ahead."""
    lifetime: Guarantee | None
    """Of all vectors that left since the last reset of the lifetime; null where none left."""
    days: Several[DayRow]
    """Those on which anything left."""
    caps: Several[CapRow]
    """Those that are set, in the order in which they are checked."""
    captions: Several[CaptionRow]
    """Of which anything left, by their first frame; those whose first frame left in the period."""
    handshakes: Several[HandshakeRow]
    """By key."""
    resets: Several[ResetRow]
    """In the period."""
    reasons: Several[Reason]
    """Most often first."""
    never: Several[str]
    """What never leaves."""
    protections: Several[Protection]
    """Of each way in which blocks of the period left, and last that of the settings."""
    unprotected: Several[str]
    """What is not protected."""

    def redacted(self) -> Report:
        """The same for others' eyes: amounts, times, caps and verdict. No words, user, path, host,
        settings or anything else in free text but what this software always says."""
        found = self.verification
        if found.outcome == "failed" and found.index is None:
            found = found.model_copy(update={"message": _OTHERS_FAULT})  # the words name a user
        hidden = {"user": "", "captions": (), "vocabulary": "", "protections": (), "faults": ()}
        told = {"content": "left out", "verification": found}
        return self.model_copy(update=hidden | told | {"reasons": self._shared_reasons()})

    def _shared_reasons(self) -> tuple[Reason, ...]:
        """Policies and transports of an application's own say what they like."""
        shared: dict[tuple[str, str], Reason] = {}
        for row in self.reasons:
            known = row.is_cap or row.reason in SHARED_REASONS
            reason = row.reason if known else "a reason of the application's own"
            before = shared.get((row.outcome, reason))
            blocks = row.blocks + (before.blocks if before else 0)
            changes = {"reason": reason, "blocks": min(blocks, MAX_COUNT)}
            shared[row.outcome, reason] = row.model_copy(update=changes)
        return tuple(shared.values())

    @model_validator(mode="after")
    def _check_period(self) -> Self:
        if self.since_s >= self.until_s:
            raise ValueError("a report begins before it ends")
        return self
