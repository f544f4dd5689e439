"""``ugsd-lab evaluate``: compares UGSD with other systems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    MeasuresFile,
    require_one_output,
    require_possible_noise,
)
from ugsd_lab.cli.progress import shown_progress

if TYPE_CHECKING:
    from ugsd_lab.data.corpora import Clip
    from ugsd_lab.evaluation import Pair
    from ugsd_lab.models.embeddings import Progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab evaluate --data corpora --plot curve.svg")(evaluate)


def evaluate(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    verifier: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the verifier.  [default: the bundled starter]"),
    ] = None,
    in_domain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS",
            help="A corpus that the drafter was trained on; may be repeated.  "
            "[default: those of its recipe]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Speakers to evaluate: dev for choices, test for tables.  [default: test]",
        ),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run only this system; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Score at most this many clips per speaker."),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Compare the candidates for the baselines, on dev speakers."),
    ] = False,
    no_profiles: Annotated[
        bool,
        typer.Option(
            "--no-profiles", help="Caption each clip as the first one of an unknown speaker."
        ),
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(metavar="SIGMA", help="Add noise to states, as `sigma` in the settings."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw curves and confusion matrices: .svg or .png."),
    ] = None,
    cache: MeasuresFile = Path("runs/starter/measures.json"),
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Compare UGSD with other systems.

    These are the drafter alone, the verifier alone, and baselines. Runs on EMO-DB's test speakers,
    which come with the package, and on those of every corpus in --data. Reference captions are
    generated.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab import evaluation
    from ugsd_lab.data.corpora import SPLITS, load_corpora
    from ugsd_lab.errors import EvaluationError
    from ugsd_lab.evaluation.plots import check_picture, draw_evaluation
    from ugsd_lab.evaluation.printing import as_markdown, print_result, ranking
    from ugsd_lab.training.starter import load_norms

    split = split or ("dev" if tune else "test")
    if split not in SPLITS:
        raise EvaluationError(f"--split: no split {split!r}; there are {', '.join(SPLITS)}")
    require_one_output(as_json=as_json, markdown=markdown)
    if noise is not None:
        require_possible_noise(noise)
    if plot is not None:
        check_picture(plot)
    pair = evaluation.pair_of(drafter, verifier, in_domain or ())
    clips = load_corpora(data)
    with shown_progress() as progress:
        result = evaluation.evaluate(
            clips, pair, norms=load_norms(), cache=cache, progress=progress, split=split,
            systems=system, tune=tune, limit=limit, curves=plot is not None,
            probe=None if tune or limit or no_profiles else _probe(pair, clips, split, progress),
            profiles=not no_profiles, sigma=noise,
        )  # fmt: skip
    if plot is not None:
        draw_evaluation(plot, result.curves, result.confusions)
    if as_json:
        print_json(json.dumps(evaluation.as_json(result), indent=1))
        return
    if markdown:
        print_document(
            f"{as_markdown(result, split=split, limit=limit, profiles=not no_profiles)}\n"
        )
        return
    print_result(result, console(), split=split, limit=limit, profiles=not no_profiles)
    if tune:
        print_document(f"{ranking(result)}\n")


def _probe(
    pair: Pair, clips: Sequence[Clip], split: str, progress: Progress
) -> dict[str, str] | None:
    """Return the emotions that a probe of the drafter's audio embedding predicts; ``None`` unless
    all corpora that the drafter was trained on are present."""
    from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, DrafterBundle

    from ugsd_lab.evaluation.probe import probe_emotions

    in_domain = [clip for clip in clips if clip.split == "train" and clip.corpus in pair.in_domain]
    train = [clip for clip in in_domain if clip.emotion is not None]
    if {clip.corpus for clip in train} != set(pair.in_domain):
        return None
    labelled = [clip for clip in clips if clip.split == split and clip.emotion]
    return probe_emotions(
        DrafterBundle(pair.drafter).find(AUDIO_ENCODER_GRAPH), train, labelled, progress
    )
