"""The tables and notes of ``ugsd-lab calibrate-risk``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from ugsd_sdk.decoding.risk_calibration import CalibratedSetting, Check, Gap, RiskCalibration

from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["as_markdown", "print_risk_calibration"]

_SETTINGS = [
    "disclosure", "threshold", "risk", "bound", "emotion", "gain (95 %)", "tokens sent",
    "states sent", "frames", "bytes",
]  # fmt: skip
_CHECKS = ["chosen on", "on", "captions", "target", "disclosure", "threshold", "measured risk"]
_DOMAINS = {"pooled": "all corpora", "home": "in-domain", "away": "out-of-domain"}
"""The values of a gap's ``where`` in ``quality.json``, as tables name them."""
_TEXT_CELLS = frozenset({"disclosure", "chosen on", "on"})


def print_risk_calibration(calibration: RiskCalibration, console: Console) -> None:
    """Print a table of settings, a table of checks on other captions, and notes."""
    print_tables(_tables(calibration), console, _notes(calibration))


def as_markdown(calibration: RiskCalibration) -> str:
    """Return the same as Markdown."""
    return markdown(_tables(calibration), _notes(calibration))


def _tables(calibration: RiskCalibration) -> Iterator[TextTable]:
    title = f"{calibration.captions} captions of {calibration.speakers} calibration speakers"
    settings = [_setting(one) for one in _distinct(calibration.settings)]
    yield TextTable(_SETTINGS, settings, title, left=_TEXT_CELLS)
    title = "risk of the setting chosen for a target, measured on other captions"
    yield TextTable(_CHECKS, [_check(one) for one in calibration.checks], title, left=_TEXT_CELLS)


def _distinct(settings: Sequence[CalibratedSetting]) -> list[CalibratedSetting]:
    """Return the settings without those whose results equal the previous one's."""
    distinct: list[CalibratedSetting] = []
    for one in settings:
        last = distinct[-1] if distinct else None
        if last is None or one.model_copy(update={"threshold": last.threshold}) != last:
            distinct.append(one)
    return distinct


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


def _notes(calibration: RiskCalibration) -> Iterator[str]:
    yield (
        f"risk: share of captions whose question about the {calibration.slot} is kept on the "
        "device although the verifier would have rejected the draft. It measures the distance from "
        "the verifier's opinion, which is not the truth."
    )
    yield (
        "bound: if a threshold is chosen by it for a target fixed beforehand, the true risk "
        f"exceeds the target with probability at most {calibration.delta:g} (Learn-then-Test with "
        "exact binomial tails). It holds for captions exchangeable with these, not for new "
        "speakers or corpora, and treats the captions of one speaker as independent, which is not "
        "quite true. It is void for a caption whose draft a budget, a deadline or a fault kept."
    )
    yield (
        "on a corpus: the setting is chosen without it, as if it were unseen. The bound does not "
        "hold there."
    )
    yield (
        "The parameters of the rejection predictor were fitted on the same speakers, which the "
        "bound ignores; the checks on dev speakers, who were used for neither, do not."
    )
    yield from (_gap(gap) for gap in calibration.gaps)


def _gap(gap: Gap) -> str:
    line = (
        f"emotion accuracy, {_DOMAINS.get(gap.where, gap.where)}: drafter alone {gap.alone:.2f}, "
        f"verifier on every token {gap.verifier:.2f} "
        f"({gap.captions} captions of {gap.speakers} speakers)"
    )
    if gap.low is None or gap.high is None:
        return f"{line}; too few speakers for an interval"
    between = f"the gap's 95 % interval is {gap.low:+.2f} to {gap.high:+.2f}"
    if gap.low <= 0 <= gap.high:
        return f"{line}; {between}, which includes 0: no gain is reported"
    if gap.high < 0:
        return f"{line}; {between}: the verifier is significantly worse, nothing can be gained"
    return f"{line}; {between}"
