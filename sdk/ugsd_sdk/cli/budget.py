"""``ugsd budget``: what may still be sent, the owner's caps, and why blocks were sent or not."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import confirm, print_error, print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ugsd_privacy.ledger import BlockDecisionRow

    from ugsd_sdk.reports.budget import BudgetReport
    from ugsd_sdk.reports.decisions import Advice

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd budget show --user ada
  ugsd budget set tokens_per_day=200 epsilon_per_lifetime=10 --user ada
  ugsd budget explain --user ada --last 3
  ugsd budget reset --user ada --window hour --yes
"""
_SET_EPILOG = """Examples:

\b
  ugsd budget set tokens_per_day=200 blocks_per_caption=2 --user ada
  ugsd budget set bytes_per_lifetime=1000000 --everyone
  ugsd budget set tokens_per_day=none --user ada

A cap is MEASURE_per_WINDOW: blocks, tokens, frames, bytes or epsilon per caption, hour, day or
lifetime.
"""
_EXPLAIN_EPILOG = """Examples:

\b
  ugsd budget explain --user ada
  ugsd budget explain --last 5 --json
  ugsd budget explain --caption 3f2a
"""
_RESET_EPILOG = """Examples:

\b
  ugsd budget reset --user ada
  ugsd budget reset --user ada --window lifetime --yes
"""

_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
_OUTCOME_LABELS = {"withheld": "blocked", "alone": "not judged"}
"""How people read outcomes whose stored names are not clear by themselves."""


class ResetWindow(StrEnum):
    HOUR = "hour"
    DAY = "day"
    LIFETIME = "lifetime"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    budget = typer.Typer(
        no_args_is_help=True,
        help="What may still be sent, the owner's caps, and why blocks were sent or not.",
        epilog=_EPILOG,
    )
    budget.command("show", epilog="Example: ugsd budget show --user ada")(show)
    budget.command("set", epilog=_SET_EPILOG)(set_caps)
    budget.command("reset", epilog=_RESET_EPILOG)(reset)
    budget.command("explain", epilog=_EXPLAIN_EPILOG)(explain)
    app.add_typer(budget, name="budget")


def show(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: _JsonOption = False,
) -> None:
    """Show every cap, from the settings or set on this device, and what was used of it."""
    from ugsd_sdk.reports.budget import budget_report

    report = budget_report(settings_from(config, home=home, user=user))
    if as_json:
        print_json(json.dumps(report.as_dict()))
    else:
        _print_report(report)


def set_caps(
    caps: Annotated[
        list[str], typer.Argument(metavar="CAP=VALUE...", help="`none` removes a cap.")
    ],
    *,
    user: UserOption = None,
    everyone: Annotated[
        bool, typer.Option("--everyone", help="Set the caps for every user.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Set caps on this device. An application cannot raise them: the smaller cap applies."""
    from ugsd_privacy.ledger import ALL_USERS

    from ugsd_sdk.home import Home, UserEgress
    from ugsd_sdk.reports.budget import budget_report

    if everyone and user is not None:
        raise typer.BadParameter("give only one of --everyone and --user")
    new_caps = dict(map(_cap, caps))
    if len(new_caps) < len(caps):
        raise typer.BadParameter("a cap is given twice: delete one")
    settings = settings_from(config, home=home, user=user)
    user_egress = UserEgress(Home.from_path(settings.home), settings.limits_for(), settings.user)
    try:
        user_egress.set_caps(ALL_USERS if everyone else settings.user, new_caps)
    finally:
        user_egress.close()
    in_force = {row.cap: row.in_force for row in budget_report(settings).rows}
    whose = "everyone" if everyone else settings.user
    for cap, value in new_caps.items():
        on_device = "no cap set on this device" if value is None else f"at most {value:g}"
        force = _number(in_force.get(cap))
        print_line(f"{whose}: {cap}: {on_device}; in force for {settings.user}: {force}")


def reset(
    user: UserOption = None,
    window: Annotated[
        list[ResetWindow] | None,
        typer.Option(
            metavar="hour|day|lifetime|all",
            help="Window to reset; may be repeated.  [default: hour and day]",
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Reset windows of a user's budget. The log records the reset."""
    from ugsd_privacy.audit.records import Resettable

    from ugsd_sdk.home import Home, UserEgress

    settings = settings_from(config, home=home, user=user)
    chosen = window or [ResetWindow.HOUR, ResetWindow.DAY]
    windows = [w for w in get_args(Resettable) if w in chosen or ResetWindow.ALL in chosen]
    place, names = Home.from_path(settings.home), " and ".join(windows)
    if not place.is_used():
        print_line(f"{settings.user}: no budget was used yet in {place.path}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("cannot ask for confirmation here: add --yes")
        confirm(f"Reset {names} of {settings.user}?")
    user_egress = UserEgress(place, settings.limits_for(), settings.user)
    try:
        record = user_egress.open().acts.reset(windows)
    finally:
        user_egress.close()
    print_line(f"{settings.user}: {names} reset; logged as record {record}")


def explain(
    user: UserOption = None,
    caption: Annotated[
        str | None, typer.Option(metavar="ID", help="A caption's id, or its beginning.")
    ] = None,
    last: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of captions, the latest ones.")
    ] = 1,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: _JsonOption = False,
) -> None:
    """Show for each block of a caption why it was sent or not, and what would change that."""
    from ugsd_sdk.reports.decisions import Advice, DecisionJournal

    settings = settings_from(config, home=home, user=user)
    journal = DecisionJournal.read(settings, caption=caption, last=last)
    if not journal.captions:
        what = "no caption" if caption is None else f"no caption {caption}"
        print_error("ugsd", f"{what} of {settings.user} in the journal in {settings.home}")
        raise typer.Exit(0 if caption is None else 1)
    for decisions in journal.captions:
        advice = [Advice.on(decision, journal.hour) for decision in decisions]
        if as_json:
            print_json(json.dumps(_caption_fields(decisions, advice)))
        else:
            _print_decisions(decisions, advice)


def _cap(text: str) -> tuple[str, float | None]:
    """Parse ``CAP=VALUE``; the value ``None`` removes the cap."""
    from difflib import get_close_matches

    from pydantic import ValidationError
    from ugsd_privacy.budget import CAPS, BudgetLimits

    cap, is_given, value = text.partition("=")
    if cap not in CAPS:
        near = get_close_matches(cap, CAPS, n=1)
        raise typer.BadParameter(
            f"{cap}: no such cap: "
            + (f"did you mean {near[0]}?" if near else f"give one of {', '.join(CAPS)}")
        )
    if not is_given:
        raise typer.BadParameter(f"{cap}: give it a value: {cap}=100")
    if value.strip().lower() == "none":
        return cap, None
    try:
        plain = value.strip().encode("ascii").replace(b"_", b"?")
        number = float(plain) if cap.startswith("epsilon") else int(plain)
        BudgetLimits.without_caps(**{cap: number})
    except (ValueError, ValidationError):
        kind = "a number" if cap.startswith("epsilon") else "a whole number"
        raise typer.BadParameter(
            f"{cap}: give {kind} of 0 or more, or none; not {value!r}"
        ) from None
    return cap, number


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return str(int(value)) if value == int(value) else f"{value:.3g}"


def _print_report(report: BudgetReport) -> None:
    from rich.table import Table

    from ugsd_sdk.cli.caption_output import stdout

    table = Table(box=None, pad_edge=False, title=f"user {report.user}", title_justify="left")
    for name in ("cap", "settings", "this device", "in force", "used", "remaining", "resets"):
        is_text = name in {"cap", "resets"}
        table.add_column(name, justify="left" if is_text else "right")
    for row in report.rows:
        window = row.cap.rpartition("_")[2]
        resets = {"caption": "each caption", "lifetime": "by command"}.get(window, row.resets_at)
        used = "" if row.used is None else _number(row.used)
        used = "unbounded" if row.label == "none" else used
        table.add_row(
            row.cap,
            _number(row.configured),
            "" if row.set_on_device is None else _number(row.set_on_device),
            _number(row.in_force),
            f"{used} ({row.label})" if row.label in {"privacy", "noise"} else used,
            "" if row.remaining is None else _number(row.remaining),
            resets,
        )
    stdout().print(table)
    if any(row.cap.startswith("epsilon") for row in report.rows):
        print_line(
            f"epsilon at delta {report.delta:g}: called privacy up to 10, and noise above; "
            "unbounded if states were sent without noise"
        )


def _caption_fields(
    decisions: Sequence[BlockDecisionRow], advice: Sequence[Advice]
) -> dict[str, object]:
    blocks = [
        {
            "start": decision.start,
            "num_tokens": decision.tokens,
            "uncertainty": decision.uncertainty,
            "outcome": decision.outcome,
            "reason": decision.reason.to_fields() | {"text": str(decision.reason)},
            "frees_up": hint.available_at,
            "advice": hint.text,
        }
        for decision, hint in zip(decisions, advice, strict=True)
    ]
    first = decisions[0]
    return {
        "caption": first.caption.hex(),
        "user": first.user,
        "time_s": first.time_s,
        "blocks": blocks,
    }


def _print_decisions(decisions: Sequence[BlockDecisionRow], advice: Sequence[Advice]) -> None:
    from datetime import UTC, datetime

    first = decisions[0]
    when = datetime.fromtimestamp(first.time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print_line(f"caption {first.caption.hex()} of {first.user}, {when}")
    last_text = ""
    for decision, hint in zip(decisions, advice, strict=True):
        positions = f"tokens {decision.start}-{decision.start + decision.tokens - 1}"
        outcome = _OUTCOME_LABELS.get(decision.outcome, decision.outcome)
        print_line(f"  {positions:<14} {outcome:<10} {plain_line(str(decision.reason))}")
        if hint.text and hint.text != last_text:
            print_line(f"  {'':<14} {'':<10} -> {hint.text}")
        last_text = hint.text
