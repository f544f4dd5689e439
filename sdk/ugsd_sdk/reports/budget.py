"""What is used and what remains of a user's caps, from settings, device and ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ugsd_privacy.budget import MEASURES, WINDOWS, BudgetLimits, Usage
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.ledger import BudgetStanding, Uptime, UserBudget, system_uptime

from ugsd_sdk.decoding.budget_pacing import BudgetPacer
from ugsd_sdk.home import Home
from ugsd_sdk.settings.config import Settings

__all__ = ["BudgetReport", "CapRow", "budget_report", "resets_at"]

_HOUR_S, _DAY_HOURS = 3600, 24


@dataclass(frozen=True)
class CapRow:
    """One cap. ``None`` for a limit means that there is none."""

    cap: str
    configured: float | None
    """Limit from the settings."""
    set_on_device: float | None
    """Limit that the owner set on this device."""
    in_force: float | None
    """The smaller of the two."""
    used: float | None
    """Amount used in the window; ``None`` for windows of a caption or a recording, and for epsilon
    if states were sent without noise."""
    remaining: float | None
    resets_at: str | None
    """When the window resets, UTC; ``None`` if it does not reset by itself."""
    price: float | None = None
    """What a question of average cost must be worth because of this cap; 0 if the budget suffices,
    ``None`` for a cap without a price."""
    label: str | None = None
    """For epsilon, what the amount used is called: ``privacy``, ``noise``, or ``none`` without
    noise."""


@dataclass(frozen=True)
class BudgetReport:
    """A user's caps that are set, in the order in which they are checked."""

    user: str
    delta: float
    """Delta of every epsilon."""
    rows: tuple[CapRow, ...]

    def as_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def budget_report(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    uptime: Callable[[], Uptime | None] = system_uptime,
) -> BudgetReport:
    """Return the report for the settings' user. A home that was never used stays untouched.

    ``clock`` and ``uptime`` are the same as for the egress. Raises ``LedgerError``.
    """
    place, user = Home.from_path(settings.home), settings.user
    configured = settings.limits_for()
    on_device: dict[str, float] = {}
    standing = BudgetStanding(configured, {}, clock())
    if place.is_used():
        with place.open_ledger() as ledger:
            with ledger.reading() as view:
                on_device = view.caps(user)
            budget = UserBudget(
                ledger=ledger, limits=configured, user=user, clock=clock, uptime=uptime
            )
            standing = budget.standing(None, questions_after=0)
    rows = _rows(configured, on_device, standing, is_paced=settings.budget_pacing)
    return BudgetReport(user, configured.delta, rows)


def resets_at(window: str, hour: int) -> str | None:
    """Return when the window that contains ``hour`` resets by itself, as ISO 8601 in UTC."""
    if window not in {"hour", "day"}:
        return None
    hours = hour + 1 if window == "hour" else (hour // _DAY_HOURS + 1) * _DAY_HOURS
    return datetime.fromtimestamp(hours * _HOUR_S, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _rows(
    configured: BudgetLimits,
    on_device: dict[str, float],
    standing: BudgetStanding,
    *,
    is_paced: bool,
) -> tuple[CapRow, ...]:
    limits, used = standing.limits, standing.used
    hour = int(standing.time_s // _HOUR_S)
    remaining = limits.remaining(used)
    priced = BudgetPacer().prices(standing) if is_paced else []
    prices = {one.cap.name: one.price for one in priced}
    rows = []
    for window in WINDOWS:
        usage = None if window in {"caption", "recording"} else used.get(window, Usage())
        for measure in MEASURES:
            cap = f"{measure}_per_{window}"
            is_epsilon_used = measure == "epsilon" and usage is not None and usage.privacy_cost > 0
            if cap not in remaining and not is_epsilon_used:
                continue
            amount = None if usage is None else usage.measured(measure, limits.delta)
            rows.append(
                CapRow(
                    cap=cap,
                    configured=getattr(configured, cap),
                    set_on_device=on_device.get(cap),
                    in_force=getattr(limits, cap),
                    used=None if amount is None or math.isinf(amount) else amount,
                    remaining=None if usage is None else remaining.get(cap),
                    resets_at=resets_at(window, hour),
                    price=prices.get(cap),
                    label=_label(usage, limits.delta) if is_epsilon_used else None,
                )
            )
    return tuple(rows)


def _label(usage: Usage | None, delta: float) -> str:
    return Guarantee.from_privacy_cost(
        dp.UNBOUNDED_COST if usage is None else usage.privacy_cost, delta
    ).label
