"""``ugsd-lab train``: makes the bundled models, from recordings to the packages' files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_FOLDER

from ugsd_lab.data.corpora import CORPORA, Clip, load_corpora
from ugsd_lab.data.prosody import Norms, measure_all
from ugsd_lab.data.recipe import CEILING, DRAFTERS, PROJECTIONS, SHARE_ALIKE, Recipe
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.errors import TrainingError
from ugsd_lab.models.audio_encoder import AudioEncoder
from ugsd_lab.models.embeddings import Progress, embed_clips, embed_parts
from ugsd_lab.models.export import (
    OodScore,
    export_audio_encoder,
    export_drafter,
    export_verifier,
    list_file,
)
from ugsd_lab.models.voice import VoiceProjection
from ugsd_lab.training.caption_decoder import train_decoder
from ugsd_lab.training.corpus import Corpus, Projection
from ugsd_lab.training.emotion_reader import train_reader
from ugsd_lab.training.emotion_temperature import CalibratedDrafter, fit_temperatures
from ugsd_lab.training.rejection_predictor import fit_rejection_predictors
from ugsd_lab.training.state_reading import write_state_readings
from ugsd_lab.training.verifier import train_verifier

__all__ = [
    "IN_DOMAIN_CORPORA",
    "NORMS_FILE",
    "STARTER_DRAFTER",
    "VERIFIER_FOLDER",
    "load_norms",
    "train_starter_pair",
]


_VERIFIER_THREADS = 2
NORMS_FILE = "norms.json"
STARTER_DRAFTER = Path(str(files("ugsd_sdk").joinpath("starter")))
"""The folder of the bundled drafter; the free one's is beside it."""
IN_DOMAIN_CORPORA = DRAFTERS["starter"].corpora
VERIFIER_FOLDER = "verifier"


def load_norms() -> Norms:
    """Return the prosody norms that the bundled models were trained with."""
    text = files("ugsd_lab.data").joinpath(NORMS_FILE).read_text("utf-8")
    return Norms({key: (low, high) for key, (low, high) in json.loads(text).items()})


def train_starter_pair(
    data: Path,
    whisper: Path,
    work: Path,
    recipe: Recipe,
    progress: Progress,
    *,
    ceiling: bool = False,
) -> list[Path]:
    """Train, calibrate and export the drafters and their verifier; return their folders below
    ``work``, in which the drafters also share a folder ``audio_encoder``.

    Every stage stores its result in ``work`` and is skipped or resumed when it runs again with the
    same recipe. Raises :class:`TrainingError` if a corpus is missing or the recipe has changed.
    """
    torch.set_num_threads(1)  # small products: more threads are slower
    clips = [clip for clip in load_corpora(data) if clip.corpus in CORPORA]
    missing = set(CORPORA) - {clip.corpus for clip in clips}
    if missing:
        raise TrainingError(
            f"the starter pair needs the corpora {', '.join(sorted(missing))} in {data}: copy them "
            "there"
        )
    work.mkdir(parents=True, exist_ok=True)
    _same_recipe(work / "recipe.json", recipe)

    measures = measure_all(
        clips, work / "measures.json", lambda done, of: progress("measuring", done, of, "")
    )
    norms = Norms.fit(clips, measures)
    (work / NORMS_FILE).write_text(json.dumps(norms.borders, indent=1, sort_keys=True) + "\n")
    embeddings = embed_clips(clips, recipe.copies, whisper, work / "embeddings.npz", progress)
    corpus = Corpus(clips, embeddings, measures, norms)
    vocabulary = Vocabulary.build()
    projections = _projections(corpus, whisper, work / "parts.npz", progress)

    wanted = [name for name in DRAFTERS if ceiling or name != CEILING]
    readers = {
        name: train_reader(
            corpus, DRAFTERS[name].corpora, projections[DRAFTERS[name].projected], name=name,
            steps=max(1, round(DRAFTERS[name].steps * recipe.reader_steps)), seed=recipe.seed,
            checkpoint=work / f"{name}.pt", progress=progress,
        )
        for name in wanted
    }  # fmt: skip
    decoder = train_decoder(
        vocabulary, steps=recipe.decoder_steps, seed=recipe.seed,
        checkpoint=work / "decoder.pt", progress=progress,
    )  # fmt: skip
    bundled = [name for name in DRAFTERS if name != CEILING]
    sources = {DRAFTERS[name].projected: readers[name] for name in reversed(bundled)}
    read = [sources[projected] for projected in PROJECTIONS]
    torch.set_num_threads(_VERIFIER_THREADS)  # a fixed number, since it changes the sums
    verifier = train_verifier(
        corpus, CORPORA, vocabulary, read,
        steps=recipe.verifier_steps, seed=recipe.seed, checkpoint=work / "verifier.pt",
        progress=progress,
    )  # fmt: skip

    encoder = AudioEncoder.from_whisper(whisper)
    export_audio_encoder(work / AUDIO_ENCODER_FOLDER, encoder)
    calibrated = {
        name: CalibratedDrafter(
            reader,
            OodScore.fit(
                corpus.clean_embeddings[corpus.rows(DRAFTERS[name].corpora, "train")],
                encoder.deepest_means,
            ),
            DRAFTERS[name].corpora,
        )
        for name, reader in readers.items()
    }
    temperatures = fit_temperatures(corpus, calibrated, bundled)
    for name, one in calibrated.items():
        export_drafter(
            work / name, name=name, licence=DRAFTERS[name].licence, reader=one.reader,
            decoder=decoder, ood_score=one.ood_score,
            temperature=(temperatures[name].level, temperatures[name].slope),
            vocabulary=vocabulary,
            voice=VoiceProjection.fit(clips, corpus.clean_embeddings, one.corpora),
        )  # fmt: skip
    export_verifier(
        work / VERIFIER_FOLDER, name="starter", licence=SHARE_ALIKE, verifier=verifier,
        readers=read, vocabulary=vocabulary,
    )  # fmt: skip
    _calibrate(work, clips, list(readers), progress)
    # What is learnt from the verifier has its licence, and no place in a freer drafter.
    alike = [name for name in readers if DRAFTERS[name].licence == SHARE_ALIKE]
    write_state_readings(
        work, work / VERIFIER_FOLDER, alike, clips, corpus.clean_embeddings, progress
    )
    return [*(work / name for name in wanted), work / VERIFIER_FOLDER]


def _projections(
    corpus: Corpus, whisper: Path, cache: Path, progress: Progress
) -> dict[tuple[str, ...], Projection]:
    """Return the projections of states by the corpora that they are fitted on."""
    every = corpus.rows(sorted({name for one in PROJECTIONS for name in one}), "train")
    parts = embed_parts([corpus.clips[i] for i in every], whisper, cache, progress)
    return {
        projected: Projection.fit(corpus, every[own], parts[own])
        for projected in PROJECTIONS
        for own in [np.isin([corpus.clips[i].corpus for i in every], projected)]
    }


def _calibrate(work: Path, clips: list[Clip], drafters: Sequence[str], progress: Progress) -> None:
    held_out = [clip for clip in clips if clip.split == "calibration"]
    in_domain = {name: DRAFTERS[name].corpora for name in drafters}
    fits = fit_rejection_predictors(work, work / VERIFIER_FOLDER, held_out, in_domain, progress)
    for name, fit in fits.items():
        path = work / name / "gate.json"
        path.write_text(json.dumps({"format": 2, **fit.as_dict()}, indent=1) + "\n")
        list_file(work / name, path.name)


def _same_recipe(path: Path, recipe: Recipe) -> None:
    wanted = json.dumps(asdict(recipe))
    if path.exists() and path.read_text() != wanted:
        raise TrainingError(
            f"{path.parent} holds a training run with {path.read_text()}; name another --work, or "
            "delete it to start again"
        )
    path.write_text(wanted)
