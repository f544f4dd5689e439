"""The tables and notes of ``ugsd-lab evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isnan
from statistics import fmean

from rich.console import Console

from ugsd_lab.evaluation.intervals import Gap
from ugsd_lab.evaluation.rows import Difference, Result, Row
from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["as_markdown", "print_result", "ranking"]

_COLUMNS = 165
_FEW_SPEAKERS = 2

_Cells = dict[str, Callable[[Row], str]]


def print_result(result: Result, console: Console, *, split: str, limit: int | None = None) -> None:
    """Two tables for each corpus, one of differences, and what they mean."""
    tables = []
    for corpus in dict.fromkeys(row.corpus for row in result.rows):
        rows = [row for row in result.rows if row.corpus == corpus]
        tables.append(_table(_title(rows[0], split, limit), rows, _SAID))
        tables.append(_table(f"{corpus}: what it cost", rows, _COST))
    tables.append(_differences("emotion, difference (95 %)", result.differences))
    print_tables(tables, console, _notes(result, split), columns=_COLUMNS)


def as_markdown(result: Result, *, split: str, limit: int | None = None) -> str:
    """The same as tables that documents may hold, one for each corpus and one of differences."""
    cells = {name: cell for name, cell in (_SAID | _COST).items() if name not in _ONLY_ON_SCREEN}
    tables = []
    for corpus in dict.fromkeys(row.corpus for row in result.rows):
        rows = [row for row in result.rows if row.corpus == corpus]
        tables.append(_table(_title(rows[0], split, limit), rows, cells))
    tables.append(_differences("emotion, UGSD minus another arm (95 %)", result.differences))
    return markdown(tables, _notes(result, split))


def ranking(result: Result) -> str:
    """The candidates of ``--tune``, best first: by emotion, then BLEU, corpora counted alike."""
    by_arm: dict[str, list[Row]] = {}
    for row in result.rows:
        if row.arm.endswith(")"):
            by_arm.setdefault(row.arm, []).append(row)
    scores = {
        arm: (fmean(row.emotion for row in rows), fmean(row.bleu for row in rows))
        for arm, rows in by_arm.items()
    }
    best_first = sorted(scores, key=lambda arm: scores[arm], reverse=True)
    return "\n".join(
        f"{arm}: emotion {scores[arm][0]:.3f}, BLEU {scores[arm][1]:.1f}" for arm in best_first
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


_SAID: _Cells = {
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
    "tokens left": lambda row: _number(row.disclosed),
    "states left": lambda row: _number(row.disclosed_states, 3),
    "round trips": lambda row: _number(row.round_trips),
    "frames": lambda row: _number(row.frames),
    "bytes": lambda row: _number(row.bytes_sent, 0),
    "p50 ms": lambda row: _number(row.p50_ms, 1),
    "p95 ms": lambda row: _number(row.p95_ms, 1),
}


_ONLY_ON_SCREEN = ("pitch", "loud", "pace", "gender", "frames")
"""Columns that a document's table is too narrow for."""


def _title(row: Row, split: str, limit: int | None) -> str:
    quick = "" if limit is None else f", at most {limit} clips of each"
    return (
        f"{row.corpus} ({row.where}): {row.clips} clips of {row.speakers} {split} speakers{quick}"
    )


def _table(title: str, rows: Sequence[Row], cells: _Cells) -> TextTable:
    values = [[row.arm, *(cell(row) for cell in cells.values())] for row in rows]
    return TextTable(["arm", *cells], values, title, left={"arm"})


def _differences(title: str, differences: Sequence[Difference]) -> TextTable:
    """An arm, and UGSD minus it on each corpus."""
    corpora = {d.corpus: f"{d.corpus} ({d.where})" for d in differences}
    cells = {
        (d.against, d.corpus): f"{d.emotion:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
        for d in differences
    }
    arms = dict.fromkeys(d.against for d in differences)
    rows = [[arm, *(cells.get((arm, corpus), "-") for corpus in corpora)] for arm in arms]
    return TextTable(["UGSD minus", *corpora.values()], rows, title, left={"UGSD minus"})


def _notes(result: Result, split: str) -> Iterator[str]:
    yield (
        "References are generated. Emotion, pitch, loudness, pace, gender: captions that name the "
        "right value and no other; what is not said counts as mid. Times are without a network."
    )
    if len({row.corpus for row in result.rows}) > 1:
        yield (
            "Random gate and fixed block send UGSD's share of tokens: matched here, on this "
            "corpus; one rate, on all corpora counted alike, as a device has one setting."
        )
    yield (
        "Gap closed, in emotion: (arm - drafter alone) / (verifier on every token - drafter "
        "alone), unless that gap's own interval includes 0 or lies below it. 95 %: bootstrapped "
        f"over the {split} speakers, paired."
    )
    few = sorted({row.corpus for row in result.rows if row.speakers <= _FEW_SPEAKERS})
    if few:
        yield (
            f"{' and '.join(few)}: {_FEW_SPEAKERS} speakers or fewer. A bootstrap over two draws "
            "the one, the other or both: its interval is the range between two people, and says "
            "nothing of a third."
        )
    for corpus, count in result.unlabelled.items():
        yield f"{corpus}: {count} clips without an emotion label were left out."
    if not isnan(result.auroc):
        yield (
            "AUROC of a caption's largest uncertainty, clips away from home against clips at home: "
            f"{result.auroc:.2f}"
        )
    for curves in result.curves:
        unknown = isnan(curves.gate_quality)
        quality = (
            "none, for the oracle gains too little" if unknown else f"{curves.gate_quality:.2f}"
        )
        yield (
            f"Gate quality, {curves.corpus}: {quality} "
            f"(at equal escalation, 0 is chance and 1 an oracle; {curves.clips} clips)"
        )
    for name, signature in result.signatures.items():
        yield f"{name}: {signature}"
