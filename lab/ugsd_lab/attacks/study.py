"""Runs every attack on one drafter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, VOCABULARY_FILE, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks import embedder
from ugsd_lab.attacks.attributes import ATTRIBUTES, LANGUAGE, attack_attribute
from ugsd_lab.attacks.content import attack_frames, attack_unsent, unsent_attributes
from ugsd_lab.attacks.disclosures import EmbeddingDrafter
from ugsd_lab.attacks.encoder_outputs import EncoderOutputs, encode_clips
from ugsd_lab.attacks.findings import Finding, Report
from ugsd_lab.attacks.learning import FULL, QUICK, TrainingBudget
from ugsd_lab.attacks.observations import EMBEDDING, Disclosures, Enrolment, Observation, disclose
from ugsd_lab.attacks.speakers import attack_speakers
from ugsd_lab.attacks.voices import Fold, Voices, folds_of, folds_together
from ugsd_lab.data.corpora import CORPORA, Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress

__all__ = ["Target", "attack", "prepare"]


_FEW_SPEAKERS = 2
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

    def folds(self) -> Mapping[str, list[Fold]]:
        """Return folds by corpus; corpora with fewer than two speakers to attack are left out."""
        found = {name: folds_of(self.voices, name, self.in_domain) for name in self.voices.corpora}
        return {name: folds for name, folds in found.items() if folds}


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
    return Target(folder, tuple(in_domain), drafter, predictor, len(pieces), voices, outputs)


def attack(
    target: Target,
    progress: Progress,
    *,
    disclosures: Sequence[Disclosure] = tuple(Disclosure),
    quick: bool = False,
) -> Report:
    """Attack speakers, attributes and content, from the audio embedding and from what is sent at
    each disclosure level."""
    known, effort = _enrolments(quick=quick), QUICK if quick else FULL
    embedding = Observation(EMBEDDING, "", {EMBEDDING: target.outputs.embeddings})
    findings: list[Finding] = []
    notes = list(_notes(target))
    for seen, disclosed in (
        (embedding, None),
        *_observations(target, known, [_DEFAULT] if quick else disclosures, progress),
    ):
        findings += _run_attacks(target, seen, disclosed, effort, progress)
    weights = embedder.find_weights()
    if weights is None:
        notes.append(embedder.HOW_TO_GET_IT)
    elif not quick:
        findings += _embedded(target, weights, progress)
    return Report(target.folder.name, target.in_domain, tuple(findings), tuple(notes), quick)


def _enrolments(*, quick: bool) -> list[Enrolment]:
    """Return the enrolments to attack. The first is the device's own: a stream of captions from
    minimum enrolment on. Then an unenrolled speaker, and the worst case: the profile stays at
    minimum enrolment."""
    least = Settings().min_enrolment
    running, unenrolled = Enrolment(least, "running"), Enrolment(0)
    return [running, unenrolled] if quick else [running, unenrolled, Enrolment(least, "at once")]


def _observations(
    target: Target,
    known: Sequence[Enrolment],
    disclosures: Sequence[Disclosure],
    progress: Progress,
) -> Iterator[tuple[Observation, Disclosures]]:
    """Yield every disclosure level with the first enrolment, and the default one with the
    others."""
    for number, one in enumerate(known):
        every = disclosures if number == 0 else [_DEFAULT]
        disclosed = disclose(
            target.drafter,
            target.predictor,
            target.voices,
            target.outputs.embeddings,
            one,
            every,
            progress,
        )
        for disclosure in every:
            yield disclosed.observation(disclosure, target.vocabulary), disclosed


def _run_attacks(
    target: Target,
    seen: Observation,
    disclosed: Disclosures | None,
    effort: TrainingBudget,
    progress: Progress,
) -> list[Finding]:
    voices, folds = target.voices, target.folds()
    stage = f"attacking {seen.name}" + (f", profile {seen.profile}" if seen.profile else "")
    findings: list[Finding] = []
    for done, (corpus, own) in enumerate(folds.items(), 1):
        findings += attack_speakers(voices, corpus, own, seen, effort=effort)
        for attribute in ATTRIBUTES:
            if attribute != LANGUAGE:
                findings += attack_attribute(voices, attribute, corpus, own, seen, effort=effort)
        findings += attack_frames(voices, corpus, own, seen, target.outputs.mels, effort=effort)
        progress(stage, done, len(folds), corpus)
    if disclosed is not None:
        findings += _unsent(target, Disclosure(seen.name), disclosed, effort)
    together = folds_together(list(folds.values()))
    return findings + attack_attribute(voices, LANGUAGE, "all", together, seen, effort=effort)


def _unsent(
    target: Target, disclosure: Disclosure, disclosed: Disclosures, effort: TrainingBudget
) -> list[Finding]:
    """Attack what was drafted but not sent because the verifier continued after the first block."""
    seen = disclosed.observation(disclosure, target.vocabulary, first_only=True)
    unsent = unsent_attributes(
        [target.drafter.text(draft) for draft in disclosed.drafts],
        [target.drafter.text(clip.tokens) for clip in disclosed.disclosed_first[disclosure]],
    )
    return [
        finding
        for corpus, folds in target.folds().items()
        for finding in attack_unsent(target.voices, corpus, folds, seen, unsent, effort=effort)
    ]


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


def _notes(target: Target) -> Iterator[str]:
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
        "Every caption escalates, and the verifier accepts every block without continuing, so "
        "every doubtful block is sent. Each row shows the strongest attacker and reading tried."
    )
    for name, folds in target.folds().items():
        speakers = len(set(target.voices.speaker[np.concatenate([f.test for f in folds])].tolist()))
        if speakers <= _FEW_SPEAKERS:
            yield (
                f"{name}: {speakers} speakers. Two people differ in everything at once, so the "
                "figures say little about other people and have no meaningful intervals."
            )
