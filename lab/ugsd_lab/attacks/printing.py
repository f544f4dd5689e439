"""The tables of ``ugsd-lab attack``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isinf, isnan

from rich.console import Console

from ugsd_lab.attacks.findings import Attack, Finding, Report
from ugsd_lab.attacks.observations import EMBEDDING
from ugsd_lab.attacks.states import Row, pareto, picks
from ugsd_lab.attacks.unsent import UNSENT_ATTRIBUTES
from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["as_markdown", "print_report", "print_states", "states_markdown"]

_COLUMNS = 165
_TITLES: dict[Attack, str] = {
    "speaker": "who speaks",
    "attribute": "attributes of the speaker and the sentence: balanced accuracy",
    "content": "what the states were computed from",
    "traffic": "what the network sees: sizes, directions, order and times of frames",
}
_HEADER = (
    "what is guessed", "corpus", "attacker sees", "profile", "result", "95 %", "chance", "permuted",
    "speakers", "clips", "strongest attacker",
)  # fmt: skip
_TEXT_COLUMNS = {"what is guessed", "corpus", "attacker sees", "profile", "strongest attacker"}
_LABELS = {
    EMBEDDING: "audio embedding",
}
"""Value in a report -> the same as printed."""


def print_report(report: Report, console: Console) -> None:
    """Print a table for each kind of attack, and the notes."""
    print_tables(_tables(report), console, report.notes, columns=_COLUMNS)


def as_markdown(report: Report) -> str:
    """Return the same tables as Markdown."""
    return markdown(_tables(report), report.notes)


def _tables(report: Report) -> Iterator[TextTable]:
    for attack, title in _TITLES.items():
        found = report.of(attack)
        if found:
            rows = [_cells(one) for one in _in_order(found)]
            yield TextTable(_HEADER, rows, f"{report.drafter}: {title}", left=_TEXT_COLUMNS)


def _in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort by what is guessed and by corpus, so that the observations stand side by side."""
    measures = list(dict.fromkeys(finding.measure for finding in findings))
    corpora = list(dict.fromkeys(finding.corpus for finding in findings))
    return sorted(findings, key=lambda f: (measures.index(f.measure), corpora.index(f.corpus)))


def _cells(found: Finding) -> tuple[str, ...]:
    return (
        found.measure.replace(UNSENT_ATTRIBUTES, "attributes drafted, not sent"),
        found.corpus,
        _LABELS.get(found.seen, found.seen),
        found.profile or "-",
        _number(found.value),
        "-" if isnan(found.low) else f"{_number(found.low)} to {_number(found.high)}",
        _number(found.chance),
        _number(found.permuted),
        str(found.speakers),
        str(found.clips),
        found.attacker.replace(f" on {EMBEDDING}", f" on {_LABELS[EMBEDDING]}"),
    )


def _number(value: float) -> str:
    return "-" if isnan(value) else f"{round(value, 3) + 0.0:.3f}"


_STATES_HEADER = (
    "state", "emotion", "speaker", "sentence", "leakage", "one profile", "bytes", "epsilon", "",
)  # fmt: skip


def print_states(rows: Sequence[Row], console: Console) -> None:
    """Print one table, least leakage first."""
    table = _states_table("ways of making states", rows)
    print_tables([table], console, _STATES_NOTES, columns=_COLUMNS)


def states_markdown(rows: Sequence[Row]) -> str:
    """Return the same table as Markdown."""
    return markdown([_states_table("", rows)], _STATES_NOTES)


_STATES_NOTES = (
    "Emotion: accuracy on dev and calibration speakers, mean over corpora, of a network trained on "
    "the states of all training speakers.",
    "Speaker, sentence: the strongest attacker's advantage on speakers it never met, 0 at chance "
    "and 1 if always right; leakage is the mean of both. One profile: identification of speakers "
    "by captions made with the same speaker profile.",
    "Epsilon: privacy cost of a caption's states with Gaussian noise, sensitivity 2, delta 1e-6. "
    "Above 10 the noise gives no useful privacy.",
    "Picked: for each projection's corpora the least leakage within .03 of the best emotion "
    "accuracy, states with the emotion's scores left out. Front: no other row is better in one and "
    "as good in the other.",
)


def _states_table(title: str, rows: Sequence[Row]) -> TextTable:
    front, chosen = pareto(rows), picks(rows)
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
            "picked" if row in chosen else "front" if row in front else "",
        )
        for row in sorted(rows, key=lambda row: row.leakage)
    ]
    return TextTable(_STATES_HEADER, cells, title, left=("state", ""))
