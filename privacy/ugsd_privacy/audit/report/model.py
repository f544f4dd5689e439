"""What a report says. Its JSON form follows a published schema, docs/report.schema.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ugsd_privacy.dp import Guarantee
from ugsd_privacy.errors import ReportRejected

__all__ = [
    "Amounts",
    "AnyReport",
    "CapRow",
    "CaptionRow",
    "DayRow",
    "FleetReport",
    "FleetRow",
    "Gap",
    "HandshakeRow",
    "Protection",
    "Reason",
    "Report",
    "ResetRow",
    "Verification",
    "Word",
    "read_report",
    "report_schema",
]

_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[int, Field(ge=0, lt=253_402_300_800)]
"""Unix time, in seconds; before the year 10,000."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amounts(_Part):
    """What left, in numbers."""

    frames: _Count = 0
    """Sealed frames and first flights."""
    blocks: _Count = 0
    tokens: _Count = 0
    states: _Count = 0
    bytes: _Count = 0
    """Of frames, padding and covers included."""

    @classmethod
    def total(cls, parts: Iterable[Amounts]) -> Amounts:
        """All together."""
        sums = dict.fromkeys(cls.model_fields, 0)
        for part in parts:
            for name in sums:
                sums[name] += getattr(part, name)
        return cls(**sums)


class Verification(_Part):
    """Whether the whole log stands, all users' and all times' records."""

    outcome: Literal["verified", "failed", "empty", "missing"]
    """``empty`` where nothing has left yet, ``missing`` where a log that is known did not come."""
    message: str
    """What was found, in words."""
    index: _Count | None = None
    """Of a failure, the record at fault, if one is."""
    size: _Count = 0
    """Records that were verified."""
    root: str = ""
    """Of the Merkle tree over them, hex."""
    checkpoints: _Count = 0
    """Signed ones that were matched."""
    erased: _Count = 0
    """Records whose body the owner erased: they count, what left is not told."""
    unread: _Count = 0
    """Records that were sealed, and no owner's key was given to read them."""


class DayRow(_Part):
    """One day, UTC, by the device's clock."""

    day: str
    amounts: Amounts
    captions: _Count
    """That anything left of."""
    epsilon: Guarantee | None
    """Of the day's states; ``None`` where none left."""
    lifetime: Guarantee | None
    """Of all states since the last reset of the lifetime, at the day's end."""


class CapRow(_Part):
    """One cap, now. ``None`` in place of a limit is no limit."""

    cap: str
    configured: float | None
    on_device: float | None
    """As the owner set it on the device; the smaller of both is in force."""
    used: float | None
    """``None`` of a caption's, which begin anew with each, and where states left without noise."""
    left: float | None
    is_met: bool
    """Whether nothing more fits."""


class Word(_Part):
    """A token that left."""

    kind: Literal["word"] = "word"
    position: _Count
    token: _Count
    text: str
    """As the vocabulary has it, with its leading space; empty of the end marker, and without a
    vocabulary."""
    disclosure: str
    """How it last left: ``tokens``, ``summary``, ``block_states`` or ``all_states``."""
    has_state: bool
    """Whether a state of this very position left."""
    replaced: tuple[str, ...] = ()
    """Other tokens that left for this position before, oldest first."""


class Gap(_Part):
    """Tokens between those that left, or after them."""

    kind: Literal["gap"] = "gap"
    tokens: _Count
    origin: Literal["kept", "verifier"]
    """``kept`` on this device, or written by the ``verifier``, which held them already."""


class CaptionRow(_Part):
    """A caption that anything left of."""

    caption: str
    """Its id in the log, hex."""
    time_s: _Time
    """When its first frame left."""
    content: tuple[Annotated[Word | Gap, Field(discriminator="kind")], ...]
    """In the order of the caption."""
    records: tuple[_Count, ...]
    """Indices in the log."""
    disclosures: tuple[str, ...]
    amounts: Amounts
    epsilon: Guarantee | None
    verifiers: tuple[str, ...]
    """Fingerprints of the keys that it was sealed for."""
    erased: _Count
    """Passages whose body is erased or cannot be read."""


class HandshakeRow(_Part):
    """First flights for one key."""

    verifier: str
    """The key's fingerprint; empty where the body is erased."""
    handshakes: _Count
    first_s: _Time
    last_s: _Time
    bytes: _Count


class ResetRow(_Part):
    """The owner had windows of the budget begin anew."""

    record: _Count
    time_s: _Time
    windows: tuple[str, ...]


class Reason(_Part):
    """Why blocks stayed here, or left in vain: as the device noted it, outside the log."""

    outcome: Literal["kept", "withheld", "alone", "unanswered"]
    """``kept`` by the policy, ``withheld`` by a cap or a fault, ``alone`` after such a block,
    ``unanswered`` though it left."""
    reason: str
    """A cap's name where one refused."""
    is_cap: bool
    blocks: _Count


class Protection(_Part):
    """What is and what is not protected under the settings, in plain sentences."""

    settings: dict[str, str] = {}
    leaves: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    """What noise guarantees, or that nothing does."""
    learnt: tuple[str, ...] = ()
    """What attackers got in the lab, or that nobody measured it."""
    source: str = ""
    unprotected: tuple[str, ...] = ()


class Report(_Part):
    """What left of one user of one device, from ``since_s`` until before ``until_s``."""

    format: Literal["ugsd-report/1"] = "ugsd-report/1"
    made_s: _Time
    since_s: _Time
    until_s: _Time
    user: str
    """Empty in a report without content."""
    log: str
    """The log's public key, as a note's verifier key; empty before there is one."""
    checkpoint: str
    """The latest signed one; keep it: a later log must extend it."""
    vocabulary: str
    """Whose words the tokens are told in."""
    verification: Verification
    total: Amounts
    lifetime: Guarantee | None
    """Of all states that left since the last reset of the lifetime."""
    days: tuple[DayRow, ...]
    """Those on which anything left."""
    caps: tuple[CapRow, ...]
    captions: tuple[CaptionRow, ...]
    handshakes: tuple[HandshakeRow, ...]
    resets: tuple[ResetRow, ...]
    reasons: tuple[Reason, ...]
    protection: Protection

    def without_content(self) -> Report:
        """The same for others' eyes: no words, captions, user or path."""
        found = self.verification
        if found.outcome == "failed" and found.index is None:
            told = "the log does not verify; the device itself tells where"  # the words name a user
            found = found.model_copy(update={"message": told})
        return self.model_copy(update={"captions": (), "user": "", "verification": found})


_AT_FAULT = ("failed", "missing")


class FleetRow(_Part):
    """One device."""

    device: str
    """The name of its log, which its key makes, or what the reader calls it."""
    log: str
    """The log's public key; empty where none is known."""
    verification: Verification
    verified_by: Literal["reader", "device"]
    """``reader`` where this verdict was reached from an export, ``device`` where it is what the
    device says of itself."""
    earlier: _Count | None
    """Records of the checkpoint that was kept of it the last time; ``None`` where none was."""
    logged: Amounts | None
    """What the whole log counts, of all users and times, from a verified export; frames and states
    are not told there."""
    checkpoint: str
    since_s: _Time
    until_s: _Time
    """Of its report; without one, of the hours in its export; 0 where nothing tells."""
    total: Amounts
    lifetime: Guarantee | None
    days: tuple[DayRow, ...]
    caps_met: tuple[str, ...]
    resets: _Count
    reasons: tuple[Reason, ...]


class FleetReport(_Part):
    """Many devices, without content."""

    format: Literal["ugsd-fleet/1"] = "ugsd-fleet/1"
    since_s: _Time
    until_s: _Time
    total: Amounts
    devices: tuple[FleetRow, ...]
    """Those whose log does not verify come first."""

    @property
    def failed(self) -> tuple[FleetRow, ...]:
        """Devices whose log does not verify, or did not come."""
        return tuple(row for row in self.devices if row.verification.outcome in _AT_FAULT)


AnyReport = Annotated[Report | FleetReport, Field(discriminator="format")]


def read_report(data: bytes) -> Report:
    """Parse a device's JSON report. Raises :class:`ReportRejected`."""
    try:
        return Report.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ReportRejected(f"no report of this release: {where}: {first['msg']}") from None


def report_schema() -> str:
    """The JSON Schema (2020-12) of both kinds of report, as docs/report.schema.json has it."""
    schema: dict[str, Any] = TypeAdapter[Any](AnyReport).json_schema(mode="serialization")
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "UGSD reports"}
    return json.dumps(named | schema, indent=1) + "\n"
