"""Makes a timeline: reads a recording in pieces, finds utterances, and captions each of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from ugsd_sdk.audio.channels import ChannelLayout, ChannelReader
from ugsd_sdk.audio.crosstalk import without_crosstalk
from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.audio.segments import Float32
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption import Caption, escaped_path
from ugsd_sdk.caption.options import UtteranceCaptioner
from ugsd_sdk.errors import CheckpointError, ConfigError, WrongType
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.speech.segmenter import (
    RECORDING_WINDOWS_PER_CALL,
    Segmenter,
    SegmenterEvent,
    SpeechSegment,
    WindowDetector,
)
from ugsd_sdk.timelines.assembly import RecordedChannel, assembled
from ugsd_sdk.timelines.channel_profile import ChannelProfile
from ugsd_sdk.timelines.checkpoint import Checkpoint, CheckpointEntry, CheckpointHeader
from ugsd_sdk.timelines.measures import Timed
from ugsd_sdk.timelines.parts import TimelineNote
from ugsd_sdk.timelines.recording_identity import recording_identity
from ugsd_sdk.timelines.stored_clip import StoredClip
from ugsd_sdk.timelines.timeline import Timeline

__all__ = ["Channels", "ProgressCallback", "make_timeline"]

Channels: TypeAlias = ChannelLayout | str | Sequence[str]
"""``"apart"``, ``"together"``, or the names of the channels, which are then read apart."""
ProgressCallback: TypeAlias = Callable[[float, float | None], None]
"""Takes the seconds that are done, and all seconds, if they are known."""


def make_timeline(
    recording: Clip,
    sample_rate: float | None = None,
    *,
    channels: Channels,
    caption_with: Callable[[Profile | None, bytes], UtteranceCaptioner],
    detector: WindowDetector,
    profile: Profile | Mapping[str, Profile] | None = None,
    user_profile: Profile | None = None,
    settings: Mapping[str, str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    on_progress: ProgressCallback | None = None,
    call: Call | None = None,
) -> Timeline:
    """Return the timeline of a recording of up to 12 h.

    ``caption_with`` returns what captions the utterances of a channel, given its profile and the
    id of the recording (16 bytes). Channels that are read apart have a profile each, which begins
    empty or is the one that ``profile`` has for the channel's label. A recording of one channel,
    and one whose channels are read together, have ``profile``, or else ``user_profile``; read
    together without either they have none. ``settings`` are what else
    captions depend on, for the ``checkpoint``. ``call`` can
    end it, between utterances.

    Raises :class:`AudioError`, :class:`CheckpointError`, :class:`ConfigError`, and what
    ``caption_with`` raises.
    """
    layout, names = _layout_of(channels)
    call = call or Call()
    with ExitStack() as stack:
        stack.enter_context(call.running())
        reader = stack.enter_context(ChannelReader(recording, sample_rate, layout=layout))
        labels, notes = _labels_of(reader, layout, names)
        profiles = _profiles_of(labels, reader, layout, profile, user_profile)
        header = CheckpointHeader.of("", {})
        opened: Checkpoint | None = None
        if checkpoint is not None:
            identity = {"channels": ",".join((layout, *names)), "sample_rate": str(sample_rate)}
            identity |= {"profile": _profiles_identity(profiles), **(settings or {})}
            header = CheckpointHeader.of(recording_identity(recording), identity)
            opened = stack.enter_context(Checkpoint(checkpoint, header))
            header = opened.header
        recording_id = bytes.fromhex(header.recording_id)
        recorders = [
            _ChannelRecorder(number, one, caption_with(one, recording_id), detector, opened, call)
            for number, one in enumerate(profiles)
        ]
        _record(reader, recorders, on_progress, call)
    is_mixed = layout is ChannelLayout.TOGETHER and profiles[0] is None
    return assembled(
        path=escaped_path(recording) if isinstance(recording, (str, os.PathLike)) else None,
        duration_s=reader.duration_s,
        layout=layout,
        notes=(*notes, TimelineNote.SPEAKERS_MIXED) if is_mixed else notes,
        recording_id=header.recording_id,
        channels=[
            RecordedChannel(label, tuple(recorder.utterances), is_one_speaker=not is_mixed)
            for label, recorder in zip(labels, recorders, strict=True)
        ],
        silent=[_label(index, reader.num_channels, names) for index in reader.silent],
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
            on_progress(min(done_samples / 16_000, reader.duration_s), reader.duration_s)
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
        self.utterances: list[Timed] = []
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
            self._call.check()
            caption = self._caption(segment.samples)
            self._remember(segment, caption)
        else:
            caption = self._repeated(entry, segment)
        if caption.speech.spans:
            self.utterances.append(Timed(segment.start_s, segment.end_s, caption))

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
            self._profile.repeat(entry.clip.clip())
        return entry.caption

    def _mismatch(self) -> CheckpointError:
        path = None if self._checkpoint is None else self._checkpoint.path
        return CheckpointError(
            f"{path} has other utterances than this recording: delete it to begin again"
        )


def _layout_of(channels: Channels) -> tuple[ChannelLayout, tuple[str, ...]]:
    """Return the layout, and the names that were given."""
    if isinstance(channels, str):
        try:
            return ChannelLayout(channels), ()
        except ValueError:
            raise ConfigError(
                f'channels must be "apart", "together" or names such as ("agent", "customer"), '
                f"not {channels!r}"
            ) from None
    names = tuple(channels) if isinstance(channels, Sequence) else ()
    if not names or len({*names}) < len(names) or not all(
        isinstance(name, str) and name.strip() and "," not in name for name in names
    ):  # fmt: skip
        raise ConfigError(
            "channels: give a different name for each channel, without commas, or apart or together"
        )
    return ChannelLayout.APART, names


def _labels_of(
    reader: ChannelReader, layout: ChannelLayout, names: tuple[str, ...]
) -> tuple[list[str], tuple[TimelineNote, ...]]:
    if reader.num_channels == 1:
        is_apart = layout is ChannelLayout.APART
        label = names[0] if len(names) == 1 else "mono"
        return [label], (TimelineNote.ONE_CHANNEL,) if is_apart and len(names) != 1 else ()
    if layout is ChannelLayout.TOGETHER:
        return ["mixed"], ()
    if names and len(names) != reader.num_channels:
        raise ConfigError(
            f"the recording has {reader.num_channels} channels, and {len(names)} names were given: "
            "give one for each"
        )
    notes = (TimelineNote.SILENT_CHANNEL,) if reader.silent else ()
    if reader.is_same:
        return ["mono"], (TimelineNote.SAME_SOUND, *notes)
    return [_label(index, reader.num_channels, names) for index in reader.kept], notes


def _label(index: int, count: int, names: tuple[str, ...]) -> str:
    if names:
        return names[index]
    return ("left", "right")[index] if count == 2 else f"channel {index + 1}"


def _profiles_of(
    labels: Sequence[str],
    reader: ChannelReader,
    layout: ChannelLayout,
    given: Profile | Mapping[str, Profile] | None,
    of_user: Profile | None,
) -> list[ChannelProfile | None]:
    """Return the profile of each channel that is read."""
    if isinstance(given, Profile):
        if len(labels) > 1 or reader.silent:
            raise ConfigError(
                "profile: the channels are read apart, so give a profile for each name, such as "
                f"{{{labels[0]!r}: profile}}"
            )
        return [ChannelProfile(given)]
    if not (given is None or isinstance(given, Mapping)):
        raise WrongType(
            f"profile must be a Profile, or one for each channel's name, not {type(given).__name__}"
        )
    by_label = dict(given or {})
    for one in by_label.values():
        if not isinstance(one, Profile):
            raise WrongType(f"profile must have Profile values, not {type(one).__name__}")
    unknown = [label for label in by_label if label not in labels]
    if unknown and not (reader.silent or reader.is_same):
        raise ConfigError(
            f"profile: no channel is called {unknown[0]!r}; they are {', '.join(labels)}"
        )
    if reader.num_channels == 1 or layout is ChannelLayout.TOGETHER:
        one = by_label.get(labels[0], of_user)
        if one is None and layout is ChannelLayout.APART:
            one = Profile()
        return [None if one is None else ChannelProfile(one)]
    return [ChannelProfile(by_label.get(label) or Profile()) for label in labels]


def _profiles_identity(profiles: Sequence[ChannelProfile | None]) -> str:
    """Return a hash of what the profiles hold at the start. That of a user is stored as captions
    are made, and so has another content when a timeline is resumed."""
    digest = hashlib.sha256()
    for one in profiles:
        source = None if one is None else one.source
        is_stored = isinstance(source, UserProfile) and source.path is not None
        digest.update(b"-" if source is None or is_stored else source.digest())
    return digest.hexdigest()[:16]
