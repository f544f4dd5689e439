"""``ugsd budget``: what may still be sent, the owner's caps, and why blocks were sent or not."""

from __future__ import annotations

import typer

from ugsd_sdk.cli.budget import explain, reset, set, show  # noqa: A004

__all__ = ["register"]

_EPILOG = """Examples:

\b
  ugsd budget show --user ada
  ugsd budget set tokens_per_day=200 epsilon_per_lifetime=10 --user ada
  ugsd budget explain --user ada --last 3
  ugsd budget reset --user ada --window hour --yes
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    budget = typer.Typer(
        no_args_is_help=True,
        help="Show and set budgets, and explain what was sent.",
        epilog=_EPILOG,
    )
    for command in (show, set, reset, explain):
        command.register(budget)
    app.add_typer(budget, name="budget")
