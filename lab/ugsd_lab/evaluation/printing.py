"""The tables and notes of ``ugsd-lab evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isnan
from statistics import fmean

from rich.console import Console

from ugsd_lab.evaluation.intervals import Gap
from ugsd_lab.evaluation.predictor_calibration import PredictorCalibration
from ugsd_lab.evaluation.rows import Difference, Result, Row
from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["as_markdown", "print_result", "ranking"]

_COLUMNS = 165
_FEW_SPEAKERS = 2

_CALIBRATION = [
    "corpus", "questions", "predicted", "rejected", "at the threshold", "ECE", "95 %", "by chance",
    "AUROC",
]  # fmt: skip

_Cells = dict[str, Callable[[Row], str]]


def print_result(
    result: Result, console: Console, *, split: str, limit: int | None = None, profiles: bool = True
) -> None:
    """Print two tables for each corpus, a table of differences, and notes."""
    tables = []
    for corpus in dict.fromkeys(row.corpus for row in result.rows):
        rows = [row for row in result.rows if row.corpus == corpus]
        tables.append(_table(_title(rows[0], split, limit, profiles), rows, _QUALITY))
        tables.append(_table(f"{corpus}: cost", rows, _COST))
    tables.append(_differences("emotion accuracy, difference (95 %)", result.differences))
    tables.append(_calibration(result.calibration))
    print_tables(tables, console, _notes(result, split), columns=_COLUMNS)


def as_markdown(
    result: Result, *, split: str, limit: int | None = None, profiles: bool = True
) -> str:
    """Return the same as Markdown: one table for each corpus, one of differences, and notes."""
    cells = {name: cell for name, cell in (_QUALITY | _COST).items() if name not in _ONLY_ON_SCREEN}
    tables = []
    for corpus in dict.fromkeys(row.corpus for row in result.rows):
        rows = [row for row in result.rows if row.corpus == corpus]
        tables.append(_table(_title(rows[0], split, limit, profiles), rows, cells))
    tables.append(
        _differences("emotion accuracy, UGSD minus another system (95 %)", result.differences)
    )
    tables.append(_calibration(result.calibration))
    return markdown(tables, _notes(result, split))


def ranking(result: Result) -> str:
    """Return the candidates of ``--tune``, best first: by emotion accuracy, then BLEU, averaged
    over corpora."""
    by_system: dict[str, list[Row]] = {}
    for row in result.rows:
        if row.system.endswith(")"):
            by_system.setdefault(row.system, []).append(row)
    scores = {
        system: (fmean(row.emotion for row in rows), fmean(row.bleu for row in rows))
        for system, rows in by_system.items()
    }
    best_first = sorted(scores, key=lambda system: scores[system], reverse=True)
    return "\n".join(
        f"{system}: emotion {scores[system][0]:.3f}, BLEU {scores[system][1]:.1f}"
        for system in best_first
    )


def _number(value: float, digits: int = 2) -> str:
    return "-" if isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _range(low: float, high: float) -> str:
    return "-" if isnan(low) else f"{_number(low)} to {_number(high)}"


def _gap(gap: Gap | None) -> str:
    if gap is None or isnan(gap.gap):
        return "-"
    if gap.includes_zero:
        return "gap includes 0"
    if gap.is_loss:
        return "gap is a loss"
    return f"{gap.closed:.2f} ({_range(gap.low, gap.high)})"


_QUALITY: _Cells = {
    "BLEU": lambda row: _number(row.bleu, 1),
    "chrF": lambda row: _number(row.chrf, 1),
    "ROUGE-L": lambda row: _number(row.rouge_l, 1),
    "METEOR": lambda row: _number(row.meteor, 1),
    "emotion": lambda row: _number(row.emotion),
    "95 %": lambda row: _range(row.emotion_low, row.emotion_high),
    "pitch": lambda row: _number(row.pitch),
    "loud": lambda row: _number(row.loudness),
    "pace": lambda row: _number(row.pace),
    "gender": lambda row: _number(row.gender),
    "mean": lambda row: _number(row.attributes),
    "words": lambda row: _number(row.words, 1),
    "gap closed": lambda row: _gap(row.gap_emotion),
}
_COST: _Cells = {
    "escalated": lambda row: _number(row.escalation),
    "tokens sent": lambda row: _number(row.disclosed),
    "states sent": lambda row: _number(row.disclosed_states, 3),
    "round trips": lambda row: _number(row.round_trips),
    "frames": lambda row: _number(row.frames),
    "bytes": lambda row: _number(row.bytes_sent, 0),
    "p50 ms": lambda row: _number(row.p50_ms, 1),
    "p95 ms": lambda row: _number(row.p95_ms, 1),
}


_ONLY_ON_SCREEN = ("pitch", "loud", "pace", "gender", "frames")
"""Columns that do not fit into a Markdown table."""


def _title(row: Row, split: str, limit: int | None, profiles: bool) -> str:
    quick = "" if limit is None else f", at most {limit} clips of each"
    unknown = "" if profiles else ", without speaker profiles"
    return (
        f"{row.corpus} ({row.domain}): {row.clips} clips of {row.speakers} {split} speakers"
        f"{quick}{unknown}"
    )


def _table(title: str, rows: Sequence[Row], cells: _Cells) -> TextTable:
    values = [[row.system, *(cell(row) for cell in cells.values())] for row in rows]
    return TextTable(["system", *cells], values, title, left={"system"})


def _differences(title: str, differences: Sequence[Difference]) -> TextTable:
    """Return a table with a row for each system and UGSD minus it on each corpus."""
    corpora = {d.corpus: f"{d.corpus} ({d.domain})" for d in differences}
    cells = {
        (d.against, d.corpus): f"{d.emotion:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
        for d in differences
    }
    systems = dict.fromkeys(d.against for d in differences)
    rows = [
        [system, *(cells.get((system, corpus), "-") for corpus in corpora)] for system in systems
    ]
    return TextTable(["UGSD minus", *corpora.values()], rows, title, left={"UGSD minus"})


def _calibration(corpora: Sequence[PredictorCalibration]) -> TextTable:
    """Return a table with a row for each corpus: the rejection predictor against the verdicts."""
    rows = [
        [
            f"{one.corpus} ({one.domain})", str(one.questions), _number(one.predicted),
            _number(one.rejected), _number(one.asked), _number(one.error, 3),
            f"{_number(one.low, 3)} to {_number(one.high, 3)}", _number(one.by_chance, 3),
            _number(one.auroc),
        ]
        for one in corpora
    ]  # fmt: skip
    return TextTable(_CALIBRATION, rows, "the rejection predictor", left={"corpus"})


def _notes(result: Result, split: str) -> Iterator[str]:
    yield (
        "References are generated. Emotion, pitch, loudness, pace, gender: share of captions that "
        "name the right value and no other; a value that is not named counts as "
        "moderate or medium. Times are "
        "without a network."
    )
    if len({row.corpus for row in result.rows}) > 1:
        yield (
            "Random and fixed block disclose UGSD's share of tokens: rate per corpus, on this "
            "corpus; one rate, on average over the corpora, since a device has one setting."
        )
    yield (
        "Gap closed, in emotion accuracy: (system - drafter alone) / (verifier on every token - "
        "drafter alone); not given if the gap's own interval includes 0 or lies below it. 95 %: "
        f"bootstrapped over the {split} speakers, paired."
    )
    few = sorted({row.corpus for row in result.rows if row.speakers <= _FEW_SPEAKERS})
    if few:
        yield (
            f"{' and '.join(few)}: {_FEW_SPEAKERS} speakers or fewer. The interval is then the "
            "range between these speakers and says nothing about others."
        )
    if result.sigma is not None:
        yield (
            f"The states that were sent have noise of {result.sigma:g} clip norms. The verifier on "
            "every token reads states without noise."
        )
    for corpus, count in result.unlabelled.items():
        yield f"{corpus}: {count} clips without an emotion label were skipped."
    yield (
        "Rejection predictor: mean predicted and observed share of drafts that the verifier "
        "rejects, share that reaches the threshold (which decides only if it is set), expected "
        "calibration error in ten bins of equal size with its interval over speakers, the mean "
        "error that a predictor with true probabilities would have on as many questions (by "
        "chance), and AUROC of rejected against accepted drafts."
    )
    if not isnan(result.auroc):
        yield (
            "AUROC of a caption's largest uncertainty, clips of other corpora against in-domain "
            f"clips: {result.auroc:.2f}"
        )
    for curves in result.curves:
        unknown = isnan(curves.predictor_quality)
        quality = (
            "undefined, since the oracle gains too little"
            if unknown
            else f"{curves.predictor_quality:.2f}"
        )
        yield (
            f"Quality of the rejection predictor, {curves.corpus}: {quality} "
            f"(at equal escalation, 0 is chance and 1 an oracle; {curves.clips} clips)"
        )
    for name, signature in result.signatures.items():
        yield f"{name}: {signature}"
