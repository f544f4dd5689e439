"""A clip's picture is well formed, small, legible, and shows what the caption states."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot
from ugsd_sdk.reports.clip_contours import ClipContours, contours_of
from ugsd_sdk.reports.clip_panels import LEFT, RIGHT
from ugsd_sdk.reports.clip_picture import PALETTE, WIDTH, clip_picture

from tests.doubles.claimed_captions import made_contours, scripted_caption

SVG = "{http://www.w3.org/2000/svg}"
MAX_BYTES = 60_000
MINUTES = 60.0
_POINT = re.compile(r"[ML] (-?[\d.]+) (-?[\d.]+)")
_BOX = re.compile(r"M (-?[\d.]+) -?[\d.]+ H (-?[\d.]+)")
_SPANS = ((0.2, 1.4), (1.8, 3.9))


def drawn(contours: ClipContours, **options: object) -> str:
    return clip_picture(contours, scripted_caption(**options), "voice.wav")  # type: ignore[arg-type]


def words(picture: str) -> list[str]:
    """Return the text of each line of a picture."""
    return ["".join(one.itertext()) for one in ET.fromstring(picture).iter(f"{SVG}text")]


def places_x(picture: str) -> list[float]:
    """Return the horizontal place of everything that lies on the axis."""
    root = ET.fromstring(picture)
    pattern = next(root.iter(f"{SVG}pattern"), None)
    outside = set() if pattern is None else set(pattern.iter())
    found = []
    for path in root.iter(f"{SVG}path"):
        if path not in outside:
            found += [float(x) for x, _ in _POINT.findall(path.get("d", ""))]
            found += [float(x) for box in _BOX.findall(path.get("d", "")) for x in box]
    hatched = [box for box in root.iter(f"{SVG}rect") if "url" in box.get("fill", "")]
    for box in hatched:
        left = float(box.get("x", "nan"))
        found += [left, left + float(box.get("width", "nan"))]
    return found


def hatched(picture: str) -> int:
    boxes = ET.fromstring(picture).iter(f"{SVG}rect")
    return sum("url" in box.get("fill", "") for box in boxes)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2.1."""
    lights = []
    for colour in (one, other):
        shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        lights.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_every_clause_is_numbered_and_listed() -> None:
    pauses = ((1.4, 1.8),)
    text = words(drawn(made_contours(4, _SPANS), pause_spans=pauses))
    whole = " ".join(text)
    assert "A speaker sounds sad¹, speaks softly² and slowly³ in a high⁴ and lively⁵" in whole
    assert text.count("1 emotion") == text.count("11 previous") == 1
    for measured in ("200 Hz", "-14.2 dB", "3.4 syllables/s", "-5.3 dB", "100 %"):
        assert (measured in text) == (measured != "100 %"), measured
    assert "> 99 %" in text
    for mark in ("median⁴", "0.4 s⁷", "first third⁸", "last third⁸", "emphasis⁹", "speech³"):
        assert mark in text, mark


def test_unstated_claims_have_no_mark() -> None:
    text = " ".join(words(drawn(made_contours(4, _SPANS), slots=[Slot.EMOTION])))
    for mark in ("median", "third", "emphasis", "speech¹", "pitch¹"):
        assert mark not in text


def test_title_and_description_are_read_aloud() -> None:
    picture = drawn(made_contours(4, _SPANS), pause_spans=((1.4, 1.8),))
    root = ET.fromstring(picture)
    labelled = [root.get("aria-labelledby"), root.get("aria-describedby")]
    title, description = (root.find(f"*[@id='{identity}']") for identity in labelled)
    assert title is not None
    assert title.text == "voice.wav"
    assert description is not None
    assert "4.0 s, of which 3.3 s are speech, with 1 pause." in str(description.text)
    assert "emotion: sad; loudness: quiet (-14.2 dB)" in str(description.text)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        'a" onload="x',
        "]]>&amp;",
        "a\x1b[2J\x00b",
        "a\u202eb",
        "\udcff",
    ],
)
def test_foreign_text_is_escaped(hostile: str) -> None:
    caption = scripted_caption(
        words={Slot.EMOTION: f" {hostile}"}, emotion=Attribute(value=hostile, confidence=0.5)
    )
    picture = clip_picture(made_contours(4, _SPANS), caption, hostile)
    root = ET.fromstring(picture)
    tags = {one.tag.removeprefix(SVG) for one in root.iter()}
    assert tags <= {
        "svg",
        "title",
        "desc",
        "style",
        "defs",
        "pattern",
        "rect",
        "path",
        "text",
        "tspan",
    }
    assert not any(key.startswith("on") for one in root.iter() for key in one.attrib)
    assert picture.isprintable() or set(filter(lambda c: not c.isprintable(), picture)) == {"\n"}
    picture.encode()


def test_nothing_is_loaded_from_elsewhere() -> None:
    picture = drawn(made_contours(4, _SPANS), pause_spans=((1.4, 1.8),))
    without_namespace = picture.replace("http://www.w3.org/2000/svg", "")
    assert "//" not in without_namespace
    assert "@import" not in picture
    assert set(re.findall(r"url\(([^)]*)\)", picture)) == {"#clip-hatch"}


@given(
    ends=st.lists(st.floats(0, 30), min_size=0, max_size=40),
    duration_s=st.floats(0.1, 20),
    is_voiced=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_everything_lies_on_the_axis(ends: list[float], duration_s: float, is_voiced: bool) -> None:
    spans = list(pairwise(sorted(ends)))
    contours = made_contours(duration_s, spans[::2], is_voiced=is_voiced)
    picture = drawn(contours, pause_spans=spans[1::2])
    places = places_x(picture)
    assert min(places) >= LEFT
    assert max(places) <= RIGHT
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"<(title|desc)\b.*?</\1>", "", picture))


@pytest.mark.parametrize("minutes", [0.05, 1, 20])
def test_picture_stays_small(minutes: float) -> None:
    duration_s = minutes * MINUTES
    starts = np.arange(0, duration_s - 0.5, 0.5)
    speech = [(float(start), float(start) + 0.3) for start in starts]
    pauses = [(float(start) + 0.3, float(start) + 0.5) for start in starts]
    picture = drawn(made_contours(duration_s, speech), pause_spans=pauses)
    assert len(picture.encode()) <= MAX_BYTES


def test_long_sentence_is_cut_and_small() -> None:
    every = " ".join(["unbreakable" * 40, *["word"] * 5000])
    picture = drawn(made_contours(4, _SPANS), words={Slot.EMOTION: f" {every}"})
    assert len(picture.encode()) <= MAX_BYTES
    assert max(map(len, words(picture))) < 120


def test_clip_without_pitch_says_so() -> None:
    text = words(drawn(made_contours(4, _SPANS, is_voiced=False)))
    assert "no pitch was found" in text
    assert not [one for one in text if one.startswith("median")]


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.1])
@pytest.mark.parametrize("value", SLOT_VALUES[Slot.CHANGE])
def test_clip_of_almost_nothing_is_drawn(seconds: float, value: str) -> None:
    silence = np.zeros(round(16_000 * seconds), np.float32)
    change = Attribute(value=value, confidence=0.95)
    picture = clip_picture(contours_of([silence], ()), scripted_caption(change=change), "short")
    ET.fromstring(picture)
    assert "no pitch was found" in words(picture)


@pytest.mark.parametrize("value", SLOT_VALUES[Slot.CHANGE])
@pytest.mark.parametrize("is_voiced", [True, False])
def test_every_change_is_marked(value: str, is_voiced: bool) -> None:
    change = Attribute(value=value, confidence=0.95)
    caption = scripted_caption([Slot.CHANGE], change=change)
    text = words(clip_picture(made_contours(4, _SPANS, is_voiced=is_voiced), caption, "clip"))
    assert ("end¹" if value == "raised_end" else "last third¹") in text


def test_longest_pauses_are_hatched_and_labelled() -> None:
    pauses = ((0.5, 0.8), (1.0, 1.3), (2.0, 3.0))
    picture = drawn(made_contours(4, _SPANS), pause_spans=pauses)
    assert hatched(picture) == 3
    assert "1.0 s⁷" in words(picture)


def test_colours_are_legible_on_both_papers() -> None:
    for name in ("ink", "note", "limit", *Slot):
        for paper, colour in zip(PALETTE["paper"], PALETTE[name], strict=True):
            assert contrast(paper, colour) >= 4.5, name


def test_dark_pages_get_their_own_colours() -> None:
    picture = drawn(made_contours(4, _SPANS))
    root = ET.fromstring(picture)
    assert root.get("width") == str(round(WIDTH))
    style = root.find(f"{SVG}style")
    assert style is not None
    ruled = set(re.findall(r"\.([\w-]+)\{", str(style.text)))
    used = {name for one in root.iter() for name in one.get("class", "").split()}
    assert used == ruled
    assert "prefers-color-scheme: dark" in str(style.text)


def test_same_clip_gives_same_bytes() -> None:
    assert drawn(made_contours(4, _SPANS)) == drawn(made_contours(4, _SPANS))
