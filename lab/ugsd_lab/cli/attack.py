"""What ``ugsd-lab attack`` was asked for, and how the answer is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ugsd_privacy.output.consoles import console
from ugsd_privacy.output.terminal import tell_document, tell_json
from ugsd_privacy.protocol.messages import Disclosure

from ugsd_lab.attacks import frontier, printing
from ugsd_lab.attacks.candidates import candidates
from ugsd_lab.attacks.findings import as_json
from ugsd_lab.attacks.leakage import write_leakage
from ugsd_lab.attacks.learning import QUICK, TrainingBudget
from ugsd_lab.attacks.material import material_of
from ugsd_lab.attacks.picture import draw_frontier
from ugsd_lab.attacks.study import Target, attack, prepare
from ugsd_lab.attacks.traffic import TRAFFIC_NOTE, attack_traffic
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import pair_of
from ugsd_lab.evaluation.plots import check_picture
from ugsd_lab.models.embeddings import Progress

_EFFORT = TrainingBudget(steps=200)
"""Of the frontier's attackers and readers, of which there are many."""

__all__ = ["AttackOptions", "AttackOutput", "disclosures_named", "run"]


@dataclass(frozen=True)
class AttackOptions:
    """The options of the command."""

    data: Path | None
    drafter: str
    cache: Path | None
    plot: Path | None
    frontier: bool
    quick: bool
    as_json: bool
    markdown: bool
    disclosures: tuple[Disclosure, ...] = tuple(Disclosure)
    write: bool = False
    """Keep the figures beside the drafter."""


@dataclass(frozen=True)
class AttackOutput:
    """The tables, to be written once the progress bars are gone."""

    show: Callable[[], None]


def disclosures_named(names: Sequence[str]) -> tuple[Disclosure, ...]:
    """Those of ``names``, all where none is named. Raises :class:`EvaluationError`."""
    unknown = sorted(set(names) - set(Disclosure))
    if unknown:
        known = ", ".join(Disclosure)
        raise EvaluationError(f"no disclosure {unknown[0]!r}; there are: {known}")
    return tuple(one for one in Disclosure if not names or one in names)


def run(asked: AttackOptions, progress: Progress) -> AttackOutput:
    """Attack, or compare ways of making states. Raises :class:`EvaluationError` for options that
    exclude each other."""
    if asked.as_json and asked.markdown:
        raise EvaluationError("--json and --markdown are two outputs: name one of them")
    if asked.plot is not None and not asked.frontier:
        raise EvaluationError("--plot draws the frontier: add --frontier")
    if asked.write and asked.frontier:
        raise EvaluationError("--write keeps what attackers got: leave out --frontier")
    if asked.plot is not None:
        check_picture(asked.plot)
    pair = pair_of(asked.drafter)
    clips = load_corpora(None if asked.quick else asked.data)
    target = prepare(clips, pair.drafter, pair.home, asked.cache, progress)
    if asked.frontier:
        return _frontier(asked, target, progress)
    report = attack(target, progress, disclosures=asked.disclosures, quick=asked.quick)
    report = report.with_findings(
        attack_traffic(target, progress, effort=QUICK, per_speaker=4)
        if asked.quick
        else attack_traffic(target, progress),
        [TRAFFIC_NOTE],
    )
    if asked.write:
        write_leakage(report, pair.drafter, _command(asked))
    if asked.as_json:
        return AttackOutput(lambda: tell_json(json.dumps(as_json(report), indent=1)))
    if asked.markdown:
        return AttackOutput(lambda: tell_document(f"{printing.as_markdown(report)}\n"))
    return AttackOutput(lambda: printing.print_report(report, console()))


def _command(asked: AttackOptions) -> str:
    """What prints the same figures."""
    data = "" if asked.data is None or asked.quick else " --data DIR"
    only = (
        ""
        if len(asked.disclosures) == len(Disclosure)
        else "".join(f" --disclosure {disclosure}" for disclosure in asked.disclosures)
    )
    quick = " --quick" if asked.quick else ""
    return f"ugsd-lab attack --drafter {asked.drafter}{data}{only}{quick}"


def _frontier(asked: AttackOptions, target: Target, progress: Progress) -> AttackOutput:
    material = material_of(target, asked.cache, progress)
    rows = frontier.measure_all(
        material, candidates(quick=asked.quick), progress, effort=QUICK if asked.quick else _EFFORT
    )
    if asked.plot is not None:
        draw_frontier(asked.plot, rows)
    if asked.as_json:
        return AttackOutput(lambda: tell_json(json.dumps(frontier.as_json(rows), indent=1)))
    if asked.markdown:
        return AttackOutput(lambda: tell_document(f"{printing.frontier_markdown(rows)}\n"))
    return AttackOutput(lambda: printing.print_frontier(rows, console()))
