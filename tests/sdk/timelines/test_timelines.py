"""Timelines of recorded calls: channels, captions, files and pictures."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from ugsd_sdk import Captioner, Profile, Timeline
from ugsd_sdk.audio.channels import ChannelLayout
from ugsd_sdk.errors import CaptionTimeout, ConfigError
from ugsd_sdk.timelines.assembly import RecordedChannel, assembled
from ugsd_sdk.timelines.parts import TimelineNote
from ugsd_sdk.timelines.timeline import SUFFIXES

from tests.doubles.calls_on_tape import call_of
from tests.doubles.timed_captions import speech_of, steady_speech

TURNS = 3


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioner]:
    with Captioner() as made:
        yield made


@pytest.fixture(scope="module")
def call(captioner: Captioner) -> Timeline:
    return captioner.timeline(call_of(TURNS, leak_db=-15), 16_000)


def long_timeline(count: int = 600) -> Timeline:
    half = count // 2
    emotions = ["neutral"] * half + ["angry"] * half
    rng = np.random.default_rng(0)
    pitch = np.where(np.arange(count) < half, 5, 11) + rng.normal(0, 1, count)
    changing = speech_of(emotions, pitch=pitch.tolist(), pace=[5.0] * count, effort=[-9.0] * count)
    return assembled(
        path="a <long> call.wav",
        duration_s=4.0 * count,
        layout=ChannelLayout.APART,
        notes=(),
        recording_id=None,
        channels=[
            RecordedChannel("agent", tuple(steady_speech(count, 1))),
            RecordedChannel("customer", tuple(changing)),
        ],
        silent=["hold music"],
    )


def test_each_channel_has_its_own_utterances(call: Timeline) -> None:
    left, right = call.channels
    assert (left.label, right.label) == ("left", "right")
    assert len(left.utterances) == len(right.utterances) == TURNS
    order = [one.channel for one in call.captions()]
    assert order == ["left", "right"] * TURNS
    spans = sorted((one.start_s, one.end_s) for ch in call.channels for one in ch.utterances)
    assert all(end < start for (_, end), (start, _) in pairwise(spans))
    assert (left.talk_share or 0) + (right.talk_share or 0) == pytest.approx(1, abs=2e-3)
    assert left.speech_share == pytest.approx(left.speech_s / call.duration_s, abs=1e-3)


def test_speakers_are_compared_with_themselves(call: Timeline) -> None:
    for channel in call.channels:
        clips = [one.caption.profile.num_clips for one in channel.utterances]
        assert clips[0] == 0
        assert clips[-1] >= 1


def test_channels_together_mix_speakers(captioner: Captioner) -> None:
    mixed = captioner.timeline(call_of(TURNS), 16_000, channels="together")
    assert [one.label for one in mixed.channels] == ["mixed"]
    assert mixed.notes == (TimelineNote.SPEAKERS_MIXED,)
    assert len(mixed.channels[0].utterances) == 2 * TURNS
    assert {one.caption.profile.use for one in mixed.channels[0].utterances} <= {
        "none", "several_speakers",
    }  # fmt: skip
    assert all(point.pitch is None for point in mixed.channels[0].arc)


def test_notes_say_what_channels_hold(captioner: Captioner) -> None:
    sound = call_of(1)
    silent, same, mono = (
        captioner.timeline(samples, 16_000, channels=("agent", "customer"))
        for samples in (
            np.stack([sound[:, 0], np.zeros(len(sound), np.float32)], 1),
            np.stack([sound[:, 0]] * 2, 1),
            sound[:, 0],
        )
    )
    assert [one.label for one in silent.channels] == ["agent", "customer"]
    assert silent.notes == (TimelineNote.SILENT_CHANNEL,)
    assert silent.channels[1].summary == "No speech."
    assert (same.notes, len(same.channels)) == ((TimelineNote.SAME_SOUND,), 1)
    assert mono.notes == (TimelineNote.ONE_CHANNEL,)
    assert len(mono.channels[0].utterances) == len(silent.channels[0].utterances) == 1


def test_a_recording_without_speech_says_so(captioner: Captioner) -> None:
    made = captioner.timeline(1e-3 * np.random.default_rng(0).normal(size=160_000), 16_000)
    assert str(made) == "mono: No speech."
    assert made.channels[0].talk_share is None
    assert "no speech" in made.to_svg()


@pytest.mark.parametrize(
    "channels", ["left", (), ("a", "a"), ("a", ""), ("a", "b", "c"), ("a,b", "c")]
)
def test_wrong_channels_are_refused(captioner: Captioner, channels: object) -> None:
    with pytest.raises(ConfigError, match="channels"):
        captioner.timeline(call_of(1), 16_000, channels=channels)  # type: ignore[arg-type]


def test_profiles_must_name_their_channel(captioner: Captioner) -> None:
    with pytest.raises(ConfigError, match="profile for each name"):
        captioner.timeline(call_of(1), 16_000, profile=Profile())
    with pytest.raises(ConfigError, match="no channel is called 'agent'"):
        captioner.timeline(call_of(1), 16_000, profile={"agent": Profile()})


def test_named_user_speaks_on_one_channel(captioner: Captioner) -> None:
    captioner.timeline(call_of(TURNS)[:, 0], 16_000, user="ada")
    learned = captioner.profile_of("ada")
    assert learned is not None
    assert learned.num_clips >= 1
    captioner.timeline(call_of(1), 16_000, user="ben")
    other = captioner.profile_of("ben")
    assert other is not None
    assert other.num_clips == 0


def test_progress_reaches_the_end(captioner: Captioner) -> None:
    seen: list[tuple[float, float | None]] = []
    made = captioner.timeline(
        call_of(2), 16_000, on_progress=lambda done_s, all_s: seen.append((done_s, all_s))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (pytest.approx(made.duration_s, abs=1e-3),) * 2


def test_a_time_limit_ends_a_timeline(captioner: Captioner) -> None:
    with pytest.raises(CaptionTimeout):
        captioner.timeline(call_of(3), 16_000, timeout_s=1e-9)


def test_coroutines_make_the_same_timeline(captioner: Captioner, call: Timeline) -> None:
    async def make() -> Timeline:
        return await captioner.atimeline(call_of(TURNS, leak_db=-15), 16_000)

    made = asyncio.run(make())
    assert [one.text for one in made.captions()] == [one.text for one in call.captions()]


def test_json_loses_nothing(call: Timeline) -> None:
    for timeline in (call, long_timeline()):
        assert Timeline.from_json(timeline.to_json(details=True)) == timeline
        small = timeline.to_json()
        assert Timeline.from_json(small).to_json() == small
        assert len(small) < len(timeline.to_json(details=True))
    with pytest.raises(ValueError, match="channels"):
        Timeline.from_json('{"duration_s": 1, "layout": "apart"}')


def test_every_suffix_is_written_and_no_other(call: Timeline, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        call.write(tmp_path / f"call{suffix}")
    assert Timeline.from_json((tmp_path / "call.json").read_bytes()) == call
    assert ET.parse(tmp_path / "call.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "call.srt").read_text().count(" --> ") == 2 * TURNS
    assert (tmp_path / "call.vtt").read_text().count("<v left>") == TURNS
    lines = (tmp_path / "call.jsonl").read_text().splitlines()
    assert [json.loads(line)["channel"] for line in lines] == ["left", "right"] * TURNS
    rows = list(csv.DictReader(io.StringIO((tmp_path / "call.csv").read_text())))
    assert [row["text"] for row in rows] == [row["text"] for row in call.rows()]
    with pytest.raises(ValueError, match=r"not '\.mp4'"):
        call.write(tmp_path / "call.mp4")


def test_pictures_name_emotions_and_changes() -> None:
    timeline = long_timeline()
    svg = timeline.to_svg()
    root = ET.fromstring(svg)
    words = " ".join("".join(text.itertext()) for text in root.iter() if text.text)
    for word in ("a <long> call.wav", "agent", "customer", "hold music", "angry", "neutral"):
        assert word in words
    assert "from neutral to angry" in words
    assert "prefers-color-scheme: dark" in svg
    assert len(svg) < 100_000
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.get("x", "0")) <= width
        assert 0 <= float(text.get("y", "0")) <= height


def test_png_pictures_have_their_size(call: Timeline) -> None:
    from PIL import Image

    for scale, width in ((1.0, 900), (2.0, 1800)):
        picture = Image.open(io.BytesIO(call.to_png(scale=scale)))
        assert picture.width == width
        assert len(picture.getcolors(1 << 24) or []) > 20
    with pytest.raises(ValueError, match="scale"):
        call.to_png(scale=99)


def test_notebooks_show_the_picture(call: Timeline) -> None:
    html = call._repr_html_()
    assert html.startswith('<div><img src="data:image/svg+xml;base64,')
    assert "<script" not in html
    assert "utterances={'left': 3, 'right': 3}" in repr(call)
