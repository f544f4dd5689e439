"""``ugsd budget show``: what was used of each cap, and what remains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from ugsd_privacy.output.terminal import print_json, print_line

from ugsd_sdk.cli.options import (
    ConfigOption,
    HomeOption,
    JsonLinesOption,
    UserOption,
    settings_from,
)

if TYPE_CHECKING:
    from ugsd_sdk.reports.budget import BudgetReport

__all__ = ["number", "register"]

_RESETS = {"caption": "each caption", "recording": "each recording", "lifetime": "by command"}
"""When windows without an hour reset."""

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(budget: typer.Typer) -> None:
    """Add the command to ``ugsd budget``."""
    budget.command("show", epilog="Example: ugsd budget show --user ada")(show)


def show(
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    as_json: JsonLinesOption = False,
) -> None:
    """Show every cap and what was used of it.

    Caps come from the settings, or were set on this device.
    """
    from ugsd_sdk.reports.budget import budget_report

    report = budget_report(settings_from(config, home=home, user=user))
    if as_json:
        print_json(json.dumps(report.as_dict()))
    else:
        _print_report(report)


def number(value: float | None) -> str:
    """Format a cap or an amount; ``None`` means that there is none."""
    if value is None:
        return "none"
    return str(int(value)) if value == int(value) else f"{value:.3g}"


def _print_report(report: BudgetReport) -> None:
    from rich.table import Table

    from ugsd_sdk.cli.caption_output import stdout

    table = Table(box=None, pad_edge=False, title=f"user {report.user}", title_justify="left")
    columns = ("cap", "settings", "this device", "in force", "used", "remaining", "price", "resets")
    for name in columns:
        is_text = name in {"cap", "resets"}
        table.add_column(name, justify="left" if is_text else "right")
    for row in report.rows:
        window = row.cap.rpartition("_")[2]
        resets = _RESETS.get(window, row.resets_at)
        used = "" if row.used is None else number(row.used)
        used = "unbounded" if row.label == "none" else used
        table.add_row(
            row.cap,
            number(row.configured),
            "" if row.set_on_device is None else number(row.set_on_device),
            number(row.in_force),
            f"{used} ({row.label})" if row.label in {"privacy", "noise"} else used,
            "" if row.remaining is None else number(row.remaining),
            "" if row.price is None else f"{row.price:.2g}",
            resets,
        )
    stdout().print(table)
    if any(row.price for row in report.rows):
        print_line(
            "price: what a question of average cost must be worth because of the cap; 0 if the "
            "budget suffices for all that are expected"
        )
    if any(row.cap.startswith("epsilon") for row in report.rows):
        print_line(
            f"epsilon at delta {report.delta:g}: called privacy up to 10, and noise above; "
            "unbounded if states were sent without noise"
        )
