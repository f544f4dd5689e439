"""Who speaks, by what is sent of the captions of people who are not named.

The attacker knows ten captions of each of a few people by name, and guesses whose a caption is.
Captions count from the first of a visit whose state the device may send, and each of them asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE

from ugsd_lab.attacks.disclosures import EmbeddingDrafter, draft_of
from ugsd_lab.attacks.findings import Finding
from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.observations import Drafts, Enrolment, Float32
from ugsd_lab.attacks.speakers import IDENTIFICATION, LINKAGE, attack_speakers
from ugsd_lab.attacks.visits import Choice, profiles_in_visits
from ugsd_lab.attacks.voices import Voices, folds_of
from ugsd_lab.models.embeddings import Progress

__all__ = ["attack_visits"]


def attack_visits(
    drafter: EmbeddingDrafter,
    voices: Voices,
    embeddings: Float32,
    in_domain: Sequence[str],
    choices: Sequence[Choice],
    progress: Progress,
    *,
    effort: TrainingBudget = FULL,
) -> dict[str, list[Finding]]:
    """Return the findings on each of ``choices`` that sends states, by its name. ``embeddings`` is
    (n, E), one row per clip of ``voices``."""
    found = {}
    in_visits = profiles_in_visits(voices, embeddings)
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
            _findings(some, made, in_domain, choice.name, progress, effort=effort)
        )
    return found


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
