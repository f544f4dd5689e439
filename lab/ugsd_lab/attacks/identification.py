"""How much better than chance attackers identify the speaker of a question, by what it discloses.

This is the attack of ``ugsd-lab attack`` that guesses which of a few people speaks, on captions
that share one profile of minimum enrolment: of all enrolled speakers, theirs are easiest to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.findings import Finding
from ugsd_lab.attacks.learning import FULL, TrainingBudget
from ugsd_lab.attacks.observations import Enrolment, Tried
from ugsd_lab.attacks.speakers import IDENTIFICATION, attack_speakers
from ugsd_lab.attacks.study import Target
from ugsd_lab.evaluation.frontier_figures import Identified
from ugsd_lab.evaluation.frontier_outcomes import Exposure
from ugsd_lab.models.embeddings import Progress

__all__ = ["identifications"]


def identifications(
    target: Target,
    exposures: Sequence[Exposure],
    progress: Progress,
    *,
    effort: TrainingBudget = FULL,
) -> dict[Exposure, dict[str, Identified]]:
    """Return how well the strongest attacker identifies speakers, by exposure and corpus."""
    tried, folds = Tried(), target.folds()
    drafts = target.drafts(Enrolment(Settings().min_enrolment, "at once"), progress)
    found: dict[Exposure, dict[str, Identified]] = {}
    for done, exposure in enumerate(exposures, 1):
        level = exposure.disclosure
        disclosed = drafts.disclosed([level], sigma=exposure.sigma)
        seen = disclosed.observation(level, target.vocabulary)
        found[exposure] = {}
        for corpus, own in folds.items():
            (finding,) = attack_speakers(
                target.voices, corpus, own, seen, effort=effort, tried=tried, only=(IDENTIFICATION,)
            )
            found[exposure][corpus] = _identified(finding)
        progress("identifying speakers", done, len(exposures), str(exposure))
    return found


def _identified(found: Finding) -> Identified:
    return Identified(
        found.corpus,
        found.speakers,
        found.advantage,
        *(replace(found, value=bound).advantage for bound in (found.low, found.high)),
    )
