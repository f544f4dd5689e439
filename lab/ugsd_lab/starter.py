"""``ugsd-lab train``: the starter pair, from recordings to the files that the packages carry."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from ugsd_lab.captions import references
from ugsd_lab.corpora import CORPORA, Clip, load_corpora
from ugsd_lab.ears import Ears
from ugsd_lab.errors import TrainingError
from ugsd_lab.export import Novelty, export_drafter, export_verifier, list_file
from ugsd_lab.gate import Gate, fit_gate
from ugsd_lab.models import DrafterDecoder, VerifierModel
from ugsd_lab.prosody import Norms, measure_all
from ugsd_lab.training import Corpus, Progress, extract_all, train_drafter, train_verifier
from ugsd_lab.vocabulary import Vocabulary

__all__ = [
    "HOME_CORPORA",
    "NORMS_FILE",
    "STARTER_DRAFTER",
    "Recipe",
    "load_norms",
    "train_starter_pair",
]

HOME_CORPORA = ("ravdess", "emodb")
"""What the starter drafter is trained on; everything else is away from home."""

NORMS_FILE = "norms.json"
STARTER_DRAFTER = Path(str(files("ugsd_sdk").joinpath("starter")))
"""The folder of the bundled drafter."""
WEIGHTS_LICENCE = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, beside the data."""

    seed: int = 0
    drafter_steps: int = 3000
    verifier_steps: int = 1500


def load_norms() -> Norms:
    """The prosody norms that the bundled pair was trained with."""
    text = files("ugsd_lab").joinpath(NORMS_FILE).read_text("utf-8")
    return Norms({key: (low, high) for key, (low, high) in json.loads(text).items()})


def train_starter_pair(
    data: Path, whisper: Path, work: Path, recipe: Recipe, progress: Progress
) -> tuple[Path, Path]:
    """Train, calibrate and export; returns the drafter's and the verifier's folder below ``work``.

    Every stage keeps its result in ``work`` and is skipped or resumed when run again with the same
    recipe. Raises :class:`TrainingError` where a corpus is missing or the recipe has changed.
    """
    work.mkdir(parents=True, exist_ok=True)
    _same_recipe(work / "recipe.json", recipe)
    torch.set_num_threads(1)  # small products: more threads are slower, and would change the sums
    clips = load_corpora(data)
    missing = set(CORPORA) - {clip.corpus for clip in clips}
    if missing:
        raise TrainingError(f"the starter pair needs {', '.join(sorted(missing))} in {data}")

    measures = measure_all(
        clips, work / "measures.json", lambda done, of: progress("measuring", done, of, "")
    )
    norms = Norms.fit(clips, measures)
    (work / NORMS_FILE).write_text(json.dumps(norms.quartiles, indent=1, sort_keys=True) + "\n")
    evidence = extract_all(clips, whisper, work / "evidence.npz", progress)
    corpus = Corpus(clips, evidence, measures, norms)
    vocabulary = _vocabulary(work / "tokenizer.json", clips, corpus)

    drafter = train_drafter(
        corpus, HOME_CORPORA, vocabulary,
        steps=recipe.drafter_steps, seed=recipe.seed, checkpoint=work / "drafter.pt",
        progress=progress,
    )  # fmt: skip
    verifier = train_verifier(
        corpus, CORPORA, vocabulary, drafter,
        steps=recipe.verifier_steps, seed=recipe.seed, checkpoint=work / "verifier.pt",
        progress=progress,
    )  # fmt: skip
    return _export(work, whisper, corpus, vocabulary, drafter, verifier, progress)


def _vocabulary(path: Path, clips: list[Clip], corpus: Corpus) -> Vocabulary:
    if not path.exists():
        captions = (
            text
            for clip in clips
            if clip.split == "train"
            for text in references(clip, corpus.norms.levels(clip, corpus.measures[clip.id]))
        )
        Vocabulary.train(captions).save(path)
    return Vocabulary.load(path)


def _export(
    work: Path,
    whisper: Path,
    corpus: Corpus,
    vocabulary: Vocabulary,
    drafter: DrafterDecoder,
    verifier: VerifierModel,
    progress: Progress,
) -> tuple[Path, Path]:
    at_drafter, at_verifier = work / "drafter", work / "verifier"
    export_drafter(
        at_drafter,
        name="starter",
        licence=WEIGHTS_LICENCE,
        ears=Ears.from_whisper(whisper),
        drafter=drafter,
        novelty=Novelty.fit(corpus.evidence[corpus.rows(HOME_CORPORA, "train")]),
        vocabulary=vocabulary,
    )
    export_verifier(
        at_verifier,
        name="starter",
        licence=WEIGHTS_LICENCE,
        verifier=verifier,
        drafter=drafter,
        vocabulary=vocabulary,
    )
    rows = np.sort(corpus.rows(HOME_CORPORA, "calibration"))
    gate = fit_gate(at_drafter, at_verifier, [corpus.clips[i] for i in rows], progress)
    _write_gate(at_drafter / "gate.json", gate)
    list_file(at_drafter, "gate.json")
    return at_drafter, at_verifier


def _write_gate(path: Path, gate: Gate) -> None:
    path.write_text(json.dumps({"format": 1, **asdict(gate)}, indent=1) + "\n")


def _same_recipe(path: Path, recipe: Recipe) -> None:
    wanted = json.dumps(asdict(recipe))
    if path.exists() and path.read_text() != wanted:
        raise TrainingError(
            f"{path.parent} holds a training with {path.read_text()}; name another --work, or "
            "delete it to start again"
        )
    path.write_text(wanted)
