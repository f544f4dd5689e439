"""How much better than chance attackers identify the speaker of a question, by what it discloses.

This is the attack of ``ugsd-lab attack`` that guesses which of a few people speaks, on a stream of
captions and on captions that share one profile; the stronger one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ugsd_sdk.settings.config import Settings

from ugsd_lab.attacks.findings import Finding, strongest
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
) -> dict[Exposure, Mapping[str, Identified]]:
    """Return how well the strongest attacker identifies speakers, by exposure and corpus."""
    found: dict[tuple[Exposure, str], list[Finding]] = {}
    tried, folds = Tried(), target.folds()
    least = Settings().min_enrolment
    for known in (Enrolment(least, "running"), Enrolment(least, "at once")):
        drafts = target.drafts(known, progress)
        for done, exposure in enumerate(exposures, 1):
            level = exposure.disclosure
            disclosed = drafts.disclosed([level], sigma=exposure.sigma)
            seen = disclosed.observation(level, target.vocabulary)
            for corpus, own in folds.items():
                found.setdefault((exposure, corpus), []).extend(
                    attack_speakers(
                        target.voices, corpus, own, seen, effort=effort, tried=tried,
                        only=(IDENTIFICATION,),
                    )
                )  # fmt: skip
            progress(f"identifying speakers, profile {known}", done, len(exposures), str(exposure))
    return {
        exposure: {corpus: _identified(strongest(found[exposure, corpus])) for corpus in folds}
        for exposure in exposures
    }


def _identified(found: Finding) -> Identified:
    return Identified(
        found.corpus,
        found.speakers,
        found.advantage,
        *(replace(found, value=bound).advantage for bound in (found.low, found.high)),
    )
