"""Small tables of measured settings."""

from __future__ import annotations

from collections.abc import Sequence

from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.measured_frontier import (
    Domain,
    MeasuredFrontier,
    MeasuredSetting,
    Population,
    SettingFigures,
)

DOMAINS: tuple[Domain, ...] = ("in", "out", "both")
POPULATION = Population(
    corpora=("ravdess",), captions=40, speakers=4, attacked="ravdess", attacked_speakers=4
)


def figures(emotion: float, leakage: float = 0.0, sent: float = 0.0) -> SettingFigures:
    """Return the figures of a setting that asks about the share ``sent`` of captions."""
    return SettingFigures(
        emotion=emotion, emotion_low=emotion, emotion_high=emotion, gain=round(emotion - 0.5, 3),
        gain_low=0.0, gain_high=0.5, claims=0.9, claims_low=0.9,
        claims_high=0.9, asked=sent, tokens=5 * sent, numbers=6 * sent, bytes_sent=128 * sent,
        p50_ms=50.0, leakage=leakage, leakage_low=leakage, leakage_high=leakage,
    )  # fmt: skip


def setting(
    emotion: float,
    leakage: float = 0.0,
    sent: float = 0.0,
    *,
    sigma: float | None = None,
    disclosure: Disclosure = Disclosure.SUMMARY,
    domains: Sequence[Domain] = DOMAINS,
) -> MeasuredSetting:
    """Return a setting with the same figures in each domain; it never asks if nothing is sent."""
    return MeasuredSetting(
        min_gain=round(0.6 - sent, 3) if sent else None,
        disclosure=disclosure,
        sigma=sigma if sent else None,
        figures=dict.fromkeys(domains, figures(emotion, leakage, sent)),
    )


def frontier_with(
    *settings: MeasuredSetting, weights: dict[str, str] | None = None
) -> MeasuredFrontier:
    """Return a table of these settings, in the domains of the first."""
    return MeasuredFrontier(
        format=1, command="ugsd-lab frontier", weights=weights or {}, verifier="0" * 64,
        populations=dict.fromkeys(settings[0].figures, POPULATION), settings=settings,
    )  # fmt: skip
