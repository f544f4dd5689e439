"""The timeline of a long recording: who speaks when, how it sounds, and how that changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field
from ugsd_privacy.files.atomic_files import write_atomically

from ugsd_sdk.arguments import path_of
from ugsd_sdk.audio.channels import ChannelLayout
from ugsd_sdk.caption.caption import COMPACT_EXCLUDED
from ugsd_sdk.caption.parts import Result
from ugsd_sdk.caption.stored_json import read_stored
from ugsd_sdk.errors import WrongValue
from ugsd_sdk.exports import CaptionFormat, TimedCaption, caption_file_text
from ugsd_sdk.exports.clock import clock
from ugsd_sdk.timelines.parts import Seconds, TimelineChannel, TimelineNote

if TYPE_CHECKING:
    from ugsd_sdk.caption.rows import Scalar

__all__ = ["SUFFIXES", "Timeline"]

_MAX_ITEMS = 50_000_000
SUFFIXES = (".json", *(f".{one}" for one in CaptionFormat), ".svg", ".png")
"""The suffixes of files that :meth:`Timeline.write` knows."""


class Timeline(Result):
    """What happens in a recording, channel by channel.

    ``str()`` has one line for each channel. :meth:`write` makes a file of it, by the suffix.
    """

    path: str | None = None
    """The recording's path, if it has one, in which bytes that are not UTF-8 are escaped."""
    duration_s: Seconds
    """Seconds of the recording."""
    layout: ChannelLayout
    """How its channels were read."""
    notes: tuple[TimelineNote, ...] = ()
    """What was found of its channels."""
    recording_id: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """The id under which the budget of the recording was counted."""
    channels: tuple[TimelineChannel, ...]

    def to_json(self, *, details: bool = False) -> str:
        """Return the timeline as JSON on one line.

        It leaves out what :meth:`Caption.to_json` leaves out of captions, and every field that has
        its default. With ``details`` it has every field.
        """
        if details:
            return self.model_dump_json()
        return self.model_dump_json(exclude_defaults=True, exclude=_EXCLUDED)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote: from all details an equal timeline, otherwise one that
        lacks what was left out. Raises :class:`WrongValue` for anything else."""
        return read_stored(cls, text, max_items=_MAX_ITEMS)

    def captions(self) -> Iterator[TimedCaption]:
        """Yield the captions of all channels, in the order of their start."""
        timed = [
            TimedCaption(
                one.start_s,
                one.end_s,
                one.caption.text,
                channel=channel.label if len(self.channels) > 1 else None,
                source=self.path,
                caption=one.caption,
            )
            for channel in self.channels
            for one in channel.utterances
        ]
        yield from sorted(timed, key=lambda one: (one.start_s, one.end_s))

    def rows(self) -> list[dict[str, Scalar]]:
        """Return a flat row for each utterance, in the order of their start, for a data frame."""
        return [
            {
                "start_s": one.start_s,
                "end_s": one.end_s,
                "channel": one.channel,
                **(one.caption.row() if one.caption is not None else {}),
                "path": self.path,
            }
            for one in self.captions()
        ]

    def to_text(self, form: CaptionFormat | str, *, details: bool = False) -> str:
        """Return the captions as JSON Lines, WebVTT, SubRip or CSV. Raises :class:`WrongValue` for
        other formats."""
        if not isinstance(form, str) or form not in list(CaptionFormat):
            formats = ", ".join(CaptionFormat)
            raise WrongValue(f"captions are written as {formats}, not {form!r}")
        return caption_file_text(self.captions(), form, source=self.path, details=details)

    def to_svg(self) -> str:
        """Return a picture as the text of an SVG file, for light and dark pages."""
        from ugsd_sdk.timelines.picture import timeline_picture  # noqa: PLC0415  # heavy

        return timeline_picture(self)

    def to_png(self, *, scale: float = 2.0) -> bytes:
        """Return the same picture, in its light colours, as a PNG file of 900 pixels in width times
        ``scale``. Raises :class:`ConfigError` without the extra ``picture``."""
        from ugsd_sdk.timelines.picture import timeline_picture  # noqa: PLC0415  # heavy
        from ugsd_sdk.timelines.png import png_of  # noqa: PLC0415  # an extra

        return png_of(timeline_picture(self), scale)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file whose suffix says what it is: .json with all details, .jsonl, .vtt, .srt,
        .csv, .svg or .png. It is replaced whole or not at all.

        Raises :class:`WrongValue` for another suffix, and ``ExportFailed``.
        """
        file = path_of("path", path)
        write_atomically(file, self.contents_of(file.suffix))

    def contents_of(self, suffix: str) -> bytes:
        """Return the bytes of a file with this suffix. Raises :class:`WrongValue`."""
        kind = suffix.lower()
        if kind not in SUFFIXES:
            raise WrongValue(f"a timeline is written to {', '.join(SUFFIXES)}, not {suffix!r}")
        if kind == ".png":
            return self.to_png()
        if kind == ".svg":
            return self.to_svg().encode()
        if kind == ".json":
            return f"{self.to_json(details=True)}\n".encode()
        return self.to_text(kind[1:]).encode()

    def __str__(self) -> str:
        return "\n".join(f"{channel.label}: {channel.summary}" for channel in self.channels)

    def __repr_args__(self) -> list[tuple[str | None, object]]:
        counts = {one.label: len(one.utterances) for one in self.channels}
        return [(None, clock(self.duration_s)), ("utterances", counts)]

    def _repr_html_(self) -> str:
        from ugsd_sdk.timelines.notebook import timeline_html  # noqa: PLC0415  # heavy

        return timeline_html(self)


_EXCLUDED: dict[str, Any] = {
    "channels": {"__all__": {"utterances": {"__all__": {"caption": COMPACT_EXCLUDED}}}}
}
