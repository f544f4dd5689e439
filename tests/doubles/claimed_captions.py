"""Captions whose clauses and attributes a test chooses, and contours of a made-up voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.reports.clip_contours import FRAME_S, ClipContours, SpanS

__all__ = ["CLAUSES", "ScriptedCaption", "ScriptedToken", "made_contours", "scripted_caption"]

CLAUSES: dict[Slot | None, tuple[str, Attribute]] = {
    Slot.EMOTION: (" sounds sad", Attribute(value="sad", confidence=0.81)),
    Slot.LOUDNESS: (", speaks softly", Attribute(value="quiet", confidence=0.97, measured=-14.2)),
    Slot.PACE: (" and slowly", Attribute(value="slow", confidence=0.93, measured=3.4)),
    Slot.PITCH: (" in a high", Attribute(value="high", confidence=0.999, measured=12.0)),
    Slot.VARIATION: (" and lively", Attribute(value="lively", confidence=0.95, measured=4.2)),
    Slot.QUALITY: (", breathy voice", Attribute(value="breathy", confidence=0.91, measured=11.0)),
    Slot.PAUSES: (
        ", with a long pause late on",
        Attribute(value="long_late", confidence=0.96, measured=0.8),
    ),
    Slot.CHANGE: (
        ", and grows quieter",
        Attribute(value="quieter", confidence=0.94, measured=-5.3),
    ),
    Slot.EMPHASIS: (", stress late", Attribute(value="late", confidence=0.95, measured=0.62)),
    Slot.PROFILE: ("; higher than usual", Attribute(value="higher", confidence=0.92)),
    Slot.PREVIOUS: (" and calmer", Attribute(value="calmer", confidence=0.9)),
}
"""The words and the attribute of each slot."""


@dataclass(frozen=True)
class ScriptedToken:
    """A token of a caption."""

    text: str
    slot: Slot | None = None


@dataclass(frozen=True)
class ScriptedCaption:
    """The parts of a caption that explain it."""

    tokens: tuple[ScriptedToken, ...]
    attributes: Any
    speech: Any = field(default_factory=lambda: SimpleNamespace(duration_s=2.0, spans=((0, 2),)))

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens).strip()


def scripted_caption(
    slots: Sequence[Slot] = tuple(Slot),
    *,
    pause_spans: Sequence[SpanS] = (),
    words: dict[Slot, str] | None = None,
    **changes: Attribute,
) -> ScriptedCaption:
    """Return a caption that states ``slots``. The other attributes have no value; ``changes``
    replace attributes, and ``words`` the words of slots."""
    attributes = {"intensity": Attribute()} | {
        str(slot): CLAUSES[slot][1].model_copy(update={"is_said": True})
        if slot in slots
        else Attribute()
        for slot in Slot
    }
    tokens = [ScriptedToken("A speaker")]
    for slot in slots:
        tokens.append(ScriptedToken((words or {}).get(slot, CLAUSES[slot][0]), slot))
    tokens.append(ScriptedToken("."))
    return ScriptedCaption(
        tuple(tokens),
        SimpleNamespace(**(attributes | changes), pause_spans=tuple(pause_spans)),
    )


def made_contours(
    duration_s: float, speech: Sequence[SpanS], *, is_voiced: bool = True, seed: int = 0
) -> ClipContours:
    """Return contours that change in every frame, the worst case for the size of a picture."""
    rng = np.random.default_rng(seed)
    count = round(duration_s / FRAME_S)
    peaks = rng.uniform(0, 1, count).astype(np.float32)
    pitch = np.where(rng.uniform(size=count) < 0.7, rng.uniform(-7, 30, count), np.nan)
    return ClipContours(
        times_s=FRAME_S * (np.arange(count) + 0.5),
        envelope=np.stack([-peaks, peaks], axis=1),
        level_db=rng.uniform(-90, 0, count),
        pitch_st=pitch if is_voiced else np.full(count, np.nan),
        speech=tuple(speech),
        duration_s=duration_s,
        emphasis_s=0.6 * duration_s,
    )
