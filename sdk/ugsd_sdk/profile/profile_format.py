"""The bytes of a stored speaker profile: an npz archive of a few arrays, with a format number."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.errors import UgsdError
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, RECENT_CLIPS, SpeakerProfile
from ugsd_sdk.profile.usual_prosody import MAX_MEASURE, NO_PROSODY, UsualMeasure, UsualProsody

__all__ = ["DamagedProfile", "OtherFormat", "StoredProfile", "pack_profile", "unpack_profile"]

_FORMAT = 3
"""Format 1 had no format number, and held only a count, an average and the encoder's hash. Format 2
lacked the statistics of prosody."""
_FORMAT_WITHOUT_PROSODY = 2
_FIELDS = (
    "format",
    "encoder",
    "count",
    "mean",
    "duration_s",
    "voice",
    "recent",
    "femininity",
    "usual_count",
    "usual_mean",
    "usual_mean_square_deviation",
    "ears",  # of format 1
)
_MAX_COUNT = 1 << 40
_MAX_BYTES = 1 << 20
"""Largest size of all arrays together. They are stored as they are, without compression."""
_MAX_MAGNITUDE = 1e6
"""Largest number in a vector; the encoders' are below 100."""
_MAX_DURATION_S = 1e12
_NUM_MEASURES = 3
_MAX_SQUARE_DEVIATION = (2 * MAX_MEASURE) ** 2


class DamagedProfile(UgsdError):
    """The bytes are not a speaker profile."""


class OtherFormat(UgsdError):
    """The bytes are a speaker profile of an earlier or later release."""


@dataclass(frozen=True)
class StoredProfile:
    """A profile and what made its vectors; others are not comparable with them."""

    encoder: str
    """Hash of the audio encoder and of the voice graph, in hex; empty for an empty profile."""
    contents: SpeakerProfile


def pack_profile(stored: StoredProfile) -> bytes:
    """Return the bytes of a profile."""
    profile, file = stored.contents, io.BytesIO()
    usual = _measures_of(profile.usual)
    np.savez(
        file,
        format=np.int64(_FORMAT),
        encoder=stored.encoder,
        count=np.int64(min(profile.count, _MAX_COUNT - 1)),
        mean=profile.mean,
        duration_s=np.float64(profile.duration_s),
        voice=profile.voice,
        recent=profile.recent,
        femininity=np.float64(math.nan if profile.femininity is None else profile.femininity),
        usual_count=np.array([min(one.count, _MAX_COUNT - 1) for one in usual], dtype=np.int64),
        usual_mean=np.array([one.mean for one in usual], dtype=np.float64),
        usual_mean_square_deviation=np.array(
            [one.mean_square_deviation for one in usual], dtype=np.float64
        ),
    )
    return file.getvalue()


def unpack_profile(data: bytes) -> StoredProfile:
    """Read the result of :func:`pack_profile`. Raises :class:`DamagedProfile` and
    :class:`OtherFormat`.

    A file of format 2 is read as well, and loses nothing: its statistics of prosody are empty, and
    begin with the next clip.
    """
    try:
        _require_plain(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            fields = {name: stored[name] for name in _FIELDS if name in stored.files}
    except Exception as error:  # readers of zip and npy raise nearly anything for damaged bytes
        raise DamagedProfile from error
    number = fields.get("format")
    is_first = number is None and {"count", "mean", "ears"} <= fields.keys()
    if is_first:
        raise OtherFormat
    if number is None or not _is_scalar(number, np.int64):
        raise DamagedProfile
    if number not in (_FORMAT_WITHOUT_PROSODY, _FORMAT):
        raise OtherFormat
    try:
        return StoredProfile(str(fields["encoder"]), _contents(fields))
    except KeyError as error:
        raise DamagedProfile from error


def _require_plain(data: bytes) -> None:
    """Refuse an archive that is compressed or large when it is read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
    is_stored = all(one.compress_type == zipfile.ZIP_STORED for one in members)
    if not is_stored or sum(one.file_size for one in members) > _MAX_BYTES:
        raise DamagedProfile


def _contents(fields: Mapping[str, NDArray[Any]]) -> SpeakerProfile:
    count, duration_s, femininity = (fields[name] for name in ("count", "duration_s", "femininity"))
    mean, voice, recent = fields["mean"], fields["voice"], fields["recent"]
    is_valid = (
        _is_scalar(count, np.int64)
        and 0 <= count < _MAX_COUNT
        and _is_scalar(duration_s, np.float64)
        and 0 <= duration_s < _MAX_DURATION_S
        and _is_scalar(femininity, np.float64)
        and not math.isinf(femininity)
        and all(map(_is_finite, (mean, voice, recent)))
        and (mean.ndim, voice.ndim, recent.ndim) == (1, 1, 2)
    )
    if not is_valid:
        raise DamagedProfile
    if fields["format"] == _FORMAT_WITHOUT_PROSODY:
        usual = NO_PROSODY
    else:
        usual = _usual_prosody(fields, int(count))
    if count == 0:
        return EMPTY_PROFILE
    if not len(mean) or recent.shape != (min(count, RECENT_CLIPS), len(mean)):
        raise DamagedProfile
    return SpeakerProfile(
        count=int(count),
        mean=mean,
        duration_s=float(duration_s),
        voice=voice,
        recent=recent,
        femininity=None if math.isnan(femininity) else float(femininity),
        usual=usual,
    )


def _usual_prosody(fields: Mapping[str, NDArray[Any]], num_clips: int) -> UsualProsody:
    """Read the statistics of a profile of ``num_clips``: arrays (3,) of pitch, pace and effort."""
    counts, means = fields["usual_count"], fields["usual_mean"]
    deviations = fields["usual_mean_square_deviation"]
    is_valid = (
        counts.dtype == np.int64
        and means.dtype == deviations.dtype == np.float64
        and counts.shape == means.shape == deviations.shape == (_NUM_MEASURES,)
        and bool(((counts >= 0) & (counts <= num_clips)).all())
        and bool((np.abs(means) <= MAX_MEASURE).all())
        and bool(((deviations >= 0) & (deviations <= _MAX_SQUARE_DEVIATION)).all())
    )
    if not is_valid:
        raise DamagedProfile
    rows = zip(counts.tolist(), means.tolist(), deviations.tolist(), strict=True)
    return UsualProsody(*(UsualMeasure(*row) if row[0] else UsualMeasure() for row in rows))


def _measures_of(usual: UsualProsody) -> tuple[UsualMeasure, ...]:
    """Return the statistics in the order in which they are stored."""
    return usual.pitch_st, usual.pace, usual.effort_db


def _is_scalar(value: NDArray[Any] | None, dtype: type[np.generic]) -> bool:
    return value is not None and value.dtype == dtype and value.shape == ()


def _is_finite(array: NDArray[Any]) -> bool:
    return array.dtype == np.float32 and bool((np.abs(array) <= _MAX_MAGNITUDE).all())
