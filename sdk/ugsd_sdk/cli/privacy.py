"""``ugsd privacy``: in plain words, what is sent and what attackers learnt from it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports are inside the command, so that --help answers at once.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the commands."""
    privacy = typer.Typer(
        no_args_is_help=True,
        help="What is sent from this device, and what it reveals.",
        epilog="Example: ugsd privacy explain --verifier embedded",
    )
    privacy.command("explain", epilog="Example: ugsd privacy explain --verifier embedded")(explain)
    app.add_typer(privacy, name="privacy")


def explain(
    drafter: Annotated[
        str, typer.Option(metavar="starter|free|DIR", help="The model on this device.")
    ] = "starter",
    user: UserOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    verifier: Annotated[
        str | None,
        typer.Option(metavar="embedded|URL", help="Explain the settings with this verifier."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Explain what is sent with these settings.

    Also print what is never sent, and what attackers learnt from what is.
    """
    from ugsd_sdk.reports.explanation import explain as explained

    settings = settings_from(config, home=home, user=user, verifier=verifier)
    explanation = explained(settings, drafter)
    if as_json:
        print_json(json.dumps(explanation.as_dict(), indent=1))
        return
    print_document(f"{explanation.text()}\n")
