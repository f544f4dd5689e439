"""The journal's decisions by caption, and advice on what would change them."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Self

from ugsd_privacy.budget import CAPS
from ugsd_privacy.ledger import JournalRow, Uptime, system_uptime
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR
from ugsd_privacy.reasons import ReasonCode

from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.home import Home
from ugsd_sdk.reports.budget import resets_at
from ugsd_sdk.settings.config import Settings

__all__ = ["Advice", "DecisionJournal"]

_ALL = 10**9
_HOURS_PER_DAY = 24
_ADVICE: Mapping[ReasonCode, str] = {
    ReasonCode.NO_GAIN_EXPECTED: "a lower min_gain would send it",
    ReasonCode.ANSWER_TOO_LATE: (
        "raise verifier.deadline_s, verifier.caption_deadline_s or verifier.max_delay_s, or use a "
        "nearer verifier"
    ),
    ReasonCode.NOT_ENROLLED: (
        "caption more clips of the user: `ugsd profile show` shows how many are missing"
    ),
    ReasonCode.NO_PROFILE: "name the user, or give captions a profile",
    ReasonCode.DIFFERENT_SPEAKER: (
        "name each speaker as a user of their own; if the user's voice or microphone has changed, "
        "run `ugsd profile reset`"
    ),
    ReasonCode.SEVERAL_SPEAKERS: "cut the recording at the changes of speaker",
    ReasonCode.VERIFIER_UNREACHABLE: "check verifier.url, and that the verifier is running",
    ReasonCode.DEADLINE: (
        "raise verifier.deadline_s or verifier.caption_deadline_s, or use a faster or nearer "
        "verifier; a caption after one without an answer is not asked about until that came"
    ),
    ReasonCode.CALL_TIMEOUT: "give the call a larger timeout_s, or use a faster or nearer verifier",
    ReasonCode.WRONG_VERIFIER_KEY: "check verifier.key with the verifier's operator",
    ReasonCode.BELOW_PRICE: (
        "raise the cap, or set budget_pacing = false to ask until it is used up"
    ),
    ReasonCode.CONSTANT_SHAPE: "in constant shape each caption sends only one frame",
    ReasonCode.LEDGER_UNAVAILABLE: "run `ugsd audit verify`",
    ReasonCode.LOG_TAMPERED: "run `ugsd audit verify`",
}


@dataclass(frozen=True)
class DecisionJournal:
    """The outcomes of the blocks of some captions, oldest first."""

    captions: tuple[tuple[JournalRow, ...], ...]
    hour: int
    """The ledger's current hour."""

    @classmethod
    def read(
        cls,
        settings: Settings,
        *,
        caption: str | None,
        last: int,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = system_uptime,
    ) -> Self:
        """Read the settings' user's ``last`` captions, or those whose id in hex begins with
        ``caption``. A home that was never used stays untouched. Raises ``LedgerError``."""
        place = Home.from_path(settings.home)
        if not place.is_used():
            return cls((), 0)
        with place.open_ledger() as ledger, ledger.reading() as view:
            hour = view.hour_of(clock(), uptime())
            decisions = view.journal(settings.user, limit=_ALL)
        captions = [tuple(group) for _, group in groupby(decisions, key=attrgetter("caption"))]
        if caption is None:
            return cls(tuple(captions[-last:]), hour)
        prefix = caption.lower()
        matches = [group for group in captions if group[0].caption.hex().startswith(prefix)]
        return cls(tuple(matches), hour)


@dataclass(frozen=True)
class Advice:
    """What would change a decision."""

    available_at: str | None
    """When the exhausted window resets, UTC; ``None`` if no window is the cause, or if it was reset
    since."""
    text: str
    """What to do; empty if nothing can be done."""

    @classmethod
    def on(cls, decision: JournalRow, hour: int) -> Self:
        """Return the advice on ``decision``; ``hour`` is the ledger's current hour."""
        reason = decision.reason
        if decision.outcome == Outcome.BLOCKED and reason.cap in CAPS:
            return cls._on_cap(decision, reason.cap, hour)
        if reason.code is ReasonCode.BELOW_THRESHOLD:
            return cls(None, "a lower threshold would send it")
        if decision.outcome == Outcome.VERIFIER_DISABLED:
            return cls(None, "")
        return cls(None, _ADVICE.get((reason.failure or reason).code, ""))

    @classmethod
    def _on_cap(cls, decision: JournalRow, cap: str, hour: int) -> Self:
        window = cap.rpartition("_")[2]
        wanted, limit = decision.reason.wanted or 0.0, decision.reason.limit
        if math.isinf(wanted):
            return cls(None, f"{cap} allows no state without noise: set noise, or lift the cap")
        if limit is not None and wanted > limit:
            return cls(None, f"this block alone needs more than {cap} allows: raise it")
        if window == "caption":
            return cls(None, f"the cap applies to each caption: raise {cap} to send more of one")
        length = 1 if window == "hour" else _HOURS_PER_DAY
        if window != "lifetime" and decision.time_s // SECONDS_PER_HOUR // length < hour // length:
            return cls(None, f"the {window} was reset since; raise {cap} to send more")
        return cls._until_reset(decision, cap, hour)

    @classmethod
    def _until_reset(cls, decision: JournalRow, cap: str, hour: int) -> Self:
        """Return the advice on a cap of a window that was not reset since."""
        window = cap.rpartition("_")[2]
        reset_at = resets_at(window, hour)
        run = f"run `ugsd budget reset --user {shlex.quote(decision.user)} --window {window}`"
        if math.isinf(decision.reason.used or 0.0):  # then no higher cap helps
            until = "" if reset_at is None else f"it resets at {reset_at}, or "
            return cls(reset_at, f"states were sent without noise in this {window}: {until}{run}")
        if reset_at is None:
            return cls(None, f"it does not reset by itself: raise {cap}, or {run}")
        return cls(reset_at, f"the {window} resets at {reset_at}: wait, raise {cap}, or {run}")
