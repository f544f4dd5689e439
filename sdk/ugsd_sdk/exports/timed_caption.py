"""A caption with the time in the recording that it is about."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ugsd_privacy.output.plain_text import encodable, plain_json

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption

__all__ = ["TimedCaption"]

_MOST_S = 1e9
"""The latest time, some thirty years, which every format can write in milliseconds."""


@dataclass(frozen=True, slots=True)
class TimedCaption:
    """What is said of a part of a recording.

    Bytes of a file's name that are not UTF-8 are escaped in ``text``, ``channel`` and ``source``,
    so that every format can write them.

    Raises :class:`ValueError` for times that are not 0 <= ``start_s`` <= ``end_s`` <= 1e9.
    """

    start_s: float
    """Where it starts, in seconds from the start of the recording."""
    end_s: float
    """Where it ends, in seconds."""
    text: str
    """The sentence."""
    channel: str | None = None
    """The speaker or the channel of the recording, if there are several."""
    source: str | None = None
    """The path or name of the recording, if it has one."""
    caption: Caption | None = None
    """The caption in full; ``None`` for a text that was made from several captions."""

    def __post_init__(self) -> None:
        # Not a number fails each comparison.
        if not (0 <= self.start_s <= self.end_s <= _MOST_S and math.isfinite(self.end_s)):
            raise ValueError(
                f"a caption cannot last from {self.start_s!r} to {self.end_s!r} s: give seconds "
                f"with 0 <= start_s <= end_s <= {_MOST_S:.0e}"
            )
        for name in ("text", "channel", "source"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, encodable(given, "utf-8"))

    @classmethod
    def of_clip(cls, caption: Caption) -> Self:
        """Return the caption of a whole clip, from the start of its first utterance to the end of
        its last; from 0 to 0 s if the clip has no speech."""
        spans = caption.speech.spans
        start_s, end_s = (spans[0][0], spans[-1][1]) if spans else (0.0, 0.0)
        return cls(start_s, end_s, caption.text, source=caption.path, caption=caption)

    def to_json(self, *, details: bool = False) -> str:
        """Return JSON on one line. ``details`` is that of :meth:`Caption.to_json`: with it nothing
        is lost."""
        fields = {"start_s": self.start_s, "end_s": self.end_s, "text": self.text}
        named = {"channel": self.channel, "source": self.source}
        fields |= {name: value for name, value in named.items() if value is not None}
        head = json.dumps(fields, ensure_ascii=False, allow_nan=False)
        if self.caption is None:
            return plain_json(head)
        return plain_json(f'{head[:-1]}, "caption": {self.caption.to_json(details=details)}}}')

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote. Raises :class:`ValueError` for anything else."""
        from ugsd_sdk.exports.json_line import read_line  # noqa: PLC0415  # heavy

        return cls(**read_line(text))
