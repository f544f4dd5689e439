"""Draw boxes, lines and text as inline SVG in the colours of a page.

The page's Content-Security-Policy forbids inline styles, so all formatting is in attributes. The
same calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

__all__ = ["FONT_SIZE", "Drawing"]

FONT_SIZE = 12
_HATCH_GAP = 7

Point = tuple[float, float]


class Drawing:
    """A canvas of ``width`` by ``height`` units; y grows downwards.

    ``name`` must be unique on the page, because every id begins with it. A screen reader reads
    ``title`` and ``description``.
    """

    def __init__(
        self, name: str, title: str, description: str, *, width: float, height: float
    ) -> None:
        self._name = name
        self._root = ET.Element("svg", {
            "viewBox": f"0 0 {_text(width)} {_text(height)}", "role": "img",
            "aria-labelledby": f"{name}-title", "aria-describedby": f"{name}-desc",
        })  # fmt: skip
        for tag, text in (("title", title), ("desc", description)):
            ET.SubElement(self._root, tag, id=f"{name}-{tag}").text = text

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        """Fill a rectangle; ``colour`` is one of the page's variables, such as ``bar``."""
        self._box(left, top, right, bottom, f"var(--{colour})")

    def hatched_boxes(self, boxes: Sequence[tuple[float, float, float, float]]) -> None:
        """Fill rectangles with diagonal lines in the colour of limits. May be called once."""
        identity = f"{self._name}-hatch"
        pattern = ET.SubElement(ET.SubElement(self._root, "defs"), "pattern", {
            "id": identity, "width": str(_HATCH_GAP), "height": str(_HATCH_GAP),
            "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)",
        })  # fmt: skip
        line = {"d": f"M 0 0 L 0 {_HATCH_GAP}", "stroke": "var(--limit)", "stroke-width": "2"}
        ET.SubElement(pattern, "path", line)
        for box in boxes:
            self._box(*box, f"url(#{identity})")

    def line(self, points: Sequence[Point], colour: str, **attributes: str) -> None:
        """Draw a line through ``points``; ``attributes`` are SVG's, with underscores."""
        self._path(points, fill="none", stroke=f"var(--{colour})", **attributes)

    def area(self, points: Sequence[Point], colour: str) -> None:
        """Fill the polygon of ``points`` faintly."""
        self._path(points, fill=f"var(--{colour})", fill_opacity="0.15")

    def dot(self, at: Point, colour: str) -> None:
        """Mark a point."""
        place = {"cx": _text(at[0]), "cy": _text(at[1]), "r": "2.5"}
        ET.SubElement(self._root, "circle", place | {"fill": f"var(--{colour})"})

    def text(
        self, at: Point, text: str, anchor: str, colour: str = "ink", *, is_upright: bool = False
    ) -> None:
        """Write ``text`` with its ``anchor`` (start, middle or end) on its baseline at ``at``."""
        place = {"x": _text(at[0]), "y": _text(at[1])}
        if is_upright:
            place = {"transform": f"translate({_text(at[0])} {_text(at[1])}) rotate(-90)"}
        style = {"font-size": str(FONT_SIZE), "text-anchor": anchor, "fill": f"var(--{colour})"}
        ET.SubElement(self._root, "text", place | style).text = text

    def svg(self) -> str:
        """Return the drawing as an ``svg`` element."""
        return ET.tostring(self._root, encoding="unicode")

    def _box(self, left: float, top: float, right: float, bottom: float, fill: str) -> None:
        size = {"width": _text(right - left), "height": _text(bottom - top)}
        ET.SubElement(
            self._root, "rect", {"x": _text(left), "y": _text(top)} | size | {"fill": fill}
        )

    def _path(self, points: Sequence[Point], **attributes: str) -> None:
        steps = " L ".join(f"{_text(x)} {_text(y)}" for x, y in points)
        names = {key.replace("_", "-"): value for key, value in attributes.items()}
        ET.SubElement(self._root, "path", {"d": f"M {steps}"} | names)


def _text(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
