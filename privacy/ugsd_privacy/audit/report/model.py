"""What a report says. Its JSON form follows a published schema, docs/report.schema.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ugsd_privacy.dp import Guarantee
from ugsd_privacy.leakage import Leak

__all__ = [
    "FORMAT",
    "Amounts",
    "CapRow",
    "CaptionRow",
    "DayRow",
    "FleetReport",
    "FleetRow",
    "HandshakeRow",
    "PassageRow",
    "Reason",
    "Report",
    "ResetRow",
    "Verification",
    "Word",
]

FORMAT = "ugsd-report/1"

_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[int, Field(ge=0)]
"""Unix time, in seconds."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amounts(_Part):
    """What left, in numbers."""

    frames: _Count = 0
    blocks: _Count = 0
    tokens: _Count = 0
    states: _Count = 0
    bytes: _Count = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            **{name: getattr(self, name) + getattr(other, name) for name in Amounts.model_fields}
        )


class Verification(_Part):
    """Whether the log stands."""

    outcome: Literal["verified", "failed"]
    message: str
    """What was found, in words; of a failure, where."""
    size: _Count = 0
    root: str = ""
    checkpoints: _Count = 0
    erased: _Count = 0
    """Bodies that the owner erased: their passages are counted, their content is gone."""
    unread: _Count = 0
    """Bodies that could not be opened for want of the owner's key."""


class DayRow(_Part):
    """One day of the device's clock."""

    day: str
    """ISO date, UTC."""
    amounts: Amounts
    captions: _Count
    """That anything left of."""
    guarantee: Guarantee | None
    """Of the day's states; none where no state left."""


class CapRow(_Part):
    """One cap, and what is left of it."""

    cap: str
    configured: float | None
    on_device: float | None
    """As the owner set it on the device; the smaller of both is in force."""
    used: float | None
    """``None`` of a caption's caps, which begin anew with each, and of what nothing bounds."""
    left: float | None


class Word(_Part):
    """A token that left."""

    position: _Count
    token: _Count
    text: str
    """Empty where no vocabulary was given, and of a token without text."""
    disclosure: str
    """How it left: alone (``tokens``), or with a state of its own or of the clip."""
    with_state: bool
    """Whether a state of this very position left."""


class PassageRow(_Part):
    """One passage of a caption through the door."""

    index: _Count
    time_s: _Time
    kind: Literal["block", "cover"]
    disclosure: str | None
    words: tuple[Word, ...]
    states: _Count
    state_dim: _Count
    sigma: float | None
    bytes: _Count


class CaptionRow(_Part):
    """A caption that anything left of."""

    caption: str
    """Its id in the log, hex."""
    time_s: _Time
    passages: tuple[PassageRow, ...]
    guarantee: Guarantee | None
    verifier: str
    kept: _Count
    """Tokens of blocks that stayed on the device, as far as that was noted."""


class HandshakeRow(_Part):
    """A first flight, and the key that it was sealed for."""

    index: _Count
    time_s: _Time
    verifier: str


class ResetRow(_Part):
    """The owner had windows begin anew."""

    index: _Count
    time_s: _Time
    windows: tuple[str, ...]


class Reason(_Part):
    """Why blocks did not leave, or were not verified."""

    outcome: Literal["kept", "withheld", "alone", "unanswered"]
    reason: str
    blocks: _Count


class Report(_Part):
    """What left of one user of one device, from ``since_s`` on."""

    format: Literal["ugsd-report/1"] = "ugsd-report/1"
    made_s: _Time
    since_s: _Time
    user: str
    log: str
    """The log's public key, as a note's verifier key."""
    verification: Verification
    total: Amounts
    guarantee: Guarantee | None
    """Of all states that left in a lifetime, since the last reset."""
    days: tuple[DayRow, ...]
    caps: tuple[CapRow, ...]
    captions: tuple[CaptionRow, ...]
    """``content`` reports only; empty in those for others' eyes."""
    handshakes: tuple[HandshakeRow, ...]
    resets: tuple[ResetRow, ...]
    reasons: tuple[Reason, ...]
    leakage: tuple[Leak, ...]
    """Measured of the disclosures that were used, in the lab, on other people's recordings."""
    leakage_source: str
    protected: tuple[str, ...]
    unprotected: tuple[str, ...]

    def without_content(self) -> Report:
        """The same without words, captions and user: for a fleet's view."""
        return self.model_copy(update={"captions": (), "user": ""})


class FleetRow(_Part):
    """One device."""

    device: str
    log: str
    verification: Verification
    total: Amounts
    guarantee: Guarantee | None
    days: tuple[DayRow, ...]
    reasons: tuple[Reason, ...]


class FleetReport(_Part):
    """Many devices, without content."""

    format: Literal["ugsd-fleet/1"] = "ugsd-fleet/1"
    made_s: _Time
    since_s: _Time
    total: Amounts
    devices: tuple[FleetRow, ...]
