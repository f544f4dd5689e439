"""``ugsd-lab captions``: shows the generated reference captions of a clip, or audits all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_error, print_json

from ugsd_lab.cli.options import AsJson, DataFolder, MeasuresFile
from ugsd_lab.cli.progress import shown_progress

__all__ = ["register"]

_Seed = Annotated[int, typer.Option(metavar="N", help="Random seed of the wording.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    captions = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Inspect the generated reference captions.",
    )
    show, audit = (
        "Example: ugsd-lab captions show emodb/03a01Fa",
        "Example: ugsd-lab captions audit --data corpora",
    )
    captions.command("show", epilog=show)(captions_show)
    captions.command("audit", epilog=audit)(captions_audit)
    app.add_typer(captions, name="captions")


def captions_show(
    clip: Annotated[
        str,
        typer.Argument(metavar="CLIP", help="Id or name of a clip, or the path of its recording."),
    ],
    data: DataFolder = None,
    seed: _Seed = 0,
    count: Annotated[
        int, typer.Option(min=5, max=100, metavar="N", help="Number of captions.")
    ] = 5,
    no_gender: Annotated[
        bool, typer.Option("--no-gender", help='Write "the speaker" instead of a gendered word.')
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a clip's captions and their sources.

    They are generated from labels, measures and levels.
    """
    from rich.text import Text
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.data import clip_sheet
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.training.starter import load_norms

    found = clip_sheet.find_clip(load_corpora(data), clip)
    with console(stderr=True).status(Text(f"measuring {found.id}")):
        sheet = clip_sheet.sheet_of(
            found, load_norms(), seed=seed, count=count, gender=not no_gender
        )
    if as_json:
        print_json(json.dumps(clip_sheet.as_json(sheet), indent=1))
        return
    clip_sheet.print_sheet(sheet, console())


def captions_audit(
    data: DataFolder = None,
    seed: _Seed = 0,
    cache: MeasuresFile = Path("runs/starter/measures.json"),
    as_json: AsJson = False,
) -> None:
    """Check and measure all reference captions.

    Checks that they are true and disclose nothing forbidden, and measures how varied they are.
    Fails if a caption contradicts its labels or measures, is too short or too long, mentions gender
    although it is switched off, or contains a word of the utterance.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.data.prosody import measure_all
    from ugsd_lab.evaluation import caption_audit
    from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms

    clips = load_corpora(data)
    with shown_progress() as progress:
        measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
        result = caption_audit.audit(
            clips,
            measures,
            load_norms(),
            caption_audit.expressible_words(STARTER_DRAFTER),
            progress,
            seed=seed,
        )
    if as_json:
        print_json(json.dumps(caption_audit.as_json(result), indent=1))
    else:
        caption_audit.print_audit(result, console())
    wrong = caption_audit.verdict(result)
    if wrong:
        print_error("ugsd-lab", wrong)
        raise typer.Exit(1)
