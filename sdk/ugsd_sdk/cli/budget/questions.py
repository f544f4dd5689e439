"""What questions were worth, and what their cost was worth to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ugsd_privacy.output.terminal import print_line

if TYPE_CHECKING:
    from ugsd_privacy.ledger import JournalRow

    from ugsd_sdk.reports.decisions import DecisionJournal

__all__ = ["price_text", "print_questions", "question_fields"]

# Heavy imports are inside the functions, so that --help answers at once.
# ruff: noqa: PLC0415


def question_fields(decision: JournalRow) -> dict[str, object] | None:
    """Return worth, price and cost of a question, and the cap that makes most of the price, for
    JSON; ``None`` for a block whose worth was not compared with a price."""
    from dataclasses import asdict

    from ugsd_privacy.budget import Usage

    reason = decision.reason
    if reason.worth is None or reason.price is None or reason.cost is None:
        return None
    return {
        "worth": reason.worth,
        "price": reason.price,
        "cap": reason.cap if reason.price else None,
        "cost": asdict(Usage(*reason.cost)),
        "is_asked": decision.outcome == "sent",
    }


def price_text(decision: JournalRow) -> str:
    """Return in words what a question was worth and what its price was; empty if it had none."""
    fields = question_fields(decision)
    if fields is None:
        return ""
    cost = _cost_text(decision)
    if not decision.reason.price:
        is_blocked = decision.outcome == "blocked"  # a cap that is used up refuses without a price
        why = "" if is_blocked else "no price, since the budget suffices so far; "
        return f"worth {fields['worth']:.3g}; {why}cost: {cost}"
    return (
        f"worth {fields['worth']:.3g}; price {fields['price']:.3g}, mostly of "
        f"{fields['cap']}; cost: {cost}"
    )


def print_questions(journal: DecisionJournal) -> None:
    """Print a line for each question whose worth was compared with a price, oldest first."""
    from datetime import UTC, datetime

    from rich.table import Table

    from ugsd_sdk.cli.caption_output import stdout

    decisions = [one for caption in journal.captions for one in caption]
    priced = [one for one in decisions if one.reason.worth is not None]
    if not priced:
        print_line("no question had a price: budget_pacing is off, or nothing was to be asked")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("time", "caption", "worth", "price", "cap", "cost", "outcome"):
        table.add_column(name, justify="right" if name in {"worth", "price"} else "left")
    for one in priced:
        reason = one.reason
        table.add_row(
            datetime.fromtimestamp(one.time_s, UTC).strftime("%Y-%m-%d %H:%M"),
            one.caption.hex()[:8],
            f"{reason.worth:.3g}",
            f"{reason.price or 0:.3g}",
            (reason.cap or "") if reason.price else "",
            _cost_text(one),
            {"sent": "asked", "local": "kept"}.get(one.outcome, one.outcome),
        )
    stdout().print(table)


def _cost_text(decision: JournalRow) -> str:
    from ugsd_privacy.budget import DELTA, Usage
    from ugsd_privacy.dp.accounting import UNBOUNDED_COST, epsilon_of_privacy_cost

    cost = Usage(*decision.reason.cost or ())
    counts = {"block": cost.blocks, "token": cost.tokens, "frame": cost.frames, "byte": cost.bytes}
    parts = [f"{count} {unit}{'s' * (count != 1)}" for unit, count in counts.items() if count]
    if 0 < cost.privacy_cost < UNBOUNDED_COST:
        parts.append(f"epsilon {epsilon_of_privacy_cost(cost.privacy_cost, DELTA):.3g} by itself")
    return ", ".join(parts)
