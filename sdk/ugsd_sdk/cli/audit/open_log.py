"""The log of a home, as the commands of ``ugsd audit`` open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.cli.options import nothing_sent, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.keys.log import LogKey
    from ugsd_privacy.ledger import Ledger

    from ugsd_sdk.home import Home

__all__ = ["NoteOption", "OpenLog", "fail", "open_log"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

NoteOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        metavar="NOTE",
        help="A checkpoint stored elsewhere, which the log must extend; may be repeated.",
    ),
]


class OpenLog:
    """The open log of a home."""

    def __init__(self, place: Home, ledger: Ledger, key: LogKey) -> None:
        from ugsd_privacy.audit.cosigned import CosignedNotes

        self.ledger = ledger
        self.key = key
        self.cosigned = CosignedNotes(place.cosigned)

    def signed(self) -> str:
        """Return a signed checkpoint of the log as it is now."""
        from ugsd_privacy.audit.log_signer import LogSigner

        with self.ledger.signing() as log:
            return LogSigner(self.key).sign(log)[1]


@contextmanager
def open_log(home: Path | None, config: Path | None) -> Iterator[OpenLog]:
    """Open the log of the home that the options name. End the command if there is no log."""
    from ugsd_privacy.keys.log import LogKey

    from ugsd_sdk.home import Home

    place = Home.from_path(settings_from(config, home=home).home)
    if not place.is_used():
        fail(nothing_sent(place))
    with place.open_ledger() as ledger:  # refuses a log whose key was lost
        if not place.log_key.exists():
            fail(nothing_sent(place))
        yield OpenLog(place, ledger, LogKey.load(place.log_key))


def fail(message: str) -> NoReturn:
    """Print the error, and end the command."""
    print_error("ugsd", message)
    raise typer.Exit(1)
