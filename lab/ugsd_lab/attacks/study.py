"""Runs every attack on one drafter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, VOCABULARY_FILE, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks import embedder
from ugsd_lab.attacks.attributes import ATTRIBUTES, LANGUAGE, attack_attribute
from ugsd_lab.attacks.disclosures import EmbeddingDrafter
from ugsd_lab.attacks.encoder_outputs import EncoderOutputs, encode_clips
from ugsd_lab.attacks.findings import Finding, Report
from ugsd_lab.attacks.frames import attack_frames
from ugsd_lab.attacks.learning import FULL, QUICK, TrainingBudget
from ugsd_lab.attacks.observations import (
    EMBEDDING,
    Disclosures,
    Drafts,
    Enrolment,
    Observation,
    Tried,
    draft_clips,
)
from ugsd_lab.attacks.said import Measured, measure_clips
from ugsd_lab.attacks.speakers import attack_speakers
from ugsd_lab.attacks.unsent import attack_unsent, unsent_attributes
from ugsd_lab.attacks.voices import Fold, Voices, folds_of, folds_together
from ugsd_lab.data.corpora import CORPORA, Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress

__all__ = ["Target", "attack", "prepare"]


_FEW_SPEAKERS = 2
_COMPONENTS = 256
_DEFAULT: Disclosure = Settings.model_fields["disclosure"].default


@dataclass(frozen=True)
class Target:
    """The drafter under attack, with the audio embedding of every clip."""

    folder: Path
    in_domain: tuple[str, ...]
    """The corpora that it was trained on."""
    drafter: EmbeddingDrafter
    predictor: RejectionPredictor
    vocabulary: int
    """The number of token ids."""
    voices: Voices
    outputs: EncoderOutputs
    measured: Measured

    def folds(self) -> Mapping[str, list[Fold]]:
        """Return folds by corpus; corpora with fewer than two speakers to attack are left out."""
        found = {name: folds_of(self.voices, name, self.in_domain) for name in self.voices.corpora}
        return {name: folds for name, folds in found.items() if folds}

    def drafts(self, known: Enrolment, progress: Progress) -> Drafts:
        """Draft every clip with one enrolment."""
        return draft_clips(
            self.drafter, self.voices, self.measured, self.outputs.embeddings, known, progress
        )


def prepare(
    clips: Sequence[Clip],
    folder: Path,
    in_domain: Sequence[str],
    cache: Path | None,
    progress: Progress,
) -> Target:
    """Encode the clips of the bundled pair's corpora with the audio encoder of the drafter in
    ``folder``.

    Raises :class:`EvaluationError` if there is no speaker to attack, and :class:`ModelError` if
    there is no drafter.
    """
    torch.set_num_threads(1)  # small products: more threads are slower
    voices = Voices([clip for clip in clips if clip.corpus in CORPORA])
    if not len(voices):
        raise EvaluationError(
            f"found no clips of {', '.join(CORPORA)}: name their folder with --data"
        )
    drafter = OnnxDrafter(folder)
    drafter.load()
    outputs = encode_clips(
        DrafterBundle(folder).find(AUDIO_ENCODER_GRAPH), voices.clips, cache, progress
    )
    pieces = json.loads(DrafterBundle(folder).find(VOCABULARY_FILE).read_bytes())
    predictor = RejectionPredictor.load(folder / "gate.json")
    beside = None if cache is None else cache.with_name(f"prosody-{cache.stem}.json")
    measured = measure_clips(voices, beside, progress)
    return Target(
        folder, tuple(in_domain), drafter, predictor, len(pieces), voices, outputs, measured
    )


def attack(
    target: Target,
    progress: Progress,
    *,
    disclosures: Sequence[Disclosure] = tuple(Disclosure),
    quick: bool = False,
    sigma: float | None = None,
) -> Report:
    """Attack speakers, attributes and content, from the audio embedding and from what is sent at
    each disclosure level, with noise of ``sigma`` clip norms on states, or none."""
    known, effort = _enrolments(quick=quick), QUICK if quick else FULL
    embedding = Observation(EMBEDDING, "", {EMBEDDING: _reduced(target.outputs.embeddings)})
    study = _Study(target, effort, progress)
    findings = study.findings(embedding, None)
    notes = list(_notes(target, sigma))
    for number, one in enumerate(known):
        levels = [_DEFAULT] if quick or number else disclosures
        disclosed = target.drafts(one, progress).disclosed(levels, sigma=sigma)
        for level in levels:
            seen = disclosed.observation(level, target.vocabulary)
            findings += study.findings(seen, disclosed)
    weights = embedder.find_weights()
    if weights is None:
        notes.append(embedder.HOW_TO_GET_IT)
    elif not quick:
        findings += _embedded(target, weights, progress)
    return Report(target.folder.name, target.in_domain, tuple(findings), tuple(notes), quick, sigma)


def _reduced(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the leading principal components (n, d) of (n, E) embeddings, which hold nearly all of
    their variance, so that the attackers learn as much in less time."""
    size = min(_COMPONENTS, *embeddings.shape)
    centred = embeddings - embeddings.mean(axis=0)
    torch.manual_seed(0)
    _, _, basis = torch.pca_lowrank(torch.from_numpy(centred), size, center=False, niter=2)
    reduced: NDArray[np.float32] = centred @ basis.numpy()
    return reduced


def _enrolments(*, quick: bool) -> list[Enrolment]:
    """Return the enrolments to attack. The first is the device's own: a stream of captions from
    minimum enrolment on; it is attacked at every disclosure level, the others at the default one.
    Then an unenrolled speaker, and the worst case: the profile stays at minimum enrolment."""
    least = Settings().min_enrolment
    running, unenrolled = Enrolment(least, "running"), Enrolment(0)
    return [running, unenrolled] if quick else [running, unenrolled, Enrolment(least, "at once")]


@dataclass
class _Study:
    """Runs the attacks on observations, and on equal ones of one enrolment only once."""

    target: Target
    effort: TrainingBudget
    progress: Progress
    _found: dict[tuple[str, bytes], list[Finding]] = field(default_factory=dict)
    _tried: Tried = field(default_factory=Tried)

    def findings(self, seen: Observation, disclosed: Disclosures | None) -> list[Finding]:
        key = seen.profile, seen.digest
        if key not in self._found:
            self._found[key] = self._attacked(seen, disclosed)
        return [replace(one, seen=seen.name) for one in self._found[key]]

    def _attacked(self, seen: Observation, disclosed: Disclosures | None) -> list[Finding]:
        voices, folds, effort = self.target.voices, self.target.folds(), self.effort
        mels = self.target.outputs.mels
        tried = self._tried
        stage = f"attacking {seen.name}" + (f", profile {seen.profile}" if seen.profile else "")
        findings: list[Finding] = []
        for done, (corpus, own) in enumerate(folds.items(), 1):
            findings += attack_speakers(voices, corpus, own, seen, effort=effort, tried=tried)
            for attribute in ATTRIBUTES:
                if attribute != LANGUAGE:
                    findings += attack_attribute(
                        voices, attribute, corpus, own, seen, effort=effort, tried=tried
                    )
            findings += attack_frames(voices, corpus, own, seen, mels, effort=effort, tried=tried)
            if disclosed is not None:
                sent = disclosed.sent[Disclosure(seen.name)]
                findings += attack_unsent(
                    voices, corpus, own, seen, unsent_attributes(disclosed.said, sent),
                    np.array([one.get(Slot.EMOTION, "") for one in sent]),
                    effort=effort, tried=tried,
                )  # fmt: skip
            self.progress(stage, done, len(folds), corpus)
        together = folds_together(list(folds.values()))
        return findings + attack_attribute(voices, LANGUAGE, "all", together, seen, effort=effort)


def _embedded(target: Target, weights: Path, progress: Progress) -> list[Finding]:
    """Attack the recordings themselves with the independent embedder."""
    folds = target.folds()
    rows = np.unique(np.concatenate([f.test for some in folds.values() for f in some]))
    embedded = np.zeros((len(target.voices), 256), dtype=np.float32)
    embedded[rows] = embedder.embed_clips(
        weights, [target.voices.clips[row] for row in rows], progress
    )
    seen = Observation("recording", "", {embedder.EMBEDDER: embedded})
    return [
        finding
        for corpus, some in folds.items()
        for finding in attack_speakers(target.voices, corpus, some, seen, attackers=["cosine"])
    ]


def _notes(target: Target, sigma: float | None) -> Iterator[str]:
    out_of_domain = [name for name in target.voices.corpora if name not in target.in_domain]
    yield (
        "Only speakers unknown to the states' training and to the attacker are attacked: in-domain "
        f"({', '.join(target.in_domain)}) the test speakers"
        + (
            f"; out-of-domain ({', '.join(out_of_domain)}) all speakers, in folds."
            if out_of_domain
            else "."
        )
    )
    yield (
        "Every caption asks its question, which is about the emotion alone. Each row shows the "
        "strongest attacker and reading tried."
    )
    yield (
        "Attributes drafted, not sent: what the longest caption says besides; chance is to guess "
        "from the emotion alone, which is sent."
    )
    if sigma is not None:
        yield f"States have noise of {sigma:g} clip norms, as the device sends them."
    for name, folds in target.folds().items():
        speakers = len(set(target.voices.speaker[np.concatenate([f.test for f in folds])].tolist()))
        if speakers <= _FEW_SPEAKERS:
            yield (
                f"{name}: {speakers} speakers. Two people differ in everything at once, so the "
                "figures say little about other people and have no meaningful intervals."
            )
