"""``ugsd explain``: how each claim of a clip's caption was measured, as a table or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.options import (
    ConfigOption,
    DrafterOption,
    HomeOption,
    OfflineOption,
    UserOption,
    settings_from,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ugsd_sdk.caption import Caption
    from ugsd_sdk.reports.claims import Claim, ClaimedCaption

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd explain voice.wav
  ugsd explain voice.wav --plot voice.svg
  ugsd explain voice.wav --profile ada.npz --offline
"""
_HEAD = ("clause", "value", "measured", "confidence", "decided by", "words")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", epilog=_EPILOG)(explain)


def explain(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="An audio file.")],
    *,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Write a picture to this file, and print no table."),
    ] = None,
    offline: OfflineOption = False,
    drafter: DrafterOption = "starter",
    user: UserOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The speaker's profile; it is read and not changed."),
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
) -> None:
    """Explain how each claim of a clip's caption was measured.

    Prints for each clause its value, the measured number, the confidence, who decided it, and the
    rule. With --plot, draws waveform, pitch and level with the caption below them instead.
    """
    from ugsd_privacy.files.atomic_files import write_atomically

    from ugsd_sdk.audio.samples import read_pieces
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption import await_verifier
    from ugsd_sdk.profile.profile import Profile
    from ugsd_sdk.reports.clip_contours import contours_of
    from ugsd_sdk.reports.clip_picture import clip_picture

    if plot is not None and plot.suffix.lower() != ".svg":
        raise typer.BadParameter(f"--plot: name a file that ends in .svg, not {plot.name!r}")
    settings = settings_from(config, home=home, user=user, offline=offline)
    speaker = None if profile is None else Profile.load(profile)
    if speaker is not None:
        speaker.freeze()
    with Captioner(drafter, config=settings) as captioner:
        await_verifier(captioner, settings)
        caption = captioner.caption(clip, profile=speaker)
    if plot is None:
        _print_claims(clip, caption)
        return
    contours = contours_of(read_pieces(clip), caption.speech.spans)
    picture = clip_picture(contours, _claimed(caption), Path(clip).name)
    write_atomically(plot, picture.encode())
    print_line(f"{plot}: {caption.text}")


def _claimed(caption: Caption) -> ClaimedCaption:
    return cast("ClaimedCaption", caption)


def _print_claims(clip: str, caption: Caption) -> None:
    from ugsd_sdk.reports.claims import claims_of

    claims = claims_of(_claimed(caption))
    measured = [claim for claim in claims if claim.attribute.value is not None or claim.words]
    print_line(f"{clip}: {caption.speech.duration_s:.1f} s of speech", f"  {caption.text}")
    if measured:
        print_line("", *_table(measured))
    if absent := [str(claim.slot) for claim in claims if claim not in measured]:
        print_line("", f"  without a value in this clip, so not stated: {', '.join(absent)}")


def _table(claims: Sequence[Claim]) -> list[str]:
    """Return the lines of a table, with the rule of each claim below its row."""
    rows = [_HEAD, *map(_cells, claims)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(size) for cell, size in zip(row, widths, strict=True)] for row in rows]
    lines = [f"  {'  '.join(row)}".rstrip() for row in padded]
    for index, claim in reversed(list(enumerate(claims, 1))):
        lines.insert(index + 1, f"    {claim.rule}")
    return lines


def _cells(claim: Claim) -> tuple[str, ...]:
    """Return the cells of a row."""
    attribute = claim.attribute
    stated = "stated" if attribute.is_said else "not stated"
    return (
        claim.slot,
        claim.value or "-",
        claim.number or "-",
        claim.confidence or "-",
        attribute.decided_by,
        f'"{claim.words}"' if claim.words else stated,
    )
