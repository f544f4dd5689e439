"""What an application asks of a caption, and what captions the utterances of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.output.near_names import choices

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption.caption import Caption
from ugsd_sdk.errors import ConfigError, WrongType
from ugsd_sdk.profile.profile import Profile

__all__ = ["CaptionOptions", "UtteranceCaptioner"]


@dataclass(frozen=True)
class CaptionOptions:
    """What a caption shall be, apart from its clip."""

    profile: Profile | None = None
    """The speaker's, instead of that of the user."""
    length: CaptionLength | None = None
    """Instead of that of the settings."""
    seed: int | None = None
    """Instead of that of the settings."""
    is_draft: bool = False
    """Whether the caption is made on the device alone and changes no profile."""
    recording: bytes | None = None
    """What identifies the recording that the clip is a part of, 16 random bytes; others are refused
    by :class:`~ugsd_privacy.errors.RecordingRefused`."""

    @classmethod
    def checked(
        cls, profile: Profile | None, length: CaptionLength | str | None, seed: int | None
    ) -> CaptionOptions:
        """Return an application's options. Raises :class:`TypeError` and :class:`ConfigError`."""
        if not (profile is None or isinstance(profile, Profile)):
            raise WrongType(f"profile must be a Profile, not {type(profile).__name__}")
        if not (seed is None or (isinstance(seed, int) and seed >= 0)):
            raise ConfigError(f"seed must be a whole number of at least 0, not {seed!r}")
        return cls(profile, None if length is None else _length(length), seed)


class UtteranceCaptioner(Protocol):
    """Captions the utterances of one stream or recording."""

    def __call__(
        self, samples: NDArray[np.float32], *, is_draft: bool = False, call: Call | None = None
    ) -> Caption:
        """Caption mono ``samples`` (n,) at 16 kHz. A draft is made on the device alone, and changes
        no profile. Raises as :meth:`~ugsd_sdk.captioner.Captioner.caption` does."""


def _length(length: str) -> CaptionLength:
    try:
        return CaptionLength(length)
    except ValueError:
        raise ConfigError(
            f"length must be {choices(length, CaptionLength)}, not {length!r}"
        ) from None
