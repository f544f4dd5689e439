"""The journal's decisions, by caption, and what would change one."""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Self

from ugsd_privacy.budget import CAPS
from ugsd_privacy.ledger import BlockDecisionRow, Uptime, system_uptime

from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.decoding.policy import NOT_ENROLLED
from ugsd_sdk.home import Home
from ugsd_sdk.reports.budget import resets_at
from ugsd_sdk.settings.config import Settings

__all__ = ["Advice", "DecisionJournal"]

_ALL = 10**9
_NUMBERS = re.compile(r"used of (?P<limit>\S+), (?P<wanted>\S+) more wanted$")
"""Of a cap, as :class:`ugsd_privacy.errors.BudgetExceeded` tells them."""
_SECONDS_PER_HOUR, _HOURS_PER_DAY = 3600, 24
_CURES = {
    NOT_ENROLLED: "caption more clips of the user: `ugsd profile show` says how many are missing",
    "verifier unreachable": "check verifier.url, and that the verifier runs",
    "deadline": "raise verifier.deadline_s, or bring the verifier nearer",
    "wrong verifier key": "check verifier.key with the verifier's operator",
    "constant shape": "in constant shape one frame leaves per caption",
    "ledger unavailable": "see what `ugsd audit verify` says",
    "audit log tampered": "see what `ugsd audit verify` says",
}


@dataclass(frozen=True)
class DecisionJournal:
    """What became of the blocks of some captions, oldest first."""

    captions: tuple[tuple[BlockDecisionRow, ...], ...]
    hour: int
    """The ledger's, now."""

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
        """Of the settings' user: the ``last`` captions, or those whose id, in hex, begins with
        ``caption``. A home that was never used stays untouched. Raises ``LedgerError``."""
        place = Home.from_path(settings.home)
        if not place.is_used():
            return cls((), 0)
        with place.open_ledger() as ledger, ledger.reading() as view:
            hour = view.hour_of(clock(), uptime())
            decisions = view.decisions(settings.user, limit=_ALL)
        captions = [tuple(group) for _, group in groupby(decisions, key=attrgetter("caption"))]
        if caption is None:
            return cls(tuple(captions[-last:]), hour)
        begins = caption.lower()
        found = [group for group in captions if group[0].caption.hex().startswith(begins)]
        return cls(tuple(found), hour)


@dataclass(frozen=True)
class Advice:
    """What would change a decision."""

    available_at: str | None
    """When the window that was used up begins anew, UTC; ``None`` where that is not it, or it did
    already."""
    text: str
    """What to do; empty where there is nothing to."""

    @classmethod
    def on(cls, decision: BlockDecisionRow, hour: int) -> Self:
        """``hour`` is the ledger's, now."""
        cap = decision.reason.partition(":")[0]
        if decision.outcome == Outcome.BLOCKED and cap in CAPS:
            return cls._on_cap(decision, cap, hour)
        if decision.outcome == Outcome.LOCAL and decision.reason.startswith("sure"):
            return cls(None, "a lower threshold would send it")
        cures = [cure for fault, cure in _CURES.items() if decision.reason.endswith(fault)]
        return cls(
            None, "" if decision.outcome == Outcome.VERIFIER_DISABLED or not cures else cures[0]
        )

    @classmethod
    def _on_cap(cls, decision: BlockDecisionRow, cap: str, hour: int) -> Self:
        window = cap.rpartition("_")[2]
        numbers = _NUMBERS.search(decision.reason)
        if numbers and math.isinf(float(numbers["wanted"])):
            return cls(None, f"no state without noise fits {cap}: set noise, or lift the cap")
        if numbers and float(numbers["wanted"]) > float(numbers["limit"]):
            return cls(None, f"this block alone wants more than {cap} ever allows: raise it")
        reset = f"`ugsd budget reset --user {shlex.quote(decision.user)} --window {window}`"
        if window == "caption":
            return cls(None, f"each caption has its own: raise {cap} to let more of one out")
        if window == "lifetime":
            return cls(None, f"it does not begin anew by itself: raise {cap}, or {reset}")
        length = 1 if window == "hour" else _HOURS_PER_DAY
        if decision.time_s // _SECONDS_PER_HOUR // length < hour // length:
            return cls(None, f"the {window} has begun anew since; raise {cap} to let more out")
        anew = resets_at(window, hour)
        return cls(anew, f"the {window} begins anew at {anew}: wait, raise {cap}, or {reset}")
