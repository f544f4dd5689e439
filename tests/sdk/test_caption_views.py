"""A caption in a notebook and as rows of a data frame."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, Attributes
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.caption import Caption

from tests.doubles.captions import captions, sample_caption

EMPTY = {"img", "br", "hr", "input", "link", "meta"}


class Fragment(HTMLParser):
    """What a browser reads: the text, the elements with their attributes, and whether all end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.titled: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in EMPTY
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.titled += [value or "" for name, value in attrs if name == "title"]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@given(captions())
def test_html_has_no_foreign_elements(caption: Caption) -> None:
    found = Fragment(caption._repr_html_())
    assert found.names <= {"div", "p", "small", "span", "b", "table", "tr", "td"}
    assert found.attributes <= {"style", "title"}


def test_html_marks_exactly_the_sent_words() -> None:
    html = sample_caption()._repr_html_()
    assert html.count('title="sent to the verifier"') == 1
    assert 'title="sent to the verifier">sounds angry,</span>' in html
    assert sample_caption().text in Fragment(html).text


def test_html_escapes_the_text() -> None:
    text = "<script>alert(1)</script>\u202e & 'more'"
    html = sample_caption().model_copy(update={"text": text, "tokens": ()})._repr_html_()
    assert "<script" not in html
    assert "\u202e" not in html
    assert "<script>alert(1)</script>\\u202e & 'more'" in Fragment(html).text


def test_html_lists_attributes_with_values() -> None:
    found = Fragment(sample_caption()._repr_html_())
    for shown in ("high pitch", "louder towards the end", "5.91 syllables/s", "0.97"):
        assert shown in found.text
    assert "profile" not in found.text
    assert "happy 0.08; angry 0.82; fearful 0.09" in found.titled


def silent() -> Caption:
    update = {"text": "No speech.", "tokens": (), "attributes": Attributes.unknown()}
    return sample_caption().model_copy(update=update)


def test_caption_without_speech_has_no_table() -> None:
    assert "<table" not in silent()._repr_html_()


@given(captions())
def test_columns_are_the_same_for_each_caption(caption: Caption) -> None:
    assert list(caption.row()) == list(silent().row())
    for row in (caption.row(), *caption.rows()):
        assert all(type(value) in {str, float, int, bool, type(None)} for value in row.values())


def test_row_has_attributes_and_probabilities() -> None:
    row = sample_caption().row()
    assert (row["emotion"], row["emotion_confidence"]) == ("angry", 0.821)
    assert (row["emotion_angry"], row["emotion_bored"]) == (0.821, 0.0)
    assert (row["pitch"], row["pitch_measured"]) == ("high", 13.12)
    assert row["profile"] is None
    assert row["num_disclosed_tokens"] == 2
    assert [silent().row()[f"emotion_{one}"] for one in EMOTIONS] == [None] * len(EMOTIONS)


def test_rows_have_one_for_each_attribute() -> None:
    rows = sample_caption().rows()
    assert [row["attribute"] for row in rows] == list(ATTRIBUTE_VALUES)
    assert rows[3] == {
        "path": "clips/angry <1>.wav",
        "attribute": "pace",
        "value": "fast",
        "confidence": 0.931,
        "measured": 5.91,
        "unit": "syllables/s",
        "decided_by": "device",
        "is_said": True,
    }
    assert len(silent().rows()) == len(rows)
