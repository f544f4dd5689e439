"""Prosody with chosen measures; everything else is that of a plain clip of two seconds."""

from __future__ import annotations

from ugsd_sdk.prosody.prosody import Prosody

__all__ = ["prosody_of"]


def prosody_of(
    pitch_st: float | None = None, pace: float | None = None, effort_db: float | None = None
) -> Prosody:
    """Return a prosody; a measure that is not given is one that the clip lacks."""
    return Prosody(
        speech_s=2.0,
        start_s=0.0,
        end_s=2.0,
        level_db=-25.0,
        effort_db=effort_db,
        pitch_st=pitch_st,
        variation_st=None,
        clarity_db=None,
        pace=pace,
        pauses=(),
        changes=None,
        emphasis=None,
    )
