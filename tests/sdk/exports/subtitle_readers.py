"""Strict readers of WebVTT and SubRip, written from their descriptions and not from our writers."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

__all__ = ["ReadCue", "read_srt", "read_vtt"]

_HOURS = r"(\d{2,}):([0-5]\d):([0-5]\d)"
_VTT_TIMES = re.compile(rf"{_HOURS}\.(\d{{3}}) --> {_HOURS}\.(\d{{3}})")
_SRT_TIMES = re.compile(rf"{_HOURS},(\d{{3}}) --> {_HOURS},(\d{{3}})")
_VOICE = re.compile(r"<v ([^\n\r<>]+)>([^<>]*)</v>")
_REFERENCE = re.compile(r"&(?!(?:amp|lt|gt);)")


class ReadCue(NamedTuple):
    start_ms: int
    end_ms: int
    text: str
    voice: str | None = None


def read_vtt(data: bytes) -> tuple[list[str], list[ReadCue]]:
    """Return the comments and the cues (https://www.w3.org/TR/webvtt1/ §4.1)."""
    text = data.decode("utf-8")
    assert "\0" not in text
    assert "\r" not in text
    head, *blocks = re.split(r"\n{2,}", text.rstrip("\n"))
    assert re.fullmatch(r"WEBVTT(?:[ \t][^\n]*)?", head)
    comments, cues = [], list[ReadCue]()
    for block in blocks:
        lines = block.split("\n")
        if re.match(r"NOTE(?:\s|$)", lines[0]):
            assert "-->" not in block
            comments.append(block.removeprefix("NOTE").strip())
            continue
        times, *payload = lines
        assert len(payload) <= 1
        assert all("-->" not in line for line in payload)
        start_ms, end_ms = _times(_VTT_TIMES, times)
        assert start_ms >= (cues[-1].start_ms if cues else 0), "cues are in order"
        cues.append(ReadCue(start_ms, end_ms, *_payload("".join(payload))))
    return comments, cues


def read_srt(data: bytes) -> list[ReadCue]:
    """Return the captions of a SubRip file."""
    text = data.decode("utf-8")
    assert "\n" not in text.replace("\r\n", "")
    assert "\r" not in text.replace("\r\n", "")
    cues = []
    for number, block in enumerate(re.findall(r"(.*\r\n.*\r\n.*\r\n)\r\n|(?s:.)", text), 1):
        index, times, shown = block.removesuffix("\r\n").split("\r\n")
        assert index == str(number)
        assert not re.search(r"[<>{}]", shown)
        cues.append(ReadCue(*_times(_SRT_TIMES, times), shown))
    return cues


def _times(form: re.Pattern[str], line: str) -> tuple[int, int]:
    found = form.fullmatch(line)
    assert found is not None, line
    hour, minute, second, ms, *end = map(int, found.groups())
    end_hour, end_minute, end_second, end_ms = end
    start = ((hour * 60 + minute) * 60 + second) * 1000 + ms
    stop = ((end_hour * 60 + end_minute) * 60 + end_second) * 1000 + end_ms
    assert start < stop, "a cue ends after its start"
    return start, stop


def _payload(line: str) -> tuple[str, str | None]:
    assert not _REFERENCE.search(line), "an ampersand begins a character reference"
    voiced = _VOICE.fullmatch(line)
    assert voiced or not re.search("[<>]", line)
    voice, text = voiced.groups() if voiced else (None, line)
    return html.unescape(text), None if voice is None else html.unescape(voice)
