"""Draw boxes, lines and text as SVG: inline in the colours of a page, or as a file with its own.

The page's Content-Security-Policy forbids inline styles, so all formatting is in attributes. The
same calls give the same bytes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

__all__ = ["FONT_SIZE", "Drawing", "Palette"]

FONT_SIZE = 12
_NAMESPACE = "http://www.w3.org/2000/svg"
_VARIABLE = re.compile(r"var\(--([\w-]+)\)")
_HATCH_GAP = 7

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""
Palette = Mapping[str, tuple[str, str]]
"""Colours by name, each for a light and for a dark page."""


class Drawing:
    """A canvas of ``width`` by ``height`` units; y grows downwards.

    ``name`` must be unique on the page, because every id begins with it. A screen reader reads
    ``title`` and ``description``.
    """

    def __init__(
        self, name: str, title: str, description: str, *, width: float, height: float
    ) -> None:
        self._name = name
        self._size = {"width": _text(width), "height": _text(height)}
        self._root = ET.Element("svg", {
            "viewBox": f"0 0 {_text(width)} {_text(height)}", "role": "img",
            "aria-labelledby": f"{name}-title", "aria-describedby": f"{name}-desc",
        })  # fmt: skip
        for tag, text in (("title", title), ("desc", description)):
            ET.SubElement(self._root, tag, id=f"{name}-{tag}").text = text

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        """Fill a rectangle; ``colour`` is one of the page's variables, such as ``bar``."""
        self._box(left, top, right, bottom, f"var(--{colour})")

    def boxes(self, boxes: Sequence[Box], colour: str, **attributes: str) -> None:
        """Fill any number of rectangles, as one element; ``attributes`` as for :meth:`line`."""
        corners = (tuple(map(_text, box)) for box in boxes)
        steps = " ".join(f"M {x} {y} H {right} V {end} H {x} Z" for x, y, right, end in corners)
        if steps:
            self._draw(steps, fill=f"var(--{colour})", **attributes)

    def faint_boxes(self, boxes: Sequence[Box], colour: str) -> None:
        """Fill any number of rectangles faintly, as one element."""
        self.boxes(boxes, colour, fill_opacity="0.15")

    def hatched_boxes(self, boxes: Sequence[Box]) -> None:
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

    def lines(self, runs: Sequence[Sequence[Point]], colour: str, **attributes: str) -> None:
        """Draw any number of lines as one element; a line of one point is a dot."""
        steps = " ".join(_steps([*run, *run[:1]] if len(run) == 1 else run) for run in runs)
        style = {"stroke_linecap": "round", "stroke_linejoin": "round"} | attributes
        if steps:
            self._draw(steps, fill="none", stroke=f"var(--{colour})", **style)

    def area(self, points: Sequence[Point], colour: str, opacity: float = 0.15) -> None:
        """Fill the polygon of ``points``, by default faintly."""
        self._path(points, fill=f"var(--{colour})", fill_opacity=_text(opacity))

    def dot(self, at: Point, colour: str) -> None:
        """Mark a point."""
        place = {"cx": _text(at[0]), "cy": _text(at[1]), "r": "2.5"}
        ET.SubElement(self._root, "circle", place | {"fill": f"var(--{colour})"})

    def text(
        self,
        at: Point,
        text: str,
        anchor: str,
        colour: str = "ink",
        *,
        is_upright: bool = False,
        halo: str | None = None,
    ) -> None:
        """Write ``text`` with its ``anchor`` (start, middle or end) on its baseline at ``at``.

        ``halo`` is the colour of an outline that separates the text from what is below it.
        """
        place = {"x": _text(at[0]), "y": _text(at[1])}
        if is_upright:
            place = {"transform": f"translate({_text(at[0])} {_text(at[1])}) rotate(-90)"}
        style = {"font-size": str(FONT_SIZE), "text-anchor": anchor, "fill": f"var(--{colour})"}
        if halo is not None:
            style |= {
                "stroke": f"var(--{halo})", "stroke-width": "4",
                "stroke-linejoin": "round", "paint-order": "stroke",
            }  # fmt: skip
        ET.SubElement(self._root, "text", place | style).text = text

    def coloured_text(
        self, at: Point, parts: Sequence[tuple[str, str]], size: float = FONT_SIZE
    ) -> None:
        """Write ``parts``, each a text and its colour, one after the other from ``at`` on."""
        place = {"x": _text(at[0]), "y": _text(at[1]), "font-size": _text(size)}
        line = ET.SubElement(self._root, "text", place)
        for text, colour in parts:
            ET.SubElement(line, "tspan", {"fill": f"var(--{colour})"}).text = text

    def svg(self) -> str:
        """Return the drawing as an ``svg`` element for a page, which defines the colours."""
        return ET.tostring(self._root, encoding="unicode")

    def file(self, palette: Palette) -> str:
        """Return the drawing as the text of an SVG file. ``palette`` defines its colours.

        The light colours are attributes, for viewers that read no style sheet.
        """
        root = copy.deepcopy(self._root)
        used = {}
        for element in list(root.iter()):
            classes = []
            for key in ("fill", "stroke"):
                if found := _VARIABLE.fullmatch(element.get(key, "")):
                    light, dark = palette[found[1]]
                    element.set(key, light)
                    classes.append(f"{key}-{found[1]}")
                    used[classes[-1]] = f"{key}:{dark}"
            if classes:
                element.set("class", " ".join(classes))
        rules = "".join(f".{name}{{{rule}}}" for name, rule in sorted(used.items()))
        style = ET.Element("style")
        style.text = f"@media (prefers-color-scheme: dark){{{rules}}}"
        root.insert(2, style)  # after the title and the description
        font = {"font-family": "system-ui, sans-serif"}
        root.attrib = {"xmlns": _NAMESPACE} | self._size | font | root.attrib
        return f"{ET.tostring(root, encoding='unicode')}\n"

    def _box(self, left: float, top: float, right: float, bottom: float, fill: str) -> None:
        size = {"width": _text(right - left), "height": _text(bottom - top)}
        ET.SubElement(
            self._root, "rect", {"x": _text(left), "y": _text(top)} | size | {"fill": fill}
        )

    def _path(self, points: Sequence[Point], **attributes: str) -> None:
        self._draw(_steps(points), **attributes)

    def _draw(self, steps: str, **attributes: str) -> None:
        names = {key.replace("_", "-"): value for key, value in attributes.items()}
        ET.SubElement(self._root, "path", {"d": steps} | names)


def _steps(points: Sequence[Point]) -> str:
    return "M " + " L ".join(f"{_text(x)} {_text(y)}" for x, y in points)


def _text(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
