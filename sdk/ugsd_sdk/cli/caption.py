"""``ugsd caption``: caption clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error, print_json

from ugsd_sdk.cli.options import ConfigOption, HomeOption, UserOption, settings_from

if TYPE_CHECKING:
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.settings.config import Settings

__all__ = ["await_verifier", "register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd caption voice.wav
  ugsd caption --verifier embedded --json *.wav
  ugsd caption --verifier wss://captions.example.org \\
    --verifier-root root.key.pin --verifier-manifest verifier.manifest voice.opus

Settings also come from --config and from UGSD_ variables, such as UGSD_VERIFIER__URL.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("caption", epilog=_EPILOG)(caption)


def caption(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP", help="Audio files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no verifier; send nothing.")
    ] = False,
    verifier: Annotated[
        str | None,
        typer.Option(metavar="embedded|URL", help="Verifier: `embedded`, or a ws/wss address."),
    ] = None,
    verifier_root: Annotated[
        str | None,
        typer.Option(metavar="FILE|TEXT", help="The root key that signed the verifier's manifest."),
    ] = None,
    verifier_manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest of the verifier's keys.")
    ] = None,
    verifier_key: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|TEXT",
            help="Public key of a verifier on this machine, instead of root and manifest.",
        ),
    ] = None,
    drafter: Annotated[
        str, typer.Option(metavar="starter|free|DIR", help="The model on this device.")
    ] = "starter",
    user: UserOption = None,
    config: ConfigOption = None,
    home: HomeOption = None,
) -> None:
    """Caption clips. Without a verifier nothing is sent from this device.

    A clip that cannot be captioned does not stop the others.
    """
    if offline and (verifier or verifier_root or verifier_manifest or verifier_key):
        raise typer.BadParameter(
            "--offline uses no verifier: leave out the options of the verifier"
        )
    settings = settings_from(
        config,
        home=home,
        user=user,
        verifier=verifier,
        verifier_root=verifier_root,
        verifier_manifest=verifier_manifest,
        verifier_key=verifier_key,
        offline=offline,
    )
    if settings.verifier.url is None and (verifier_root or verifier_manifest or verifier_key):
        print_error("ugsd", "no verifier is used, although its key is given: add --verifier")
    failed = _caption_all(clips, drafter, settings, as_json=as_json)
    raise typer.Exit(1 if failed else 0)


def _caption_all(clips: list[str], drafter: str, settings: Settings, *, as_json: bool) -> int:
    """Print every clip's caption or error, and return the number of failures."""
    from ugsd_sdk.caption import escaped_path
    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption_output import legend, print_caption, stdout
    from ugsd_sdk.errors import AudioError

    console, failed, blocks = stdout(), 0, 0
    with Captioner(drafter, config=settings) as captioner:
        await_verifier(captioner, settings)
        for clip in clips:
            try:
                caption = captioner.caption(clip)
            except AudioError as error:
                failed += 1
                print_error("ugsd", f"{plain_line(clip)}: {str(error).removeprefix(f'{clip!r} ')}")
                if as_json:
                    fault = {"type": type(error).__name__, "message": str(error)}
                    print_json(json.dumps({"path": escaped_path(clip), "error": fault}))
                continue
            blocks += caption.usage.num_blocks
            if as_json:
                print_json(caption.model_dump_json())
            else:
                print_caption(console, caption)
    if blocks and not as_json:
        console.print(legend(colour=console.is_terminal))
    return failed


def await_verifier(captioner: Captioner, settings: Settings) -> None:
    """Wait for the connection, so that the first clip has a verifier too.

    The wait for a remote verifier is as long as the one for a block; the embedded verifier first
    has to start.
    """
    from ugsd_privacy.errors import PrivacyError

    from ugsd_sdk.errors import TransportError
    from ugsd_sdk.settings.config import EMBEDDED

    verifier = settings.verifier
    is_embedded = verifier.url == EMBEDDED
    try:
        captioner.wait_until_connected(
            verifier.connect_timeout_s + 1 if is_embedded else verifier.deadline_s
        )
    except (TransportError, PrivacyError) as error:
        print_error("ugsd", f"continuing without the verifier: {error}")
