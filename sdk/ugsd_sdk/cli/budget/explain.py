"""``ugsd budget explain``: why blocks were sent or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error, print_json, print_line

from ugsd_sdk.cli.budget.questions import price_text, print_questions, question_fields
from ugsd_sdk.cli.options import (
    ConfigOption,
    HomeOption,
    JsonLinesOption,
    UserOption,
    settings_from,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ugsd_privacy.ledger import JournalRow

    from ugsd_sdk.reports.decisions import Advice

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd budget explain --user ada
  ugsd budget explain --last 5 --json
  ugsd budget explain --caption 3f2a
  ugsd budget explain --last 20 --questions
"""


def register(budget: typer.Typer) -> None:
    """Add the command to ``ugsd budget``."""
    budget.command("explain", epilog=_EPILOG)(explain)


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
    questions: Annotated[
        bool,
        typer.Option(
            "--questions", help="Print a table: what each question was worth, and its price."
        ),
    ] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Explain why each block of a caption was sent or not.

    Also print what a question was worth, what the price of its cost was, and what would change the
    decision.
    """
    from ugsd_sdk.reports.decisions import Advice, DecisionJournal
    from ugsd_sdk.settings.config import ANONYMOUS

    settings = settings_from(config, home=home, user=user)
    journal = DecisionJournal.read(settings, caption=caption, last=last)
    if not journal.captions:
        what = "no caption" if caption is None else f"no caption {caption}"
        hint = ": name the user with --user" if settings.user == ANONYMOUS else ""
        print_error("ugsd", f"{what} of {settings.user} in the journal in {settings.home}{hint}")
        raise typer.Exit(0 if caption is None else 1)
    if questions and not as_json:
        print_questions(journal)
        return
    for decisions in journal.captions:
        advice = [Advice.on(decision, journal.hour) for decision in decisions]
        if as_json:
            print_json(json.dumps(_caption_fields(decisions, advice)))
        else:
            _print_decisions(decisions, advice)


def _caption_fields(decisions: Sequence[JournalRow], advice: Sequence[Advice]) -> dict[str, object]:
    blocks = [
        {
            "start": decision.start,
            "num_tokens": decision.tokens,
            "uncertainty": decision.uncertainty,
            "outcome": decision.outcome,
            "reason": decision.reason.to_fields() | {"text": str(decision.reason)},
            "question": question_fields(decision),
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


def _print_decisions(decisions: Sequence[JournalRow], advice: Sequence[Advice]) -> None:
    from datetime import UTC, datetime

    from ugsd_privacy.ledger.journal import VERIFIER_DISABLED_LABEL

    labels = {"local": "kept", "verifier_disabled": VERIFIER_DISABLED_LABEL}
    first = decisions[0]
    when = datetime.fromtimestamp(first.time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print_line(f"caption {first.caption.hex()} of {first.user}, {when}")
    last_text = ""
    for decision, hint in zip(decisions, advice, strict=True):
        positions = f"tokens {decision.start}-{decision.start + decision.tokens - 1}"
        outcome = labels.get(decision.outcome, decision.outcome)
        print_line(f"  {positions:<14} {outcome:<10} {plain_line(str(decision.reason))}")
        priced = price_text(decision)
        if priced:
            print_line(f"  {'':<14} {'':<10} {priced}")
        if hint.text and hint.text != last_text:
            print_line(f"  {'':<14} {'':<10} -> {hint.text}")
        last_text = hint.text
