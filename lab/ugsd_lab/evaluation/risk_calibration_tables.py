"""The tables and notes of ``ugsd-lab quality``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from ugsd_sdk.decoding.risk_calibration import CalibratedSetting, Check, Gap, RiskCalibration

__all__ = ["as_markdown", "print_quality"]

_COLUMNS = 130
_SETTINGS = [
    "disclosure", "threshold", "risk", "bound", "emotion", "gain (95 %)", "tokens left",
    "states left", "frames", "bytes",
]  # fmt: skip
_CHECKS = ["chosen on", "on", "captions", "target", "disclosure", "threshold", "risk there"]
_TEXT_CELLS = frozenset({"disclosure", "chosen on", "on"})


def print_quality(quality: RiskCalibration, console: Console) -> None:
    """What each setting reached, what choices were worth elsewhere, and what both mean."""
    console.width = max(_COLUMNS, console.width)
    for title, header, rows in _tables(quality):
        table = Table(title=title, title_justify="left")
        for name in header:
            table.add_column(name, justify="left" if name in _TEXT_CELLS else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for note in _notes(quality):
        console.print(note, highlight=False, soft_wrap=True)


def as_markdown(quality: RiskCalibration) -> str:
    """The same as tables that documents may hold."""
    parts = []
    for title, header, rows in _tables(quality):
        rule = ["---" if name in _TEXT_CELLS else "---:" for name in header]
        lines = [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
        parts += [f"**{title}**", "\n".join(lines)]
    parts.append("\n".join(f"- {note}" for note in _notes(quality)))
    return "\n\n".join(parts)


def _tables(quality: RiskCalibration) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    title = f"{quality.captions} captions of {quality.speakers} calibration speakers"
    yield title, _SETTINGS, [_setting(one) for one in _told(quality.settings)]
    yield (
        "what the choice for a target of the risk loses elsewhere",
        _CHECKS,
        [_check(one) for one in quality.checks],
    )


def _told(settings: Sequence[CalibratedSetting]) -> list[CalibratedSetting]:
    """Each setting but those that did the same as the one before, which only repeat its line."""
    kept: list[CalibratedSetting] = []
    for one in settings:
        same = kept and one.model_copy(update={"threshold": kept[-1].threshold}) == kept[-1]
        if not same:
            kept.append(one)
    return kept


def _setting(one: CalibratedSetting) -> list[str]:
    gain = "-"
    if one.gain is not None and one.gain_low is not None and one.gain_high is not None:
        gain = f"{one.gain:.2f} ({one.gain_low:.2f} to {one.gain_high:.2f})"
    return [
        str(one.disclosure), f"{one.threshold:g}", f"{one.risk:.3f}", f"{one.risk_bound:.3f}",
        f"{one.emotion:.2f}", gain, f"{one.tokens_left:.2f}", f"{one.states_left:.3f}",
        f"{one.frames:.2f}", f"{one.bytes_sent:.0f}",
    ]  # fmt: skip


def _check(one: Check) -> list[str]:
    return [
        one.chosen_on, one.on, str(one.captions), f"{one.target:g}",
        "none reaches it" if one.disclosure is None else str(one.disclosure),
        "-" if one.threshold is None else f"{one.threshold:g}",
        "-" if one.risk is None else f"{one.risk:.3f}" + " missed" * (one.risk > one.target),
    ]  # fmt: skip


def _notes(quality: RiskCalibration) -> Iterator[str]:
    yield (
        "risk: mean share of a caption's blocks in which a drafted token stands that the verifier, "
        "had it the summary state, would have rejected: how far captions are from the verifier's "
        "opinion, which is not the truth."
    )
    yield (
        "bound: whatever disclosure and threshold is chosen by it for a target fixed beforehand, "
        f"the true risk exceeds the target with probability at most {quality.delta:g} "
        "(Learn-then-Test). It holds for captions exchangeable with these, not for new speakers or "
        "corpora, and counts the captions of one speaker as independent, which they are not quite."
    )
    yield (
        "The gate's own few numbers were fitted on the same speakers, which the bound takes no "
        "account of; the checks on dev speakers, who had no part in either, do."
    )
    yield from (_gap(gap) for gap in quality.gaps)


def _gap(gap: Gap) -> str:
    told = (
        f"emotion, {gap.where}: drafter alone {gap.alone:.2f}, verifier on every token "
        f"{gap.verifier:.2f} ({gap.captions} captions of {gap.speakers} speakers)"
    )
    if gap.low is None or gap.high is None:
        return f"{told}; too few speakers for an interval"
    between = f"the gap's 95 % interval is {gap.low:+.2f} to {gap.high:+.2f}"
    if gap.low <= 0 <= gap.high:
        return f"{told}; {between}, which includes 0: no gain is told"
    if gap.high < 0:
        return f"{told}; {between}: the verifier is surely worse, there is nothing to gain"
    return f"{told}; {between}"
