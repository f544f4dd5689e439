"""The report of one device. Its JSON form follows docs/report.schema.json."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ugsd_privacy.audit.records import Resettable
from ugsd_privacy.budget import CAPS, MEASURES, WINDOWS
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import ReasonCode, reason_label
from ugsd_privacy.reports.parts import (
    MAX_COUNT,
    Count,
    Counted,
    Part,
    Several,
    Time,
    Verification,
)
from ugsd_privacy.reports.questions import Question
from ugsd_privacy.reports.readings import Reading

__all__ = [
    "CapRow",
    "CaptionRow",
    "DayRow",
    "Gap",
    "HandshakeRow",
    "Protection",
    "ReasonRow",
    "Report",
    "ResetRow",
    "Sent",
    "Word",
]

_CAP = rf"^({'|'.join(MEASURES)})_per_({'|'.join(WINDOWS)})$"
_Cap = Annotated[str, Field(pattern=_CAP)]
_OUTCOMES = frozenset({"verified", "failed", "empty", "missing"})
_OTHERS_FAULT = "the log does not verify; the device's own report shows where"


class DayRow(Part):
    """Amounts of one day, UTC, by the device's clock."""

    day: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    """The date."""
    amounts: Counted
    """What was sent on this day."""
    captions: Count
    """Number of captions for which something was sent on this day."""
    epsilon: Guarantee | None
    """Guarantee for the states of this day; null if none were sent."""
    lifetime: Guarantee | None
    """Guarantee at the end of the day for all states since the last reset of the lifetime."""


class CapRow(Part):
    """One cap as it is now. A limit of null means no limit."""

    cap: _Cap
    """Its name in the settings. Epsilon is at the delta of the settings."""
    configured: float | None
    """The limit in the settings that the report was made with."""
    on_device: float | None
    """The limit that the owner set on the device; the smaller of both applies."""
    used: float | None
    """How much of it was used. Null for a cap per caption or recording, which applies to each
    separately, and for epsilon if states were sent without noise."""
    remaining: float | None
    """How much remains; null for a cap per caption or recording."""
    is_met: bool
    """Whether nothing remains."""


class Sent(Part):
    """A token as it was sent."""

    token: Count
    """Its id."""
    text: str
    """Its text in the vocabulary, with its leading space. Empty for the end marker, and without a
    vocabulary."""
    disclosure: Disclosure
    """Disclosure level of the block that it was sent in."""
    has_state: bool
    """Whether a state for this position was sent with it."""


class Word(Sent):
    """The last token that was sent for its position."""

    kind: Literal["word"] = "word"
    """Distinguishes it from a gap."""
    position: Count
    """Its position in the caption, from 0."""
    replaced: Several[Sent] = ()
    """Other tokens that were sent for this position earlier, oldest first."""


class Gap(Part):
    """Tokens between those that were sent, or after them."""

    kind: Literal["gap"] = "gap"
    """Distinguishes it from a word."""
    tokens: Count
    """Number of tokens."""
    origin: Literal["kept", "verifier", "unknown"]
    """`kept` on this device, or written by the `verifier`, which knew them already. `unknown` if
    some frames of the caption cannot be read: the tokens may have been sent."""


class CaptionRow(Part):
    """A caption for which something was sent."""

    caption: Annotated[str, Field(pattern="^[0-9a-f]*$")]
    """Its id in the log, hex."""
    time_s: Time
    """When its first frame was sent, Unix time in seconds by the device's clock."""
    to_the_hour: bool
    """Whether that time is known only to the hour, because the record cannot be read."""
    content: Several[Annotated[Word | Gap, Field(discriminator="kind")]]
    """The words that were sent, and the gaps between them, in the order of the caption."""
    questions: Several[Question] = ()
    """What its blocks asked; empty if no record of a block can be read."""
    readings: Several[Reading] = ()
    """The emotions that the verifier most likely reads from the numbers that were sent; empty if
    none were, or if none can be read."""
    records: Several[Count]
    """Indices of its records in the log."""
    disclosures: Several[Disclosure]
    """Disclosure levels of its blocks."""
    amounts: Counted
    """What was sent for it."""
    epsilon: Guarantee | None
    """Guarantee for its states; null if none were sent."""
    verifiers: Several[str]
    """Fingerprints of the keys for which its frames were sealed."""
    erased: Count
    """Number of frames whose record the owner erased."""
    unread: Count
    """Number of frames whose record is damaged, or sealed to a key that was not given."""


class HandshakeRow(Part):
    """Handshakes for one verifier key."""

    verifier: str
    """The key's fingerprint; empty if the records cannot be read."""
    handshakes: Count
    """Number of handshakes."""
    first_s: Time
    """The first one, Unix time in seconds by the device's clock; only to the hour if its record
    cannot be read."""
    last_s: Time
    """The last one, in the same form."""
    bytes: Count
    """Bytes of all of them."""


class ResetRow(Part):
    """A reset of budget windows by the owner."""

    record: Count
    """Index of its record in the log."""
    time_s: Time
    """When, in Unix time in seconds by the device's clock."""
    windows: Several[Resettable]
    """The windows that were reset."""


class ReasonRow(Part):
    """Why blocks were not sent, or sent but not answered, as the device noted outside the log."""

    outcome: Literal["local", "blocked", "verifier_disabled", "unanswered"]
    """`local`, that is kept by the policy; `blocked` by a cap or a fault; `verifier_disabled`, that
    is not judged, because an earlier block was blocked or unanswered; or sent but `unanswered`."""
    reason: str
    """Name of the cap that blocked it, else the code in words, or an application's own words."""
    code: ReasonCode = ReasonCode.OTHER
    """The code of the reason; `other` for notes of earlier releases, which have only words."""
    is_cap: bool
    """Whether `reason` is the name of a cap."""
    blocks: Count
    """Number of blocks."""


class Protection(Part):
    """What is protected and what is not, in plain sentences, for one way of sending blocks."""

    title: str = ""
    """Which way: one in which blocks were sent in the period, or that of the settings."""
    leaves: Several[str] = ()
    """What is sent; empty for a way that was used in the period, which the captions show."""
    bound: Several[str] = ()
    """What the noise guarantees, or that there is no guarantee."""
    learnt: Several[str] = ()
    """What attackers learnt in the lab, or that it was not measured."""
    source: str = ""
    """Source of those figures."""


class Report(Part):
    """What was sent for one user of one device, from `since_s` until before `until_s`."""

    format: Literal["ugsd-report/1"] = "ugsd-report/1"
    """Format of this file."""
    made_s: Time
    """When it was made, Unix time in seconds by the device's clock."""
    since_s: Time
    """First second of the period, Unix time."""
    until_s: Time
    """First second after the period, Unix time."""
    content: Literal["included", "left out"] = "included"
    """`left out` in a report for others, which has no words, captions, user, vocabulary or
    protections; `included` if it has them."""
    user: str
    """The user's name; empty in a report without content."""
    subject: Annotated[str, Field(pattern="^([0-9a-f]{16})?$")]
    """A pseudonym of the user, the same in every report of this log; empty before there is a
    log."""
    log: str
    """The log's public key, in the format of a note's verifier key; empty before there is a log."""
    checkpoint: str
    """The latest signed checkpoint. Keep it: a later log must extend it."""
    vocabulary: str
    """The drafter whose vocabulary turns tokens into words."""
    verification: Verification
    """Result of verifying the whole log."""
    faults: Several[str] = ()
    """What could not be read apart from the log: caps set on the device, and its notes."""
    total: Counted
    """What was sent in the period."""
    earlier: Count
    """Frames of this user before the period; the report does not describe them."""
    later: Count
    """Frames after the period, for example while the device's clock was ahead."""
    lifetime: Guarantee | None
    """Guarantee for all states since the last reset of the lifetime; null if none were sent."""
    days: Several[DayRow]
    """The days on which something was sent."""
    caps: Several[CapRow]
    """The caps that are set, in the order in which they are checked."""
    captions: Several[CaptionRow]
    """The captions whose first frame was sent in the period, in the order of those frames."""
    handshakes: Several[HandshakeRow]
    """Handshakes by verifier key."""
    resets: Several[ResetRow]
    """Resets by the owner in the period."""
    reasons: Several[ReasonRow]
    """Reasons of blocks that were not sent or not answered, the most frequent first."""
    never: Several[str]
    """What is never sent."""
    protections: Several[Protection]
    """One for each way in which blocks were sent in the period, then that of the settings."""
    unprotected: Several[str]
    """What is not protected."""

    def redacted(self) -> Report:
        """Return a copy to share with others: amounts, times, caps and verdict.

        It has no words, user, path, host or settings, and no free text except the fixed texts of
        this software.
        """
        found = self.verification
        if found.outcome == "failed" and found.index is None:
            found = found.model_copy(update={"message": _OTHERS_FAULT})  # the message names a user
        hidden = {"user": "", "captions": (), "vocabulary": "", "protections": (), "faults": ()}
        shared = {"content": "left out", "verification": found, "reasons": self._shared_reasons()}
        return self.model_copy(update=hidden | shared)

    def _shared_reasons(self) -> tuple[ReasonRow, ...]:
        """Return the reasons as labels of codes and names of caps.

        Words of an application's own policy or transport may contain anything, so they are
        replaced by a label.
        """
        shared: dict[tuple[str, str], ReasonRow] = {}
        for row in self.reasons:
            is_cap = row.is_cap and row.reason in CAPS
            code = row.code
            if is_cap:
                reason = row.reason
            elif code.has_foreign_words:
                code, reason = ReasonCode.APPLICATION, reason_label(ReasonCode.APPLICATION)
            else:
                reason = reason_label(code)
            before = shared.get((row.outcome, reason))
            blocks = min(row.blocks + (before.blocks if before else 0), MAX_COUNT)
            changes = {"reason": reason, "code": code, "is_cap": is_cap, "blocks": blocks}
            shared[row.outcome, reason] = row.model_copy(update=changes)
        return tuple(shared.values())

    @model_validator(mode="after")
    def _check_period(self) -> Self:
        if self.since_s >= self.until_s:
            raise ValueError("since_s must be before until_s")
        if self.verification.outcome not in _OUTCOMES:
            raise ValueError("only a report of many devices can have that outcome")
        return self
