"""``ugsd-lab claims``: judges captions by what they claim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_document
from ugsd_sdk.attributes.length import CaptionLength

from ugsd_lab.cli.options import DataFolder, DrafterName, MeasuresFile
from ugsd_lab.cli.progress import shown_progress

if TYPE_CHECKING:
    from ugsd_lab.evaluation.claim_study import CaptionSource

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab claims --data corpora --length rich")(claims)


def claims(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Speakers: dev for choices, test for tables.")
    ] = "test",
    length: Annotated[
        list[CaptionLength] | None,
        typer.Option(
            metavar="NAME",
            help="Length of the captions: short, normal or rich; may be repeated.  [default: all]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most N clips of each speaker."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed of the wording.")] = 0,
    human_captions: Annotated[
        Path | None,
        typer.Option(
            "--human-captions", metavar="FILE", exists=True, dir_okay=False,
            help="Compare with captions by people instead: SECap's .json, EMER's or OV-MERD's "
            ".csv, or a .tsv.",
        ),
    ] = None,
    human_audio: Annotated[
        Path | None,
        typer.Option(
            "--human-audio", metavar="DIR", exists=True, file_okay=False,
            help="Folder of their recordings.",
        ),
    ] = None,
    cache: MeasuresFile = Path("runs/starter/measures.json"),
) -> None:  # fmt: skip
    """Judge captions by what they claim.

    Checks each claim against the label or an independent measurement, and prints Markdown tables.
    Runs without a verifier on EMO-DB's test speakers, which come with the package, and on those of
    every corpus in --data.
    """
    from ugsd_sdk import Captioner

    from ugsd_lab.data.corpora import SPLITS
    from ugsd_lab.errors import EvaluationError
    from ugsd_lab.evaluation.pairs import pair_of

    if split not in SPLITS:
        raise EvaluationError(f"--split: no split {split!r}; there are {', '.join(SPLITS)}")
    lengths = tuple(dict.fromkeys(length or CaptionLength))
    if (human_captions is None) != (human_audio is None):
        raise EvaluationError("--human-captions and --human-audio belong together: give both")
    pair = pair_of(drafter)
    with Captioner(pair.drafter) as captioner:
        if human_captions is not None and human_audio is not None:
            text = _human(captioner, human_captions, human_audio, lengths, limit, seed)
        else:
            text = _study(captioner, drafter, data, split, lengths, limit, seed, cache)
    print_document(f"{text}\n")


def _human(
    captioner: CaptionSource,
    file: Path,
    audio: Path,
    lengths: tuple[CaptionLength, ...],
    limit: int | None,
    seed: int,
) -> str:
    from ugsd_lab.data.human_captions import read_human_captions
    from ugsd_lab.evaluation.claim_printing import human_markdown
    from ugsd_lab.evaluation.human_agreement import human_agreement

    captions = read_human_captions(file, audio, limit=limit)
    with shown_progress() as progress:
        return human_markdown(
            human_agreement(captioner, captions, progress, length=lengths[-1], seed=seed)
        )


def _study(
    captioner: CaptionSource,
    drafter: str,
    data: Path | None,
    split: str,
    lengths: tuple[CaptionLength, ...],
    limit: int | None,
    seed: int,
    cache: Path,
) -> str:
    from ugsd_sdk.prosody.norms import load_norms

    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.data.prosody import measure_all
    from ugsd_lab.evaluation import claim_study
    from ugsd_lab.evaluation.claim_printing import as_markdown
    from ugsd_lab.evaluation.claim_truth import LevelBorders
    from ugsd_lab.evaluation.pairs import pair_of

    pair = pair_of(drafter)
    clips = claim_study.clips_of(load_corpora(data), split, limit)
    with shown_progress() as progress:
        measures = measure_all(clips, cache, lambda done, of: progress("measuring", done, of, ""))
        prosodies = claim_study.independent_prosodies(clips, measures, progress)
        truth = claim_study.truths(clips, prosodies, LevelBorders.of(load_norms()))
        captions = claim_study.captioned_clips(
            captioner, clips, truth, progress, lengths=lengths, seed=seed
        )
    study = claim_study.study_of(captions)
    domains = {clip.corpus: pair.domain_of(clip.corpus) for clip in clips}
    return as_markdown(study, domains, split=split, limit=limit)
