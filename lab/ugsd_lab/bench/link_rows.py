"""What ``ugsd-lab bench link`` measures of a caption, and the numbers of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite, nan
from typing import Any

import numpy as np
from ugsd_sdk.drafter.slot_table import SlotTable

from ugsd_lab.bench.emulated_link import LinkConditions
from ugsd_lab.bench.figures import percentile
from ugsd_lab.bench.link_settings import ALONE, LinkSystem, Setting

__all__ = [
    "CLAIMED_LATENCY",
    "CLAIMED_TOKENS",
    "Comparison",
    "LinkRow",
    "LinkStudy",
    "Measured",
    "compared",
    "emotion_of",
    "row_of",
]

CLAIMED_LATENCY, CLAIMED_TOKENS = 1.4, 8.5
"""How many times faster than the device alone the paper says that UGSD is."""
_SAME = 1.05
"""Ratios nearer to 1 than that count as equal."""


@dataclass(frozen=True)
class Measured:
    """One caption, in seconds of the emulated device."""

    encoding_s: float
    decoding_s: float
    """From the end of encoding to the complete caption."""
    first_token_s: float
    """From the clip to the first token that no verdict can change any more."""
    num_tokens: int
    """Without the end marker."""
    is_emotion_right: bool
    claims: tuple[bool, ...]
    """Whether each claim of the caption is right; empty if they are not judged."""
    bytes_sent: int
    device_cpu_s: float
    """CPU time of the device's process, and what it slept instead of computing slowly."""
    verifier_cpu_s: float
    """The same of the verifier's."""
    has_asked: bool
    num_blocks: int
    failure: str
    """Why the caption was not verified; empty if nothing failed."""

    @property
    def total_s(self) -> float:
        return self.encoding_s + self.decoding_s


@dataclass(frozen=True)
class LinkRow:
    """One system on one device over one link. Values are means unless stated otherwise."""

    device: str
    verifier: str
    captions: str
    round_trip_ms: float | None
    """``None`` without a network."""
    system: str
    clips: int
    p50_ms: float
    """Latency of the caption, encoding included."""
    p95_ms: float
    first_token_ms: float
    """Median."""
    tokens: float
    tokens_per_s: float
    """All tokens per second of decoding."""
    tokens_per_s_encoded: float
    """All tokens per second of encoding and decoding."""
    emotion: float
    claims: float
    """Share of the claims that are right; NaN if they are not judged."""
    bytes_sent: float
    device_cpu_s: float
    verifier_cpu_ms: float
    captions_per_core_s: float
    """1 / verifier CPU seconds per caption; infinite if no caption asks."""
    asked: float
    """Share of captions that send something."""
    round_trips: float
    failed: int
    """Captions of which a block has no verdict."""


@dataclass(frozen=True)
class Comparison:
    """A system against the drafter alone on the same device."""

    latency: float
    """How many times lower its median latency is."""
    tokens: float
    """How many times more tokens per second of decoding."""
    tokens_encoded: float
    """The same, encoding included."""
    loses_quality: bool
    """Whether fewer captions name the right emotion, or fewer claims are right."""

    @property
    def word(self) -> str:
        """Whether the caption is ready sooner."""
        if self.latency >= _SAME:
            return "faster"
        return "slower" if self.latency <= 1 / _SAME else "equal"

    @property
    def meets_the_paper(self) -> bool:
        """Whether the paper's claim holds, with a quality that is no worse."""
        return (
            self.latency >= CLAIMED_LATENCY
            and self.tokens >= CLAIMED_TOKENS
            and not self.loses_quality
        )


@dataclass(frozen=True)
class LinkStudy:
    """All rows."""

    rows: tuple[LinkRow, ...]
    clips: int
    corpora: tuple[str, ...]

    def alone(self, row: LinkRow) -> LinkRow:
        """Return the drafter alone on the same device, with the same captions."""
        return next(
            one
            for one in self.rows
            if one.system == ALONE and (one.device, one.captions) == (row.device, row.captions)
        )

    def as_dict(self) -> dict[str, object]:
        """Return the rows for JSON, each with its comparison; what is not finite is null."""
        return {
            "clips": self.clips,
            "corpora": list(self.corpora),
            "rows": [
                _plain(asdict(row) | {"against_alone": asdict(compared(row, self.alone(row)))})
                for row in self.rows
            ],
        }


def row_of(
    setting: Setting, link: LinkConditions | None, system: LinkSystem, measured: Sequence[Measured]
) -> LinkRow:
    """Return the row of a system's captions; ``link`` is ``None`` for one that needs no network."""
    totals_ms = [1000 * one.total_s for one in measured]
    verifier_s = _mean(one.verifier_cpu_s for one in measured)
    num_tokens = sum(one.num_tokens for one in measured)
    claims = [float(claim) for one in measured for claim in one.claims]
    return LinkRow(
        device=setting.device,
        verifier=setting.verifier.name,
        captions=setting.load.name,
        round_trip_ms=None if link is None else 1000 * link.round_trip_s,
        system=system.name,
        clips=len(measured),
        p50_ms=percentile(totals_ms, 50),
        p95_ms=percentile(totals_ms, 95),
        first_token_ms=percentile([1000 * one.first_token_s for one in measured], 50),
        tokens=num_tokens / len(measured),
        tokens_per_s=num_tokens / sum(one.decoding_s for one in measured),
        tokens_per_s_encoded=num_tokens / sum(one.total_s for one in measured),
        emotion=_mean(float(one.is_emotion_right) for one in measured),
        claims=_mean(claims),
        bytes_sent=_mean(one.bytes_sent for one in measured),
        device_cpu_s=_mean(one.device_cpu_s for one in measured),
        verifier_cpu_ms=1000 * verifier_s,
        captions_per_core_s=1 / verifier_s if verifier_s > 0 else inf,
        asked=_mean(float(one.has_asked) for one in measured),
        round_trips=_mean(one.num_blocks for one in measured),
        failed=sum(bool(one.failure) for one in measured),
    )


def compared(row: LinkRow, alone: LinkRow) -> Comparison:
    """Compare a row with the drafter ``alone``."""
    return Comparison(
        latency=alone.p50_ms / row.p50_ms,
        tokens=row.tokens_per_s / alone.tokens_per_s,
        tokens_encoded=row.tokens_per_s_encoded / alone.tokens_per_s_encoded,
        loses_quality=row.emotion < alone.emotion or row.claims < alone.claims,
    )


def emotion_of(table: SlotTable, tokens: Iterable[int]) -> str | None:
    """Return the emotion that the first of ``tokens`` to state one states."""
    return next((emotion for token in tokens if (emotion := table.emotion_in([token]))), None)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value
