"""``ugsd-lab``: train the starter pair, evaluate it, and measure speed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import (
    run_app,
    tell,
    tell_document,
    tell_error,
    tell_json,
)

from ugsd_lab.cli import bench as bench_commands
from ugsd_lab.cli.progress import shown_progress
from ugsd_lab.data.corpora import KNOWN_CORPORA
from ugsd_lab.data.recipe import Recipe

if TYPE_CHECKING:
    from ugsd_lab.data.corpora import Clip
    from ugsd_lab.evaluation import Pair
    from ugsd_lab.training.train import Progress

__all__ = ["main"]

# Heavy imports wait inside the commands, so that --help answers at once.

_INTERRUPTED = 130
_TABLE_COLUMNS = 130

_app = typer.Typer(
    name="ugsd-lab",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and measure. Needs the lab extra: pip install '.[lab]'.",
)
bench_commands.register(_app)
_captions = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at the generated reference captions."
)
_app.add_typer(_captions, name="captions")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from ugsd_privacy.errors import PrivacyError
    from ugsd_privacy.output.standard_output import reserved_stdout
    from ugsd_sdk.errors import UgsdError
    from ugsd_server.errors import ServerError

    from ugsd_lab.errors import LabError

    try:
        with reserved_stdout():
            return run_app(_app, argv, "ugsd-lab")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ugsd"):
            raise
        tell_error("ugsd-lab", f"{error.name} is missing: pip install '.[lab]' in a checkout")
        return 1
    except (LabError, UgsdError, PrivacyError, ServerError) as error:
        tell_error("ugsd-lab", error)
        return 1


_Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", exists=True, file_okay=False,
        help=f"Folder with more corpora, each below its name: {', '.join(KNOWN_CORPORA)}.",
    ),
]  # fmt: skip


@_app.command(epilog="Example: ugsd-lab train --data corpora --whisper whisper-tiny-en.safetensors")
def train(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False,
            help="Folder with the corpora ravdess and nemo; EMO-DB is bundled.",
        ),
    ],
    whisper: Annotated[
        Path,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Encoder of Whisper tiny.en as safetensors, in transformers' names.",
        ),
    ],
    work: Annotated[
        Path, typer.Option(metavar="DIR", help="Checkpoints and results; run again to resume.")
    ] = Path("runs/starter"),
    seed: Annotated[int, typer.Option(help="Decides the weights, with the data.")] = 0,
    drafter_steps: Annotated[int, typer.Option(min=1)] = Recipe.drafter_steps,
    verifier_steps: Annotated[int, typer.Option(min=1)] = Recipe.verifier_steps,
    copies: Annotated[
        int, typer.Option(min=0, help="Augmented copies of each training clip.")
    ] = Recipe.copies,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Also the drafter that knows all corpora.")
    ] = False,
) -> None:  # fmt: skip
    """Train the drafters and their verifier, fit the gates and export all to ONNX.

    Resumes from the last checkpoint in --work. The same seed, steps and data give the same weights
    on the same machine and versions.
    """
    from ugsd_lab.training.starter import train_starter_pair

    recipe = Recipe(seed, copies, drafter_steps, verifier_steps)
    with shown_progress() as progress:
        folders = train_starter_pair(data, whisper, work, recipe, progress, ceiling=ceiling)
    tell(*map(str, folders))


@_app.command(epilog="Example: ugsd-lab evaluate --data corpora --plot curve.svg")
def evaluate(
    data: _Data = None,
    drafter: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="starter, free, ceiling, or a folder.")
    ] = "starter",
    verifier: Annotated[
        Path | None, typer.Option(metavar="DIR", help="[default: the bundled starter]")
    ] = None,
    home: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CORPUS", help="A corpus that the drafter was trained on; may be repeated."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Whose clips: dev for choices, test for tables.  [default: test]"),
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this arm; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many clips per speaker: a quick look.")
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Compare the baselines' candidates, on dev speakers.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw curves and confusion matrices: .svg or .png."),
    ] = None,
    cache: Annotated[
        Path, typer.Option(metavar="FILE", help="Keeps measured prosody between runs.")
    ] = Path("runs/starter/measures.json"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Tables as a document holds them.")
    ] = False,
) -> None:
    """Compare UGSD with the drafter alone, the verifier, and every other way of decoding.

    Runs on EMO-DB's test speakers, which come with the package, and on those of every corpus in
    --data. Reference captions are generated.
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
        raise EvaluationError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    if as_json and markdown:
        raise EvaluationError("--json and --markdown are two outputs: name one of them")
    if plot is not None:
        check_picture(plot)
    pair = evaluation.pair_of(drafter, verifier, home or ())
    clips = load_corpora(data)
    with shown_progress() as progress:
        result = evaluation.evaluate(
            clips, pair, norms=load_norms(), cache=cache, progress=progress, split=split,
            arms=arm, tune=tune, limit=limit, curves=plot is not None,
            probe=None if tune or limit else _probe(pair, clips, split, progress),
        )  # fmt: skip
    if plot is not None:
        draw_evaluation(plot, result.curves, result.confusions)
    if as_json:
        tell_json(json.dumps(evaluation.as_json(result), indent=1))
        return
    if markdown:
        tell_document(f"{as_markdown(result, split=split, limit=limit)}\n")
        return
    print_result(result, console(), split=split, limit=limit)
    if tune:
        tell_document(f"{ranking(result)}\n")


def _probe(
    pair: Pair, clips: Sequence[Clip], split: str, progress: Progress
) -> dict[str, str] | None:
    """What a probe of the drafter's evidence says, where all that the drafter knows is at hand."""
    from ugsd_sdk.drafter.onnx import AUDIO_ENCODER_GRAPH, find_file

    from ugsd_lab.evaluation.probe import probe_emotions

    own = [clip for clip in clips if clip.split == "train" and clip.corpus in pair.home]
    train = [clip for clip in own if clip.emotion is not None]
    if {clip.corpus for clip in train} != set(pair.home):
        return None
    heard = [clip for clip in clips if clip.split == split and clip.emotion]
    return probe_emotions(find_file(pair.drafter, AUDIO_ENCODER_GRAPH), train, heard, progress)


@_app.command(epilog="Example: ugsd-lab attack --data corpora")
def attack(
    data: _Data = None,
    drafter: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="starter, free, ceiling, or a folder.")
    ] = "starter",
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Compare ways of making states instead.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="EMO-DB and short training only: a first look.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the frontier: .svg or .png. Needs --frontier."),
    ] = None,
    disclosure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only what leaves under this one; may be repeated."),
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Keep the figures beside the drafter, for its users."),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keeps what the ears heard between runs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Tables as a document holds them.")
    ] = False,
) -> None:
    """Attack what leaves the device: who speaks, what sort of person, what was said, and what the
    network sees.

    On speakers whom neither the states' training nor the attackers knew, by the strongest of
    several attackers, beside the same attackers on what never leaves and on permuted labels.
    """
    from ugsd_lab.cli.attack import AttackOptions, disclosures_named, run

    asked = AttackOptions(
        data, drafter, cache, plot, frontier, quick, as_json, markdown,
        disclosures_named(disclosure or ()), write,
    )  # fmt: skip
    with shown_progress() as progress:
        result = run(asked, progress)
    result.show()


@_app.command(epilog="Example: ugsd-lab fuzz --seconds 60")
def fuzz(
    frames: Annotated[
        int | None, typer.Option(min=1, help="How many inputs.  [default: 100000]")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="For how long.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the messages and their faults.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read hostile frames, messages, records and manifests with every reader of them.

    Fails, and prints the bytes, where one raises an untyped error, takes more than a second, or
    memory out of proportion to its input.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.fuzz import printing
    from ugsd_lab.fuzz import run as fuzzing

    def report(done: int, found: int) -> None:
        if done % 10_000 == 0:
            tell(f"{done:,} inputs, {found} findings", err=True)

    if frames is None and seconds is None:
        frames = 100_000
    result = fuzzing.fuzz(frames=frames, seconds=seconds, seed=seed, progress=report)
    if as_json:
        tell_json(json.dumps(printing.as_json(result), indent=1))
    else:
        on = console()
        on.width = max(_TABLE_COLUMNS, on.width)
        printing.print_fuzzed(result, on)
    if result.findings:
        raise typer.Exit(1)


@_app.command(epilog="Example: ugsd-lab quality --data corpora")
def quality(
    data: _Data = None,
    drafter: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="starter, free, ceiling, or a folder.")
    ] = "starter",
    limit: Annotated[
        int, typer.Option(min=2, help="At most so many clips per speaker, half of that to check.")
    ] = 120,
    write: Annotated[
        bool,
        typer.Option("--write", help="Keep the figures beside the drafter, for its users."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Tables as a document holds them.")
    ] = False,
) -> None:
    """What each disclosure reaches at each threshold, on calibration speakers: risk, gain and cost,
    from which a target in the settings picks the least that leaves.

    Runs on EMO-DB's calibration speaker, who comes with the package, and on those of every corpus
    in --data.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.errors import EvaluationError
    from ugsd_lab.evaluation import pair_of
    from ugsd_lab.evaluation.risk_calibration import measure, write_quality
    from ugsd_lab.evaluation.risk_calibration_tables import as_markdown, print_quality

    if as_json and markdown:
        raise EvaluationError("--json and --markdown are two outputs: name one of them")
    pair = pair_of(drafter)
    named = f"ugsd-lab quality --drafter {drafter}" + ("" if data is None else " --data DIR")
    with shown_progress() as progress:
        found = measure(
            load_corpora(data), pair, command=f"{named} --limit {limit}", limit=limit,
            progress=progress,
        )  # fmt: skip
    if write:
        write_quality(found, pair.drafter)
    if as_json:
        tell_json(found.model_dump_json(indent=1))
    elif markdown:
        tell_document(f"{as_markdown(found)}\n")
    else:
        print_quality(found, console())


_CaptionSeed = Annotated[int, typer.Option(help="Decides the wording.")]


@_captions.command("show", epilog="Example: ugsd-lab captions show emodb/03a01Fa")
def captions_show(
    clip: Annotated[
        str, typer.Argument(metavar="CLIP", help="Id or name of a clip, or its recording.")
    ],
    data: _Data = None,
    seed: _CaptionSeed = 0,
    count: Annotated[int, typer.Option(min=5, max=100, help="How many captions.")] = 5,
    no_gender: Annotated[
        bool, typer.Option("--no-gender", help='Captions that speak of "the speaker".')
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What a clip's captions are made from: labels, measures, the levels that they have, and the
    captions."""
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
        tell_json(json.dumps(clip_sheet.as_json(sheet), indent=1))
        return
    on = console()
    on.width = max(_TABLE_COLUMNS, on.width)
    clip_sheet.print_sheet(sheet, on)


@_captions.command("audit", epilog="Example: ugsd-lab captions audit --data corpora")
def captions_audit(
    data: _Data = None,
    seed: _CaptionSeed = 0,
    cache: Annotated[
        Path, typer.Option(metavar="FILE", help="Keeps measured prosody between runs.")
    ] = Path("runs/starter/measures.json"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Read all references back: are they true, do they give nothing away, how much do they differ?

    Fails where a caption contradicts its labels or measures, is too short or long, speaks of
    gender when told not to, or holds a word of what was said.
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
        tell_json(json.dumps(caption_audit.as_json(result), indent=1))
    else:
        on = console()
        on.width = max(_TABLE_COLUMNS, on.width)
        caption_audit.print_audit(result, on)
    wrong = caption_audit.verdict(result)
    if wrong:
        tell_error("ugsd-lab", wrong)
        raise typer.Exit(1)
