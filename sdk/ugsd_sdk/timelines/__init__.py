"""Long recordings as timelines: utterances, arcs, turning points, summaries, files and pictures."""

from __future__ import annotations

from ugsd_sdk.timelines.parts import (
    ArcPoint,
    Relation,
    TimelineChannel,
    TimelineNote,
    TimelineUtterance,
    TurningPoint,
)
from ugsd_sdk.timelines.timeline import Timeline

__all__ = [
    "ArcPoint",
    "Relation",
    "Timeline",
    "TimelineChannel",
    "TimelineNote",
    "TimelineUtterance",
    "TurningPoint",
]
