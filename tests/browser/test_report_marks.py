"""Sent words are marked by disclosure level, whatever colours a reader has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from tests.browser.browsing import emulate

pytestmark = pytest.mark.slow

DISCLOSURES = ("tokens", "summary", "block_states", "all_states")
SPECIMENS = """
const line = document.createElement("p");
line.id = "specimens";
const disclosures = arguments[0].map(name => `d-${name}`);
for (const name of [...disclosures, "", "state", "replaced", "replaced state"]) {
  const mark = document.createElement("mark");
  mark.className = name;
  mark.append("word");
  line.append(mark, " ");
}
document.querySelector("main").prepend(line);
"""
STYLES = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = c => { c /= 255; return c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
const luminance = c => .2126 * light(c[0]) + .7152 * light(c[1]) + .0722 * light(c[2]);
const ratio = (a, b) => { const [x, y] = [a, b].map(c => luminance(rgb(c))).sort((p, q) => q - p);
  return (x + .05) / (y + .05); };
const ground = getComputedStyle(document.body).backgroundColor;
return [...document.querySelectorAll("#specimens mark")].map(mark => {
  const style = getComputedStyle(mark);
  return {
    name: mark.className,
    border: `${style.borderTopStyle} ${style.borderTopWidth}`,
    edge: ratio(style.borderTopColor, ground),
    text: ratio(style.color, style.backgroundColor),
    lines: style.textDecorationLine,
  };
});
"""


@pytest.fixture
def specimens(shown: Chrome) -> Iterator[Chrome]:
    shown.execute_script(SPECIMENS, DISCLOSURES)
    yield shown
    emulate(shown)
    shown.execute_script("document.querySelector('#specimens').remove()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("media", "forced"), [("", "none"), ("", "active"), ("print", "none")])
def test_marks_distinguish_disclosures_without_colours(
    specimens: Chrome, scheme: str, media: str, forced: str
) -> None:
    emulate(specimens, media, prefers_color_scheme=scheme, forced_colors=forced)
    styles = specimens.execute_script(STYLES)
    borders = {style["border"] for style in styles[: len(DISCLOSURES)]}
    assert len(borders) == len(DISCLOSURES)
    for style in styles:
        assert not style["border"].startswith(("none", "hidden"))
        assert style["edge"] >= 3, style  # WCAG 2.2, 1.4.11
        assert style["text"] >= 4.5, style
    lines = {style["name"]: style["lines"] for style in styles}
    assert lines[""] == lines["d-all_states"] == "none"
    assert lines["state"] == "underline"
    assert lines["replaced"] == "line-through"
    assert lines["replaced state"] == "underline line-through"


def test_charts_follow_forced_colours(shown: Chrome) -> None:
    fill = "return getComputedStyle(document.querySelector('svg [fill=\"var(--bar)\"]')).fill"
    found = []
    for forced in ("none", "active"):
        emulate(shown, prefers_color_scheme="dark", forced_colors=forced)
        found.append(shown.execute_script(fill))
    emulate(shown)
    assert found == ["rgb(127, 178, 240)", "rgb(255, 255, 255)"]
