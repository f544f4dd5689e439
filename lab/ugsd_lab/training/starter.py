"""``ugsd-lab train``: makes the bundled models, from recordings to the packages' files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_FOLDER

from ugsd_lab.data.captions import references
from ugsd_lab.data.corpora import CORPORA, Clip, load_corpora
from ugsd_lab.data.prosody import Norms, measure_all
from ugsd_lab.data.recipe import CEILING, DRAFTERS, PROJECTED, SHARE_ALIKE, Recipe
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
from ugsd_lab.models.networks import DrafterDecoder
from ugsd_lab.training.rejection_predictor import fit_rejection_predictors
from ugsd_lab.training.train import (
    Corpus,
    Projection,
    draft_all,
    train_drafter,
    train_verifier,
)

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
    ``work``, in which the drafters also share a folder ``ears``, the audio encoder.

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
    embeddings = embed_clips(clips, recipe.copies, whisper, work / "heard.npz", progress)
    corpus = Corpus(clips, embeddings, measures, norms)
    vocabulary = _vocabulary(work / "tokenizer.json", clips, corpus)
    projected = corpus.rows(PROJECTED, "train")
    parts = embed_parts([clips[i] for i in projected], whisper, work / "parts.npz", progress)
    projection = Projection.fit(corpus, projected, parts)

    wanted = [name for name in DRAFTERS if ceiling or name != CEILING]
    drafters = {
        name: train_drafter(
            corpus, DRAFTERS[name].corpora, vocabulary, projection, name=name,
            steps=max(1, round(DRAFTERS[name].steps * recipe.drafter_steps)), seed=recipe.seed,
            checkpoint=work / f"{name}.pt", progress=progress,
        )
        for name in wanted
    }  # fmt: skip
    bundled = [name for name in DRAFTERS if name != CEILING]
    drafts = {
        name: draft_all(
            drafters[name], corpus, CORPORA, vocabulary, seed=recipe.seed,
            cache=work / f"{name}-drafts.json", progress=progress,
        )
        for name in bundled
    }  # fmt: skip
    torch.set_num_threads(_VERIFIER_THREADS)  # a fixed number, since it changes the sums
    verifier = train_verifier(
        corpus, CORPORA, vocabulary, [(drafters[name], drafts[name]) for name in bundled],
        steps=recipe.verifier_steps, seed=recipe.seed, checkpoint=work / "verifier.pt",
        progress=progress,
    )  # fmt: skip

    export_audio_encoder(work / AUDIO_ENCODER_FOLDER, AudioEncoder.from_whisper(whisper))
    for name, drafter in drafters.items():
        in_domain = corpus.clean_embeddings[corpus.rows(DRAFTERS[name].corpora, "train")]
        export_drafter(
            work / name, name=name, licence=DRAFTERS[name].licence, drafter=drafter,
            ood_score=OodScore.fit(in_domain), vocabulary=vocabulary,
        )  # fmt: skip
    export_verifier(
        work / VERIFIER_FOLDER, name="starter", licence=SHARE_ALIKE, verifier=verifier,
        drafter=drafters["starter"], vocabulary=vocabulary,
    )  # fmt: skip
    _calibrate(work, clips, drafters, progress)
    return [*(work / name for name in wanted), work / VERIFIER_FOLDER]


def _vocabulary(path: Path, clips: list[Clip], corpus: Corpus) -> Vocabulary:
    if not path.exists():
        captions = (
            text
            for clip in clips
            if clip.split == "train"
            for text in references(
                clip, corpus.norms.levels(clip, corpus.measures[clip.id]), gender=False
            )
        )
        Vocabulary.train(captions).save(path)
    return Vocabulary.load(path)


def _calibrate(
    work: Path, clips: list[Clip], drafters: Mapping[str, DrafterDecoder], progress: Progress
) -> None:
    held_out = [clip for clip in clips if clip.split == "calibration"]
    in_domain = {name: DRAFTERS[name].corpora for name in drafters}
    fits = fit_rejection_predictors(work, work / VERIFIER_FOLDER, held_out, in_domain, progress)
    for name, fit in fits.items():
        path = work / name / "gate.json"
        path.write_text(json.dumps({"format": 1, **asdict(fit)}, indent=1) + "\n")
        list_file(work / name, path.name)


def _same_recipe(path: Path, recipe: Recipe) -> None:
    wanted = json.dumps(asdict(recipe))
    if path.exists() and path.read_text() != wanted:
        raise TrainingError(
            f"{path.parent} holds a training run with {path.read_text()}; name another --work, or "
            "delete it to start again"
        )
    path.write_text(wanted)
