"""What matplotlib draws, as SVG that may stand in a page.

It is rid of styles, which the page's policy forbids, and of names that would stand twice there, and
it follows the page's colours.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

__all__ = ["COLOURS", "inline"]

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
COLOURS = {
    "#010101": "ink",
    "#020202": "bar",
    "#030303": "line",
    "#040404": "limit",
    "#050505": "rule",
}
"""Stand-ins to draw with, and the page's variable for each."""
_DROPPED = {"font", "font-family", "font-style", "font-variant", "font-stretch"}


def inline(svg: bytes, name: str, title: str, told: str) -> str:
    """``svg`` as matplotlib writes it of numbers and dates, which nobody else had a hand in.
    ``name`` is the chart's own on the page."""
    root = ET.fromstring(svg)  # noqa: S314
    for parent in root.iter():
        for child in list(parent):
            if child.tag in {f"{_SVG}metadata", f"{_SVG}style"}:
                parent.remove(child)
    used = {value[1:] for e in root.iter() if (value := e.get(_HREF))}
    used |= set(re.findall(r"url\(#(\w+)\)", svg.decode()))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)  # HTML knows them by their bare names
        _restyle(element, name, used)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "aria-describedby": f"{name}-desc",
    }
    for tag, text in (("desc", told), ("title", title)):
        element = ET.Element(tag, id=f"{name}-{tag}")
        element.text = text
        root.insert(0, element)
    return ET.tostring(root, encoding="unicode")


def _restyle(element: ET.Element, name: str, used: set[str]) -> None:
    """Presentation attributes in place of a style; only names that are used, made the chart's."""
    own = element.attrib.pop("id", None)
    if own in used:
        element.set("id", f"{name}-{own}")
    link = element.attrib.pop(_HREF, None)
    if link is not None:
        element.set("href", f"#{name}-{link[1:]}")
    style = element.attrib.pop("style", "")
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        size = re.search(r"([\d.]+)px", value)
        if key == "font" and size is not None:
            element.set("font-size", size[1])
        elif key not in _DROPPED:
            element.set(key, value)
    for key, value in element.attrib.items():
        if value in COLOURS:
            element.set(key, f"var(--{COLOURS[value]})")
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    if element.tag == "text" and "fill" not in element.attrib:
        element.set("fill", "var(--ink)")
