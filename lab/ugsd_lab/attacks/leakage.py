"""The figures of a report that ship with the drafter, for explanations and audit reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan
from pathlib import Path

from ugsd_privacy.reports.leakage import LEAKAGE_FILE, UNENROLLED, Leakage, LeakageFigure
from ugsd_sdk.drafter.bundle import DrafterBundle

from ugsd_lab.attacks.findings import Attack, Finding, Report, strongest
from ugsd_lab.attacks.observations import EMBEDDING

__all__ = ["leakage_of", "write_leakage"]


def leakage_of(report: Report, weights: dict[str, str], command: str) -> Leakage:
    """Return the strongest finding of each attack on each corpus, once for unenrolled and once for
    enrolled speakers."""
    groups: dict[tuple[str, str, str, str, bool], list[Finding]] = {}
    for one in report.findings:
        if one.seen != EMBEDDING and not isnan(one.value):
            key = (one.attack, one.measure, one.corpus, one.seen, one.profile == UNENROLLED)
            groups.setdefault(key, []).append(one)
    controls = {
        (one.attack, one.measure, one.corpus): one.value
        for one in report.findings
        if one.seen == EMBEDDING and not isnan(one.value)
    }
    return Leakage(
        format=1,
        command=command,
        weights=weights,
        leaks=tuple(_leaks(map(strongest, groups.values()), controls)),
    )


def _leaks(
    found: Iterable[Finding], controls: Mapping[tuple[Attack, str, str], float]
) -> Iterable[LeakageFigure]:
    for one in found:
        yield LeakageFigure(
            attack=one.attack,
            measure=one.measure,
            corpus=one.corpus,
            seen=one.seen,
            profile=one.profile,
            value=one.value,
            low=None if isnan(one.low) else one.low,
            high=None if isnan(one.high) else one.high,
            chance=one.chance,
            control=controls.get((one.attack, one.measure, one.corpus)),
            attacker=one.attacker,
            speakers=one.speakers,
            clips=one.clips,
        )


def write_leakage(report: Report, folder: Path, command: str) -> Path:
    """Store the report's figures beside the drafter in ``folder`` and return the file's path."""
    path = folder / LEAKAGE_FILE
    path.write_text(
        leakage_of(report, DrafterBundle(folder).weights(), command).model_dump_json(indent=1)
        + "\n"
    )
    return path
