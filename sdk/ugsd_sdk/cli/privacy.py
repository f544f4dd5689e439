"""``ugsd privacy``: what is sent, what attackers learnt from it, and which settings to choose."""

from __future__ import annotations

import json
from enum import StrEnum
from math import inf
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

__all__ = ["register"]

# Heavy imports are inside the command, so that --help answers at once.
# ruff: noqa: PLC0415

_RECOMMEND = """Examples:

\b
  ugsd privacy recommend --quality 0.65
  ugsd privacy recommend --max-bytes 64 --max-leakage 0.05 --domain out
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    privacy = typer.Typer(
        no_args_is_help=True,
        help="What is sent from this device, and what it reveals.",
        epilog="Example: ugsd privacy explain --verifier embedded",
    )
    privacy.command("explain", epilog="Example: ugsd privacy explain --verifier embedded")(explain)
    privacy.command("recommend", epilog=_RECOMMEND)(recommend)
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


class _Domain(StrEnum):
    IN = "in"
    OUT = "out"
    BOTH = "both"


def recommend(
    quality: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Least share of captions with the right emotion.  [default: the best]",
        ),
    ] = None,
    max_bytes: Annotated[
        float, typer.Option(metavar="N", help="Most bytes per caption.", show_default=False)
    ] = inf,
    max_epsilon: Annotated[
        float,
        typer.Option(metavar="E", help="Largest epsilon of one caption.", show_default=False),
    ] = inf,
    max_leakage: Annotated[
        float,
        typer.Option(metavar="L", help="Most leakage per caption, 0 to 1.", show_default=False),
    ] = inf,
    *,
    domain: Annotated[
        _Domain,
        typer.Option(
            metavar="in|out|both",
            help="Speech like that on which the drafter was trained, other speech, or both.",
        ),
    ] = _Domain.BOTH,
    drafter: Annotated[
        str, typer.Option(metavar="starter|free|DIR", help="The model on this device.")
    ] = "starter",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Recommend settings for a wish, and print what they give up.

    Chooses among settings that were measured with this drafter: without --quality the best one
    within the limits, and with it the one that discloses least. Nothing is sent or changed.
    """
    from ugsd_sdk.reports.recommendation import Wish
    from ugsd_sdk.reports.recommendation import recommend as recommended

    wish = Wish(quality, max_bytes, max_epsilon, max_leakage, domain.value)
    found = recommended(wish, drafter)
    if as_json:
        print_json(json.dumps(found.as_dict(), indent=1))
        return
    print_document(f"{found.text()}\n")
