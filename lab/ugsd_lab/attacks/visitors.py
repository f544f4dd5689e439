"""Who speaks, by what is sent of the captions of people who are not named.

The attacker knows ten captions of each of a few people by name, and guesses whose a caption is.
Captions count from the first of a visit whose state the device may send, and each of them asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE

from ugsd_lab.attacks.disclosures import draft_of
from ugsd_lab.attacks.encoder_outputs import encode_clips
from ugsd_lab.attacks.findings import Finding
from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.observations import Drafts, Enrolment
from ugsd_lab.attacks.speakers import IDENTIFICATION, LINKAGE, attack_speakers
from ugsd_lab.attacks.voices import Voices, folds_of
from ugsd_lab.data.corpora import CORPORA, Clip
from ugsd_lab.evaluation.pairs import Pair
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable
from ugsd_lab.training.visits import CHOICES, Choice, profiles_in_visits

__all__ = ["attack_visits", "attacks_table"]


def attack_visits(
    clips: Sequence[Clip],
    pair: Pair,
    progress: Progress,
    *,
    choices: Sequence[Choice] = CHOICES,
    cache: Path | None = None,
    effort: TrainingBudget = FULL,
) -> dict[str, list[Finding]]:
    """Return the findings on each of ``choices`` that sends states, by its name, for the clips of
    the bundled pair's corpora. ``cache`` keeps audio embeddings between runs."""
    voices = Voices([clip for clip in clips if clip.corpus in CORPORA])
    encoder = DrafterBundle(pair.drafter).find(AUDIO_ENCODER_GRAPH)
    embeddings = encode_clips(encoder, voices.clips, cache, progress).embeddings
    drafter = OnnxDrafter(pair.drafter)
    drafter.load()
    found = {}
    in_visits = profiles_in_visits(voices.speaker, embeddings)
    for choice in choices:
        if choice.never_sends:
            continue
        profiles = in_visits if choice.has_profile else [EMPTY_PROFILE] * len(voices)
        sent = [row for row, one in enumerate(profiles) if one.count >= choice.least_clips]
        conditioned = [drafter.condition(embeddings[row], profiles[row]) for row in sent]
        drafts = [draft_of(drafter, one) for one in conditioned]
        made = Drafts(Enrolment(choice.least_clips), drafter.info, drafts, [{}] * len(sent))
        some = Voices([voices.clips[row] for row in sent])
        found[choice.name] = list(
            _findings(some, made, pair.in_domain, choice.name, progress, effort=effort)
        )
    drafter.close()
    return found


def attacks_table(found: Mapping[str, Sequence[Finding]]) -> TextTable:
    """Return the table of the findings on each choice."""
    return TextTable(
        ("choice", "corpus", "speakers", "what is guessed", "guessing", "attacker"),
        [
            (
                name,
                one.corpus,
                str(one.speakers),
                one.measure,
                f"{one.chance:.2f}",
                f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})",
            )
            for name, findings in found.items()
            for one in findings
        ],
        title="What attackers get from what is sent",
        left=("choice", "corpus", "what is guessed"),
    )


def _findings(
    voices: Voices,
    drafts: Drafts,
    in_domain: Sequence[str],
    name: str,
    progress: Progress,
    *,
    effort: TrainingBudget,
) -> Iterator[Finding]:
    level = Disclosure.SUMMARY
    vocabulary = 1 + max(token for draft in drafts.drafts for token in draft.tokens)
    seen = drafts.disclosed([level]).observation(level, vocabulary)
    for done, corpus in enumerate(voices.corpora, 1):
        folds = folds_of(voices, corpus, in_domain)
        measures = (IDENTIFICATION, LINKAGE)
        yield from attack_speakers(voices, corpus, folds, seen, effort=effort, only=measures)
        progress(f"attacking, {name}", done, len(voices.corpora), corpus)
