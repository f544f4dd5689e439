"""``ugsd-lab fuzz``: feeds hostile bytes to every parser of untrusted input."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_json, print_line

from ugsd_lab.cli.options import AsJson

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab fuzz --seconds 60")(fuzz)


def fuzz(
    frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of inputs.  [default: 100000]")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, metavar="N", help="Duration of the run.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed of the messages and their faults.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Feed hostile bytes to every parser of untrusted input.

    These are frames, messages, records and manifests. Fails and prints the bytes if a parser raises
    an untyped error, takes more than a second, or uses memory out of proportion to its input.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.fuzz import printing
    from ugsd_lab.fuzz import run as fuzzing

    def report(done: int, found: int) -> None:
        if done % 10_000 == 0:
            print_line(f"{done:,} inputs, {found} findings", err=True)

    if frames is None and seconds is None:
        frames = 100_000
    result = fuzzing.fuzz(frames=frames, seconds=seconds, seed=seed, progress=report)
    if as_json:
        print_json(json.dumps(printing.as_json(result), indent=1))
    else:
        printing.print_result(result, console())
    if result.findings:
        raise typer.Exit(1)
