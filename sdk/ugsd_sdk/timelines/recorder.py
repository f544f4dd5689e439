"""Makes a timeline: reads a recording in pieces, finds utterances, and captions each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

from ugsd_sdk.arguments import require_callable
from ugsd_sdk.audio.channels import ChannelLayout, ChannelReader
from ugsd_sdk.audio.crosstalk import without_crosstalk
from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.audio.segments import Float32
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption import Caption, escaped_path
from ugsd_sdk.caption.options import UtteranceCaptioner
from ugsd_sdk.errors import CheckpointError
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.speech.segmenter import (
    RECORDING_WINDOWS_PER_CALL,
    Segmenter,
    SegmenterEvent,
    SpeechSegment,
    WindowDetector,
)
from ugsd_sdk.speech.spans import SAMPLE_RATE
from ugsd_sdk.timelines.assembly import RecordedChannel, assembled
from ugsd_sdk.timelines.channel_profile import ChannelProfile
from ugsd_sdk.timelines.channel_setup import (
    Channels,
    label_of,
    labels_of,
    layout_of,
    profiles_identity,
    profiles_of,
)
from ugsd_sdk.timelines.checkpoint import Checkpoint, CheckpointEntry, CheckpointHeader
from ugsd_sdk.timelines.parts import TimelineNote, TimelineUtterance
from ugsd_sdk.timelines.recording_identity import recording_identity
from ugsd_sdk.timelines.stored_clip import StoredClip
from ugsd_sdk.timelines.timeline import Timeline

__all__ = ["Channels", "ProgressCallback", "TimelineMaker"]

ProgressCallback: TypeAlias = Callable[[float, float | None], None]
"""Takes the seconds that are done, and all seconds, if they are known."""


@dataclass(frozen=True)
class TimelineMaker:
    """What the timelines of one user need."""

    caption_with: Callable[[Profile | None, bytes], UtteranceCaptioner]
    """Returns what captions the utterances of a channel, given its profile and the id of the
    recording (16 bytes)."""
    detector: WindowDetector
    user_profile: Profile | None = None
    encoder: bytes = b""
    """Identifies the vectors of speaker profiles."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What else captions depend on, for the timeline checkpoint."""

    def timeline(
        self,
        recording: Clip,
        sample_rate: float | None = None,
        *,
        call: Call,
        channels: Channels = "apart",
        profile: Profile | Mapping[str, Profile] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Timeline:
        """Return the timeline of a recording of up to 12 h.

        Channels that are read apart have a profile each, which begins empty or is the one that
        ``profile`` has for the channel's label. A recording of one channel, and one whose channels
        are read together, have ``profile``, or else ``user_profile``; read together without either
        they have none. ``call`` may end it at any time.

        Raises :class:`AudioError`, :class:`CheckpointError`, :class:`ConfigError`,
        :class:`CallEnded`, and what ``caption_with`` raises.
        """
        layout, names = layout_of(channels)
        require_callable("on_progress", on_progress)
        with ExitStack() as stack:
            stack.enter_context(call.running())
            reader = stack.enter_context(ChannelReader(recording, sample_rate, layout=layout))
            labels, notes = labels_of(reader, layout, names)
            profiles = profiles_of(labels, reader, layout, profile, self.user_profile)
            recording_id, opened = os.urandom(16), None
            if checkpoint is not None:
                identity = {"channels": ",".join((layout, *names)), "sample_rate": str(sample_rate)}
                identity |= {"profile": profiles_identity(profiles), **self.settings}
                header = CheckpointHeader.of(recording_identity(recording), identity, recording_id)
                opened = Checkpoint(checkpoint, header, len(profiles), self.encoder)
                stack.enter_context(opened)
                recording_id = opened.recording_id
            recorders = [
                _ChannelRecorder(
                    number, one, self.caption_with(one, recording_id), self.detector, opened, call
                )
                for number, one in enumerate(profiles)
            ]
            _record(reader, recorders, on_progress, call)
        is_mixed = layout is ChannelLayout.TOGETHER and profiles[0] is None
        return assembled(
            path=escaped_path(recording) if isinstance(recording, (str, os.PathLike)) else None,
            duration_s=reader.duration_s,
            layout=layout,
            notes=(*notes, TimelineNote.SPEAKERS_MIXED) if is_mixed else notes,
            recording_id=recording_id.hex(),
            channels=[
                RecordedChannel(label, tuple(recorder.utterances), is_one_speaker=not is_mixed)
                for label, recorder in zip(labels, recorders, strict=True)
            ],
            silent=[label_of(index, reader.num_channels, names) for index in reader.silent],
        )


def _record(
    reader: ChannelReader,
    recorders: Sequence[_ChannelRecorder],
    on_progress: ProgressCallback | None,
    call: Call,
) -> None:
    done_samples = 0
    for piece in without_crosstalk(reader.pieces()):
        call.check()
        for column, recorder in enumerate(recorders):
            recorder.push(piece[:, column])
        done_samples += len(piece)
        if on_progress is not None:
            on_progress(min(done_samples / SAMPLE_RATE, reader.duration_s), reader.duration_s)
    for recorder in recorders:
        recorder.finish()


class _ChannelRecorder:
    """Captions the utterances of one channel, except those that the checkpoint has."""

    def __init__(
        self,
        number: int,
        profile: ChannelProfile | None,
        caption: UtteranceCaptioner,
        detector: WindowDetector,
        checkpoint: Checkpoint | None,
        call: Call,
    ) -> None:
        self._call = call
        self.utterances: list[TimelineUtterance] = []
        self._number = number
        self._profile = profile
        self._caption = caption
        self._checkpoint = checkpoint
        entries = [] if checkpoint is None else checkpoint.entries
        self._known = iter([one for one in entries if one.channel == number])
        self._segmenter = Segmenter(detector, windows_per_call=RECORDING_WINDOWS_PER_CALL)

    def push(self, samples: Float32) -> None:
        self._take(self._segmenter.push(samples))

    def finish(self) -> None:
        self._take(self._segmenter.finish())
        if next(self._known, None) is not None:
            raise self._mismatch()

    def _take(self, events: Iterable[SegmenterEvent]) -> None:
        for event in events:
            if isinstance(event, SpeechSegment):
                self._add(event)

    def _add(self, segment: SpeechSegment) -> None:
        if self._profile is not None:
            self._profile.begin(segment.end_s)
        entry = next(self._known, None)
        if entry is None:
            caption = self._caption(segment.samples, call=self._call.part())
            self._remember(segment, caption)
        else:
            caption = self._repeated(entry, segment)
        if caption.speech.spans:
            self.utterances.append(
                TimelineUtterance(start_s=segment.start_s, end_s=segment.end_s, caption=caption)
            )

    def _remember(self, segment: SpeechSegment, caption: Caption) -> None:
        if self._checkpoint is None:
            return
        added = None if self._profile is None else self._profile.added
        self._checkpoint.add(
            CheckpointEntry(
                channel=self._number,
                start_s=segment.start_s,
                end_s=segment.end_s,
                caption=caption,
                clip=StoredClip.of(added),
            )
        )

    def _repeated(self, entry: CheckpointEntry, segment: SpeechSegment) -> Caption:
        if (entry.start_s, entry.end_s) != (segment.start_s, segment.end_s):
            raise self._mismatch()
        if self._profile is not None and entry.clip is not None:
            clip = entry.clip.clip()
            if self._checkpoint is not None and not self._profile.takes(clip):
                raise self._checkpoint.damaged()
            self._profile.repeat(clip)
        return entry.caption

    def _mismatch(self) -> CheckpointError:
        path = None if self._checkpoint is None else self._checkpoint.path
        return CheckpointError(
            f"{path} has other utterances than this recording: delete it to begin again"
        )
