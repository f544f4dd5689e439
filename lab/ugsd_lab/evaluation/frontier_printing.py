"""The tables of ``ugsd-lab frontier``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import inf, isinf
from typing import Any

from rich.console import Console
from ugsd_sdk.decoding.measured_frontier import (
    Domain,
    MeasuredFrontier,
    MeasuredSetting,
    SettingFigures,
)

from ugsd_lab.evaluation.frontier import Frontier
from ugsd_lab.evaluation.frontier_outcomes import Exposure
from ugsd_lab.tables import TextTable, markdown, print_tables

__all__ = ["DOMAIN_NAMES", "as_json", "as_markdown", "print_frontier"]

DOMAIN_NAMES: Mapping[Domain, str] = {
    "in": "in-domain", "out": "out-of-domain", "both": "both domains"
}  # fmt: skip
_COLUMNS = (
    "min_gain", "disclosure", "sigma", "epsilon", "emotion (95 %)", "gain (95 %)",
    "claims (95 %)", "asked", "tokens", "numbers", "bytes", "p50 ms", "leakage (95 %)",
)  # fmt: skip
_GATE_COLUMNS = ("gate", "asked", "emotion (95 %)", "bytes")
_TEXT = {"min_gain", "disclosure", "gate"}
_MOST_PRIVATE = 10
_HALF = 0.5
_WIDTH = 170


def as_json(frontier: Frontier) -> dict[str, Any]:
    """Return every point of every gate as plain data."""
    return {
        "populations": {name: one.model_dump() for name, one in frontier.populations.items()},
        "points": [
            asdict(point) | {"figures": {k: v.model_dump() for k, v in point.figures.items()}}
            for point in frontier.points
        ],
    }


def as_markdown(frontier: Frontier, measured: MeasuredFrontier) -> str:
    """Return the tables as Markdown."""
    return markdown(_tables(frontier, measured), _notes(measured))


def print_frontier(frontier: Frontier, measured: MeasuredFrontier, console: Console) -> None:
    """Print the tables."""
    print_tables(_tables(frontier, measured), console, _notes(measured), columns=_WIDTH)


def _tables(frontier: Frontier, measured: MeasuredFrontier) -> list[TextTable]:
    """Return a table of the undominated settings for each domain, and one of the gates."""
    domains = list(measured.populations)
    return [
        *(_settings(measured, domain) for domain in domains),
        *(_gates(frontier, domain) for domain in domains),
    ]


def _settings(measured: MeasuredFrontier, domain: Domain) -> TextTable:
    own = sorted(measured.undominated(domain), key=lambda one: one.exposure(domain))
    population = measured.populations[domain]
    return TextTable(
        _COLUMNS,
        [_cells(one, one.figures[domain]) for one in own],
        f"{DOMAIN_NAMES[domain]} ({', '.join(population.corpora)}): {len(own)} settings that no "
        f"other beats; {len(measured.settings) - len(own)} more are beaten or equal",
        left=_TEXT,
    )


def _cells(one: MeasuredSetting, own: SettingFigures) -> list[str]:
    return [
        "never asks" if one.min_gain is None else f"{one.min_gain:g}",
        "nothing" if one.min_gain is None else str(one.disclosure),
        "none" if one.sigma is None else f"{one.sigma:g}",
        _epsilon(one.epsilon),
        _range(own.emotion, own.emotion_low, own.emotion_high),
        _range(own.gain, own.gain_low, own.gain_high, sign="+"),
        _range(own.claims, own.claims_low, own.claims_high),
        f"{own.asked:.2f}",
        f"{own.tokens:.2f}",
        f"{own.numbers:.2f}",
        f"{own.bytes_sent:.0f}",
        f"{own.p50_ms:.0f}",
        _range(own.leakage, own.leakage_low, own.leakage_high, 3),
    ]


def _epsilon(epsilon: float) -> str:
    if epsilon == inf:
        return "no bound"
    return f"{epsilon:.0f}, noise" if epsilon > _MOST_PRIVATE else f"{epsilon:g}"


def _range(value: float, low: float, high: float, digits: int = 2, *, sign: str = "") -> str:
    shown, *bounds = (f"{round(one, digits) + 0.0:{sign}.{digits}f}" for one in (value, low, high))
    return f"{shown} ({' to '.join(bounds)})"


def _gates(frontier: Frontier, domain: Domain) -> TextTable:
    """Return every gate at the rate nearest to half of the captions, with states without noise."""
    exposure = next(one for one in (p.exposure for p in frontier.points) if _is_plain(one))
    rows = []
    for gate in dict.fromkeys(point.gate for point in frontier.points):
        point = min(frontier.of(gate, exposure), key=lambda one: abs(one.rate - _HALF))
        own = point.figures[domain]
        rows.append(
            [
                gate, f"{own.asked:.2f}",
                _range(own.emotion, own.emotion_low, own.emotion_high), f"{own.bytes_sent:.0f}",
            ]
        )  # fmt: skip
    title = f"{DOMAIN_NAMES[domain]}: gates at half of all captions, states without noise"
    return TextTable(_GATE_COLUMNS, rows, title, left=_TEXT)


def _is_plain(exposure: Exposure) -> bool:
    return exposure.sigma is None and str(exposure.disclosure) == "summary"


def _notes(measured: MeasuredFrontier) -> Iterator[str]:
    for name, own in measured.populations.items():
        yield (
            f"{DOMAIN_NAMES[name]}: {own.captions} captions of {own.speakers} test speakers; "
            f"speakers identified on {own.attacked} ({own.attacked_speakers} speakers)."
        )
    yield (
        "All figures are means over captions, asked about or not. Emotion: captions that name the "
        "right emotion and no other. Gain: that, less the drafter alone on the same captions. "
        "Claims: right claims among those that can be checked, about the emotion and about what "
        "the device measured. Both domains count the same."
    )
    yield (
        "Leakage: how much better than guessing the strongest attacker identifies the speaker of a "
        "caption; a caption that sends nothing counts as 0. Epsilon of the states of one caption "
        "at delta 1e-6; above 10 it is noise, not privacy."
    )
    yield (
        "A setting is beaten if another one is nowhere worse and somewhere better in emotion, "
        "leakage, epsilon, numbers and bytes. Settings are compared on the speakers on which they "
        "were measured: differences within the intervals are chance. Of two speakers, the interval "
        "is the range between them."
    )
    if any(isinf(one.epsilon) for one in measured.settings):
        yield "No bound: states without noise have no epsilon."
    yield (
        "With one question in each caption there is no gate by position. `min_gain` sets the "
        "expected gain and `threshold` the calibrated gate; the others are for comparison."
    )
