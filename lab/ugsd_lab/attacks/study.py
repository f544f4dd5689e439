"""Every attack on one drafter, in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.onnx import AUDIO_ENCODER_GRAPH, VOCABULARY_FILE, OnnxDrafter, find_file
from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks import embedder
from ugsd_lab.attacks.attributes import ATTRIBUTES, LANGUAGE, attack_attribute
from ugsd_lab.attacks.content import attack_frames, attack_unsent, unsent_facts
from ugsd_lab.attacks.disclosures import Reader
from ugsd_lab.attacks.encoder_outputs import EncoderOutputs, listen
from ugsd_lab.attacks.findings import Finding, Report
from ugsd_lab.attacks.learning import FULL, QUICK, TrainingBudget
from ugsd_lab.attacks.observations import EVIDENCE, Disclosures, Enrolment, Observation, disclose
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
    """The drafter under attack, its ears having heard every clip."""

    folder: Path
    home: tuple[str, ...]
    """The corpora that it was trained on."""
    reader: Reader
    gate: RejectionPredictor
    vocabulary: int
    """How many token ids there are."""
    voices: Voices
    heard: EncoderOutputs

    def folds(self) -> Mapping[str, list[Fold]]:
        """By corpus; those without two speakers to attack are left out."""
        found = {name: folds_of(self.voices, name, self.home) for name in self.voices.corpora}
        return {name: folds for name, folds in found.items() if folds}


def prepare(
    clips: Sequence[Clip],
    folder: Path,
    home: Sequence[str],
    cache: Path | None,
    progress: Progress,
) -> Target:
    """Listen to the clips of the bundled pair's corpora with the ears of the drafter in ``folder``.

    Raises :class:`EvaluationError` where there is nobody to attack, and :class:`ModelError` where
    there is no drafter.
    """
    torch.set_num_threads(1)  # small products: more threads are slower
    voices = Voices([clip for clip in clips if clip.corpus in CORPORA])
    if not len(voices):
        raise EvaluationError(f"no clips of {', '.join(CORPORA)}: name another --data")
    reader = OnnxDrafter(folder)
    reader.load()
    heard = listen(find_file(folder, AUDIO_ENCODER_GRAPH), voices.clips, cache, progress)
    pieces = json.loads(find_file(folder, VOCABULARY_FILE).read_bytes())
    gate = RejectionPredictor.load(folder / "gate.json")
    return Target(folder, tuple(home), reader, gate, len(pieces), voices, heard)


def attack(
    target: Target,
    progress: Progress,
    *,
    disclosures: Sequence[Disclosure] = tuple(Disclosure),
    quick: bool = False,
) -> Report:
    """Speakers, attributes and content, from evidence and from what left under each disclosure."""
    known, effort = _acquaintances(quick=quick), QUICK if quick else FULL
    embedding = Observation(EVIDENCE, "", {EVIDENCE: target.heard.evidence})
    findings: list[Finding] = []
    notes = list(_notes(target))
    for seen, departures in (
        (embedding, None),
        *_all_seen(target, known, [_DEFAULT] if quick else disclosures, progress),
    ):
        findings += _attacked(target, seen, departures, effort, progress)
    weights = embedder.find_weights()
    if weights is None:
        notes.append(embedder.HOW_TO_GET_IT)
    elif not quick:
        findings += _embedded(target, weights, progress)
    return Report(target.folder.name, target.home, tuple(findings), tuple(notes), quick)


def _acquaintances(*, quick: bool) -> list[Enrolment]:
    """The first is the device's own: from the least acquaintance on, in a stream of captions. Then
    a stranger's, and the worst that a device could do: never learn more of a voice."""
    least = Settings().min_enrolment
    running, stranger = Enrolment(least, "running"), Enrolment(0)
    return [running, stranger] if quick else [running, stranger, Enrolment(least, "at once")]


def _all_seen(
    target: Target,
    known: Sequence[Enrolment],
    disclosures: Sequence[Disclosure],
    progress: Progress,
) -> Iterator[tuple[Observation, Disclosures]]:
    """Every disclosure with the first acquaintance, the default one with the others."""
    for number, one in enumerate(known):
        every = disclosures if number == 0 else [_DEFAULT]
        departures = disclose(
            target.reader, target.gate, target.voices, target.heard.evidence, one, every, progress
        )
        for disclosure in every:
            yield departures.seen(disclosure, target.vocabulary), departures


def _attacked(
    target: Target,
    seen: Observation,
    departures: Disclosures | None,
    effort: TrainingBudget,
    progress: Progress,
) -> list[Finding]:
    voices, folds = target.voices, target.folds()
    stage = f"attacking {seen.name}" + (f", habit {seen.habit}" if seen.habit else "")
    findings: list[Finding] = []
    for done, (corpus, own) in enumerate(folds.items(), 1):
        findings += attack_speakers(voices, corpus, own, seen, effort=effort)
        for attribute in ATTRIBUTES:
            if attribute != LANGUAGE:
                findings += attack_attribute(voices, attribute, corpus, own, seen, effort=effort)
        findings += attack_frames(voices, corpus, own, seen, target.heard.mels, effort=effort)
        progress(stage, done, len(folds), corpus)
    if departures is not None:
        findings += _unsent(target, Disclosure(seen.name), departures, effort)
    together = folds_together(list(folds.values()))
    return findings + attack_attribute(voices, LANGUAGE, "all", together, seen, effort=effort)


def _unsent(
    target: Target, disclosure: Disclosure, departures: Disclosures, effort: TrainingBudget
) -> list[Finding]:
    """What of the drafts stayed here when the verifier wrote on after the first block."""
    seen = departures.seen(disclosure, target.vocabulary, at_first=True)
    stayed = unsent_facts(
        [target.reader.text(draft) for draft in departures.drafts],
        [target.reader.text(left.tokens) for left in departures.left_at_first[disclosure]],
    )
    return [
        finding
        for corpus, folds in target.folds().items()
        for finding in attack_unsent(target.voices, corpus, folds, seen, stayed, effort=effort)
    ]


def _embedded(target: Target, weights: Path, progress: Progress) -> list[Finding]:
    """What the independent embedder tells from the recordings themselves."""
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
    away = [name for name in target.voices.corpora if name not in target.home]
    yield (
        "Attacked are speakers whom neither the states' training nor the attacker knew: at home "
        f"({', '.join(target.home)}) the test speakers"
        + (f"; away ({', '.join(away)}) all, in folds of speakers." if away else ".")
    )
    yield (
        "Every caption escalates, and the verifier accepts all without writing on, so that every "
        "doubtful block leaves. Shown is the strongest of all attackers and readings tried."
    )
    for name, folds in target.folds().items():
        speakers = len(set(target.voices.speaker[np.concatenate([f.test for f in folds])].tolist()))
        if speakers <= _FEW_SPEAKERS:
            yield (
                f"{name}: {speakers} speakers. Two people differ in everything at once: the "
                "figures say little of others, their intervals nothing."
            )
