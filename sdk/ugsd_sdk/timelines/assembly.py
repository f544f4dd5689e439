"""A timeline from the captions of its channels: all that is derived from them is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ugsd_sdk.audio.channels import ChannelLayout
from ugsd_sdk.timelines.arcs import arc_of
from ugsd_sdk.timelines.comparisons import from_start
from ugsd_sdk.timelines.measures import Series
from ugsd_sdk.timelines.parts import TimelineChannel, TimelineNote, TimelineUtterance
from ugsd_sdk.timelines.summary import summary_of
from ugsd_sdk.timelines.timeline import Timeline
from ugsd_sdk.timelines.turning_points import find_turning_points

__all__ = ["RecordedChannel", "assembled"]


@dataclass(frozen=True)
class RecordedChannel:
    """A channel and the captions of its utterances, in order."""

    label: str
    utterances: tuple[TimelineUtterance, ...]
    is_one_speaker: bool = True
    """Whether pitch, pace and effort may be compared."""


def assembled(
    *,
    path: str | None,
    duration_s: float,
    layout: ChannelLayout,
    notes: tuple[TimelineNote, ...],
    recording_id: str | None,
    channels: Sequence[RecordedChannel],
    silent: Sequence[str] = (),
) -> Timeline:
    """Return the timeline of ``channels``, and of channels that are ``silent`` after them."""
    every = [*channels, *(RecordedChannel(label, ()) for label in silent)]
    talk_s = sum(_speech_s(one) for one in every)
    return Timeline(
        path=path,
        duration_s=duration_s,
        layout=layout,
        notes=notes,
        recording_id=recording_id,
        channels=tuple(_channel(one, duration_s, talk_s) for one in every),
    )


def _channel(recorded: RecordedChannel, duration_s: float, talk_s: float) -> TimelineChannel:
    utterances, is_one = recorded.utterances, recorded.is_one_speaker
    series = Series.of(utterances, is_one_speaker=is_one)
    turning_points, end = find_turning_points(series), from_start(series)
    speech_s = _speech_s(recorded)
    return TimelineChannel(
        label=recorded.label,
        speech_s=speech_s,
        speech_share=min(speech_s / duration_s, 1.0),
        talk_share=speech_s / talk_s if talk_s else None,
        utterances=utterances,
        arc=arc_of(series, duration_s),
        turning_points=turning_points,
        end_from_start=end,
        summary=summary_of(utterances, series, turning_points, end, is_one_speaker=is_one),
    )


def _speech_s(recorded: RecordedChannel) -> float:
    return sum(one.caption.speech.duration_s for one in recorded.utterances)
