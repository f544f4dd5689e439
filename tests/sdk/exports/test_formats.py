"""Captions with times as files: other readers read them back, and no text breaks a format."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.caption import Caption
from ugsd_sdk.exports import (
    CaptionFormat,
    TimedCaption,
    caption_file_text,
    caption_formatter,
    write_captions,
)
from ugsd_sdk.exports.csv_rows import guarded
from ugsd_sdk.exports.cue_times import one_line

from tests.doubles.captions import captions, sample_caption
from tests.sdk.exports.subtitle_readers import read_srt, read_vtt

HOSTILE = (
    st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zl", "Zp"]))
    | st.text("-> <>&;=+@\r\n\t\0{}\"'0:,.\u2028\u202e\ud800")
)
TIMES = st.floats(0, 1e9) | st.floats(0, 1)


def _cues(caption: st.SearchStrategy[Caption | None]) -> st.SearchStrategy[list[TimedCaption]]:
    cue = st.builds(
        lambda times, *given: TimedCaption(*sorted(times), *given),
        st.tuples(TIMES, TIMES), HOSTILE, st.none() | HOSTILE, st.none() | HOSTILE, caption,
    )  # fmt: skip
    return st.lists(cue, max_size=3).map(lambda cues: sorted(cues, key=lambda one: one.start_s))


TEXTS, CAPTIONS = _cues(st.none()), _cues(st.none() | captions())
HELLO = TimedCaption(1.5, 3, "A woman speaks.", "agent", "a.wav")


def _written(cues: list[TimedCaption], kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    write_captions(file, cues, kind, **options)
    return file.getvalue()


def test_each_format_is_as_documented() -> None:
    cues = [HELLO, TimedCaption(360_000.001, 360_000.001, "calm & <b>, -->")]
    assert _written(cues, "vtt", source="a.wav --> b\n") == (
        b"WEBVTT\n\nNOTE Voice captions of a.wav -- > b\n\n"
        b"00:00:01.500 --> 00:00:03.000\n<v agent>A woman speaks.</v>\n\n"
        b"100:00:00.001 --> 100:00:00.002\ncalm &amp; &lt;b&gt;, --&gt;\n\n"
    )
    assert _written(cues, "srt").decode() == (
        "1\r\n00:00:01,500 --> 00:00:03,000\r\nagent: A woman speaks.\r\n\r\n"
        "2\r\n100:00:00,001 --> 100:00:00,002\r\ncalm & ‹b›, --›\r\n\r\n"
    )
    assert _written(cues[:1], "jsonl") == (
        b'{"start_s": 1.5, "end_s": 3, "text": "A woman speaks.", "channel": "agent", '
        b'"source": "a.wav"}\n'
    )
    header, row = _written(cues[:1], "csv").decode().removesuffix("\r\n").split("\r\n")
    assert header.startswith("start_s,end_s,channel,source,text,path,length,")
    assert row.startswith("1.5,3,agent,a.wav,A woman speaks.,,")
    assert header.count(",") == row.count(",")


@given(TEXTS, st.none() | HOSTILE)
def test_webvtt_is_read_back(cues: list[TimedCaption], source: str | None) -> None:
    comments, found = read_vtt(_written(cues, "vtt", source=source))
    assert len(comments) == (source is not None)
    assert [cue.text for cue in found] == [one_line(cue.text) for cue in cues]
    assert [cue.voice for cue in found] == [one_line(cue.channel or "") or None for cue in cues]
    assert [cue.start_ms for cue in found] == [round(1000 * cue.start_s) for cue in cues]


@given(TEXTS)
def test_subrip_is_read_back(cues: list[TimedCaption]) -> None:
    found = read_srt(_written(cues, "srt"))
    assert [cue.start_ms for cue in found] == [round(1000 * cue.start_s) for cue in cues]
    assert all(cue.text.isprintable() for cue in found)


@given(CAPTIONS)
def test_csv_is_read_back(cues: list[TimedCaption]) -> None:
    data = _written(cues, "csv").decode()
    assert data.count("\n") == len(cues) + 1, "no cell has a line end"
    rows = list(csv.DictReader(io.StringIO(data, newline=""), strict=True))
    for cue, row in zip(cues, rows, strict=True):
        assert (float(row["start_s"]), float(row["end_s"])) == (cue.start_s, cue.end_s)
        assert row["text"] == guarded(cue.text)
        known = {} if cue.caption is None else cue.caption.row()
        assert None not in row
        for name, value in row.items():
            if not isinstance(known.get(name), float | int):
                assert value[:1] not in {"=", "+", "-", "@", "\t", "\r"}, name


@given(CAPTIONS)
def test_json_lines_lose_nothing(cues: list[TimedCaption]) -> None:
    lines = _written(cues, "jsonl", details=True).decode().splitlines()
    assert [TimedCaption.from_json(line) for line in lines] == cues
    assert [json.loads(line)["text"] for line in lines] == [cue.text for cue in cues]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", " =1", 'a;=HYPERLINK("//x")', "a; -1"],
)
def test_formulas_are_guarded_in_csv(text: str) -> None:
    row = next(csv.reader([_written([TimedCaption(0, 1, text)], "csv").decode().splitlines()[1]]))
    assert "'" in row[4]
    assert guarded("loud - and\tfast; calm") == "loud - and\\tfast; calm"


def test_numbers_stay_numbers_in_csv() -> None:
    cue = TimedCaption.of_clip(sample_caption())
    row = next(csv.DictReader(io.StringIO(_written([cue], "csv").decode(), newline="")))
    assert float(row["valence"]) == -0.412
    assert (row["start_s"], row["end_s"]) == ("0.112", "2.289")


@pytest.mark.parametrize("kind", ["vtt", "srt"])
def test_captions_out_of_order_are_refused(kind: str) -> None:
    formatter = caption_formatter(kind)
    formatter.cue(HELLO)
    with pytest.raises(ValueError, match="sort them"):
        formatter.cue(TimedCaption(0, 1, "earlier"))
    shown = caption_file_text([HELLO, TimedCaption(0, 1, "earlier")], kind)
    assert shown.index("earlier") < shown.index("woman")


@pytest.mark.parametrize("times", [(-1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_impossible_times_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="give seconds"):
        TimedCaption(*times, "text")


def test_each_caption_is_written_at_once() -> None:
    file, seen = io.BytesIO(), []
    buffered = io.BufferedWriter(file)  # type: ignore[arg-type]

    def made() -> Iterator[TimedCaption]:
        for start_s in range(3):
            yield TimedCaption(start_s, start_s + 1, "text")
            seen.append(file.getvalue().count(b"-->"))

    write_captions(buffered, made(), CaptionFormat.VTT)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    "line",
    ['{"start_s": 0, "end_s": 1}', '{"start_s": 2, "end_s": 1, "text": ""}', "[]", "{", '{"a": 1}'],
)
def test_other_json_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        TimedCaption.from_json(line)


def test_formats_load_nothing_heavy() -> None:
    code = (
        "import sys, ugsd_sdk.exports; "
        "print([m for m in ('numpy', 'pydantic', 'ugsd_sdk.caption') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
