"""``ugsd-lab train``: trains the starter pair and exports it to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_lab.cli.progress import shown_progress
from ugsd_lab.data.recipe import Recipe

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab train --data corpora --whisper whisper-base.safetensors")(
        train
    )


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
            help="Encoder of Whisper base: a safetensors file with the tensor names of "
            "Hugging Face Transformers.",
        ),
    ],
    work: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder of checkpoints and results; run again to resume."
        ),
    ] = Path("runs/starter"),
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 0,
    reader_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Training steps of a reader of the emotion.")
    ] = Recipe.reader_steps,
    decoder_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Training steps of the decoder.")
    ] = Recipe.decoder_steps,
    verifier_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Training steps of the verifier.")
    ] = Recipe.verifier_steps,
    copies: Annotated[
        int, typer.Option(min=0, metavar="N", help="Augmented copies of each training clip.")
    ] = Recipe.copies,
    ceiling: Annotated[
        bool, typer.Option("--ceiling", help="Also train a drafter on all corpora.")
    ] = False,
) -> None:  # fmt: skip
    """Train the drafters and their verifier.

    Also fits the rejection predictors, and exports all to ONNX. Resumes from the last checkpoint in
    --work. The same seed, steps and data give the same weights on the same machine with the same
    versions.
    """
    from ugsd_lab.training.starter import train_starter_pair

    recipe = Recipe(seed, copies, reader_steps, decoder_steps, verifier_steps)
    with shown_progress() as progress:
        folders = train_starter_pair(data, whisper, work, recipe, progress, ceiling=ceiling)
    print_line(*map(str, folders))
