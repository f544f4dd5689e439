"""The marks that show in a clip's picture what each clause speaks of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.reports.svg_drawing import Drawing

from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.reports.claims import Claim
from ugsd_sdk.reports.clip_contours import ClipContours, SpanS
from ugsd_sdk.reports.clip_panels import LEFT, RIGHT, Panels

__all__ = ["PLACES", "draw_marks"]

Float64 = NDArray[np.float64]

PLACES: Mapping[Slot, str] = {
    Slot.EMOTION: "not drawn: the voice as a whole",
    Slot.LOUDNESS: "not drawn: the spectrum",
    Slot.PACE: "the shaded speech",
    Slot.PITCH: "the line of the median",
    Slot.VARIATION: "the band around the median",
    Slot.QUALITY: "not drawn: the spectrum",
    Slot.PAUSES: "hatched",
    Slot.CHANGE: "both marked thirds",
    Slot.EMPHASIS: "the dashed line",
    Slot.PROFILE: "not drawn: earlier clips",
    Slot.PREVIOUS: "not drawn: the clip before",
}
"""Where the picture shows what a clause speaks of."""

_PITCH_CHANGES = ("higher", "lower", "raised_end")
_PACE_CHANGES = ("faster", "slower")
_END_S = 0.3
"""How long the very end of the speech is marked."""


class _Scene(NamedTuple):
    """What a mark is drawn with."""

    drawing: Drawing
    panels: Panels
    contours: ClipContours


def draw_marks(
    drawing: Drawing,
    panels: Panels,
    contours: ClipContours,
    claims: Sequence[tuple[Claim, str]],
) -> None:
    """Draw the mark of each claim in its colour, with the number that the sentence gives it."""
    scene = _Scene(drawing, panels, contours)
    for claim, number in claims:
        if claim.slot in _MARKS:
            _MARKS[claim.slot](scene, claim, number)


def _speech(scene: _Scene, claim: Claim, number: str) -> None:
    if scene.contours.speech:
        at = (scene.panels.x(scene.contours.speech[0][0]) + 4, scene.panels.wave.top + 12)
        _label(scene, at, f"speech{number}", "start", claim.slot)


def _median(scene: _Scene, claim: Claim, number: str) -> None:
    panel, pitch = scene.panels.pitch, _voiced(scene.contours)
    if panel is None or not len(pitch):
        return
    y = panel.y(float(np.median(pitch)))
    scene.drawing.line([(LEFT, y), (RIGHT, y)], claim.slot, stroke_width="1.5")
    _label(scene, (RIGHT - 4, y - 4), f"median{number}", "end", claim.slot)


def _band(scene: _Scene, claim: Claim, number: str) -> None:
    panel, pitch = scene.panels.pitch, _voiced(scene.contours)
    if panel is None or not len(pitch):
        return
    median, deviation = float(np.median(pitch)), float(np.std(pitch))
    top, bottom = panel.y(median + deviation), panel.y(median - deviation)
    scene.drawing.faint_boxes([(LEFT, top, RIGHT, bottom)], claim.slot)
    for y in (top, bottom):
        scene.drawing.line([(LEFT, y), (RIGHT, y)], claim.slot, stroke_width="0.8")
    _label(scene, (LEFT + 4, top - 4), f"median ± SD{number}", "start", claim.slot)


def _change(scene: _Scene, claim: Claim, number: str) -> None:
    thirds = scene.contours.thirds()
    if thirds is None:
        return
    value = claim.attribute.value
    if value == "raised_end":
        end_s = thirds[1][1]
        thirds = ((thirds[0][0], end_s), (max(end_s - _END_S, thirds[1][0]), end_s))
    label_y, heights = _heights(scene, value, thirds)
    names = ("whole", "end") if value == "raised_end" else ("first third", "last third")
    for (start, end), y, name in zip(thirds, heights, names, strict=True):
        a, b = scene.panels.x(start), scene.panels.x(end)
        scene.drawing.line([(a, y), (b, y)], claim.slot, stroke_width="3")
        _label(scene, ((a + b) / 2, label_y), f"{name}{number}", "middle", claim.slot)


def _heights(
    scene: _Scene, value: str | None, spans: tuple[SpanS, SpanS]
) -> tuple[float, tuple[float, float]]:
    """Return the height of a change's labels, and that of each span's mean in its panel."""
    contours, panels = scene.contours, scene.panels
    if value in _PITCH_CHANGES and panels.pitch is not None:
        first, last = (panels.pitch.y(_pitch_st(contours, span)) for span in spans)
        return panels.pitch.bottom + 14, (first, last)
    if value in _PACE_CHANGES:
        y = panels.wave.bottom - 3
        return y - 5, (y, y)
    loudest = float(contours.level_db.max()) if len(contours.level_db) else 0.0
    first, last = (panels.level.y(_level_db(contours, span) - loudest) for span in spans)
    return panels.level.top - 4, (first, last)


def _emphasis(scene: _Scene, claim: Claim, number: str) -> None:
    if scene.contours.emphasis_s is None:
        return
    x = scene.panels.x(scene.contours.emphasis_s)
    ends = [(x, scene.panels.wave.top - 4), (x, scene.panels.level.bottom)]
    scene.drawing.line(ends, claim.slot, stroke_width="1.5", stroke_dasharray="5 3")
    anchor = "end" if x > (LEFT + RIGHT) / 2 else "start"
    at = (x + (4 if anchor == "start" else -4), scene.panels.wave.top - 6)
    _label(scene, at, f"emphasis{number}", anchor, claim.slot)


def _label(scene: _Scene, at: tuple[float, float], text: str, anchor: str, colour: str) -> None:
    """Write a label that stays legible on the curves, and within the axis."""
    x, y = at
    scene.drawing.text((min(max(x, LEFT), RIGHT), y), text, anchor, colour, halo="paper")


def _voiced(contours: ClipContours) -> Float64:
    voiced: Float64 = contours.pitch_st[np.isfinite(contours.pitch_st)]
    return voiced


def _pitch_st(contours: ClipContours, span: SpanS) -> float:
    """Return the median pitch within a span of time, or that of the clip if it has none."""
    inside = contours.pitch_st[_is_within(contours, span)]
    voiced = inside[np.isfinite(inside)]
    return float(np.median(voiced if len(voiced) else _voiced(contours)))


def _level_db(contours: ClipContours, span: SpanS) -> float:
    """Return the level of the mean power within a span of time."""
    inside = contours.level_db[_is_within(contours, span)]
    return float(10 * np.log10(np.mean(10 ** (inside / 10)))) if len(inside) else 0.0


def _is_within(contours: ClipContours, span: SpanS) -> NDArray[np.bool_]:
    is_within: NDArray[np.bool_] = (contours.times_s >= span[0]) & (contours.times_s <= span[1])
    return is_within


_MARKS: Mapping[Slot, Callable[[_Scene, Claim, str], None]] = {
    Slot.PACE: _speech,
    Slot.PITCH: _median,
    Slot.VARIATION: _band,
    Slot.CHANGE: _change,
    Slot.EMPHASIS: _emphasis,
}
