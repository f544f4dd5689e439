"""The pictures of :mod:`ugsd_privacy.reports.svg_drawing` as PNG files, drawn by Pillow.

Only what such a drawing holds is drawn: rectangles, straight paths and text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from ugsd_sdk.errors import ConfigError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = ["png_of"]

_FINER = 2
"""Edges are smoothed by drawing in twice the size."""
_MOST_PIXELS = 60_000_000
_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc")
"""Tried in this order; then Pillow's own, which has Latin letters only."""
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
_STEP = re.compile(r"([MLHVZ])([^MLHVZ]*)")

_Point = tuple[float, float]


def png_of(svg: str, scale: float = 2.0) -> bytes:
    """Return the PNG file of a drawing, ``scale`` pixels for each of its units.

    Raises :class:`ConfigError` without Pillow, and :class:`ValueError` for a scale that is not
    above 0 or makes the picture too large.
    """
    try:
        from PIL import Image, ImageDraw  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ConfigError(
            "PNG files are drawn with Pillow: `pip install ugsd[picture]`, or write an .svg file"
        ) from error
    root = ET.fromstring(svg)  # noqa: S314  # our own drawing
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    if not (scale > 0 and width * height * (scale * _FINER) ** 2 <= _MOST_PIXELS):
        raise ValueError(f"a scale of {scale:g} for {width:g} by {height:g}: use about 2")
    size = round(width * scale), round(height * scale)
    image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), "white")
    canvas = _Canvas(ImageDraw.Draw(image, "RGBA"), scale * _FINER)
    for element in root:
        canvas.add(element)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BOX).save(file, "PNG", optimize=True)
    return file.getvalue()


class _Canvas:
    def __init__(self, draw: ImageDraw, scale: float) -> None:
        self._draw, self._scale = draw, scale

    def add(self, element: ET.Element) -> None:
        tag = element.tag.rpartition("}")[2]
        if tag == "rect":
            x, y, width, height = (float(element.get(key, "0")) for key in _RECTANGLE)
            self._fill([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], element)
        elif tag == "path":
            for points in _runs(element.get("d", "")):
                self._fill(points, element)
                self._stroke(points, element)
        elif tag == "text":
            self._text(element)

    def _fill(self, points: list[_Point], element: ET.Element) -> None:
        colour = _colour(element, "fill")
        if colour is not None and len(points) > 2:
            self._draw.polygon([self._at(point) for point in points], fill=colour)

    def _stroke(self, points: list[_Point], element: ET.Element) -> None:
        colour = _colour(element, "stroke")
        if colour is None:
            return
        width = max(1, round(float(element.get("stroke-width", "1")) * self._scale))
        for run in _dashes(points, element.get("stroke-dasharray")):
            self._draw.line([self._at(point) for point in run], colour, width, joint="curve")

    def _text(self, element: ET.Element) -> None:
        size = float(element.get("font-size", "12"))
        font = _font(round(size * self._scale))
        at = self._at((float(element.get("x", "0")), float(element.get("y", "0"))))
        anchor = _ANCHORS[element.get("text-anchor", "start")]
        halo = _colour(element, "stroke")
        around = round(2 * self._scale) if halo is not None else 0
        for part in [element, *element]:
            colour = _colour(part, "fill") or _colour(element, "fill") or (0, 0, 0, 255)
            if part.text:
                self._draw.text(
                    at, part.text, colour, font, anchor, stroke_width=around, stroke_fill=halo
                )
                at = (at[0] + self._draw.textlength(part.text, font), at[1])

    def _at(self, point: _Point) -> _Point:
        return point[0] * self._scale, point[1] * self._scale


_RECTANGLE = ("x", "y", "width", "height")


def _runs(steps: str) -> Iterator[list[_Point]]:
    """Yield the lines and polygons of a path of absolute steps."""
    points: list[_Point] = []
    for command, given in _STEP.findall(steps):
        numbers = [float(number) for number in given.split()]
        if command == "M" and points:
            yield points
            points = []
        if command in "ML":
            points.append((numbers[0], numbers[1]))
        elif command == "H":
            points.append((numbers[0], points[-1][1]))
        elif command == "V":
            points.append((points[-1][0], numbers[0]))
    if points:
        yield points


def _dashes(points: list[_Point], pattern: str | None) -> Iterator[list[_Point]]:
    """Yield the dashes of a line of two points, or the whole line without a ``pattern``."""
    if pattern is None or len(points) != 2:
        yield points
        return
    dash, gap = map(float, pattern.split())
    (x, y), (end_x, end_y) = points
    length = max(((end_x - x) ** 2 + (end_y - y) ** 2) ** 0.5, 1e-6)
    at = 0.0
    while at < length:
        spans = (at / length, min(at + dash, length) / length)
        yield [(x + share * (end_x - x), y + share * (end_y - y)) for share in spans]
        at += dash + gap


def _colour(element: ET.Element, key: str) -> tuple[int, int, int, int] | None:
    value = element.get(key)
    if value is None or not value.startswith("#"):
        return None
    red, green, blue = (int(value[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, round(255 * float(element.get(f"{key}-opacity", "1")))


def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont  # noqa: PLC0415  # an extra

    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)  # type: ignore[return-value]
