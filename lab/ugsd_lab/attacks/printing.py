"""The tables of ``ugsd-lab attack``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isinf, isnan

from rich.console import Console

from ugsd_lab.attacks.findings import Attack, Finding, Report
from ugsd_lab.attacks.frontier import Row, pareto, pick
from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["as_markdown", "frontier_markdown", "print_frontier", "print_report"]

_COLUMNS = 165
_TITLES: dict[Attack, str] = {
    "speaker": "who speaks",
    "attribute": "what sort of person says what: balanced accuracy",
    "content": "what the states were made from",
    "traffic": "what the network sees: sizes, directions, order and times of frames",
}
_HEADER = (
    "what is guessed", "corpus", "seen", "habit", "found", "95 %", "chance", "permuted",
    "speakers", "clips", "strongest attacker",
)  # fmt: skip
_TEXT_COLUMNS = {"what is guessed", "corpus", "seen", "habit", "strongest attacker"}


def print_report(report: Report, console: Console) -> None:
    """A table for each kind of attack, and what they mean."""
    print_tables(_tables(report), console, report.notes, columns=_COLUMNS)


def as_markdown(report: Report) -> str:
    """The same as a document holds it."""
    return markdown(_tables(report), report.notes)


def _tables(report: Report) -> Iterator[TextTable]:
    for attack, title in _TITLES.items():
        found = report.of(attack)
        if found:
            rows = [_cells(one) for one in _in_order(found)]
            yield TextTable(_HEADER, rows, f"{report.drafter}: {title}", left=_TEXT_COLUMNS)


def _in_order(findings: Sequence[Finding]) -> list[Finding]:
    """By what is guessed and of whom, so that what was seen stands side by side."""
    measures = list(dict.fromkeys(finding.measure for finding in findings))
    corpora = list(dict.fromkeys(finding.corpus for finding in findings))
    return sorted(findings, key=lambda f: (measures.index(f.measure), corpora.index(f.corpus)))


def _cells(found: Finding) -> tuple[str, ...]:
    return (
        found.measure,
        found.corpus,
        found.seen,
        found.habit or "-",
        _number(found.value),
        "-" if isnan(found.low) else f"{_number(found.low)} to {_number(found.high)}",
        _number(found.chance),
        _number(found.permuted),
        str(found.speakers),
        str(found.clips),
        found.attacker,
    )


def _number(value: float) -> str:
    return "-" if isnan(value) else f"{round(value, 3) + 0.0:.3f}"


_FRONTIER_HEADER = (
    "state", "emotion", "speaker", "sentence", "leakage", "at once", "bytes", "epsilon", "",
)  # fmt: skip


def print_frontier(rows: Sequence[Row], console: Console) -> None:
    """One table, best leakage first."""
    table = _frontier_table("ways of making states", rows)
    print_tables([table], console, _FRONTIER_NOTES, columns=_COLUMNS)


def frontier_markdown(rows: Sequence[Row]) -> str:
    """The same as a document holds it."""
    return markdown([_frontier_table("", rows)], _FRONTIER_NOTES)


_FRONTIER_NOTES = (
    "Emotion: right of dev and calibration speakers, mean over corpora, read by a network that is "
    "taught states of all training speakers.",
    "Speaker, sentence: the strongest attacker's advantage, 0 at chance and 1 where always right, "
    "on speakers it never met; leakage is the mean of both. At once: speakers told by captions "
    "that were made with one habit.",
    "Epsilon: of a caption's states, Gaussian noise, sensitivity 2, delta 1e-6. Above 10 it is "
    "noise, not privacy.",
    "Picked: the least leakage within .03 of the best emotion accuracy. Front: nothing is better "
    "in one and as good in the other.",
)


def _frontier_table(title: str, rows: Sequence[Row]) -> TextTable:
    front, chosen = pareto(rows), pick(rows)
    cells = [
        (
            str(row.candidate),
            _number(row.emotion),
            _number(row.speaker),
            _number(row.sentence),
            _number(row.leakage),
            _number(row.at_once),
            str(row.bytes),
            "-" if isinf(row.epsilon) else f"{row.epsilon:.1f}",
            "picked" if row is chosen else "front" if row in front else "",
        )
        for row in sorted(rows, key=lambda row: row.leakage)
    ]
    return TextTable(_FRONTIER_HEADER, cells, title, left=("state", ""))
