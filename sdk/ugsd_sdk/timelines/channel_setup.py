"""How the channels of a recording are read: apart or together, their labels, and their profiles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ugsd_sdk.audio.channels import ChannelLayout, ChannelReader
from ugsd_sdk.errors import ConfigError, WrongType
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.timelines.channel_profile import ChannelProfile
from ugsd_sdk.timelines.parts import TimelineNote

__all__ = ["Channels", "label_of", "labels_of", "layout_of", "profiles_identity", "profiles_of"]

Channels: TypeAlias = ChannelLayout | str | Sequence[str]
"""``"apart"``, ``"together"``, or the names of the channels, which are then read apart."""


def layout_of(channels: Channels) -> tuple[ChannelLayout, tuple[str, ...]]:
    """Return the layout, and the names that were given."""
    if isinstance(channels, str):
        try:
            return ChannelLayout(channels), ()
        except ValueError:
            raise ConfigError(
                f'channels must be "apart", "together" or names such as ("agent", "customer"), '
                f"not {channels!r}"
            ) from None
    if not isinstance(channels, Sequence):
        raise WrongType(f"channels must be text or names, not {type(channels).__name__}")
    names = tuple(channels)
    are_usable = all(isinstance(name, str) and name.strip() and "," not in name for name in names)
    if not names or not are_usable or len({*names}) < len(names):
        raise ConfigError(
            "channels: give a different name for each channel, without commas, or apart or together"
        )
    return ChannelLayout.APART, names


def labels_of(
    reader: ChannelReader, layout: ChannelLayout, names: tuple[str, ...]
) -> tuple[list[str], tuple[TimelineNote, ...]]:
    """Return the label of each channel that is read, and what was found of the channels. Raises
    :class:`ConfigError` if the ``names`` are not as many as the channels."""
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
    return [label_of(index, reader.num_channels, names) for index in reader.kept], notes


def label_of(index: int, count: int, names: tuple[str, ...]) -> str:
    """Return the label of the channel ``index`` of ``count``."""
    if names:
        return names[index]
    return ("left", "right")[index] if count == 2 else f"channel {index + 1}"


def profiles_of(
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
    by_label = {} if given is None else given
    if not isinstance(by_label, Mapping) or not all(
        isinstance(one, Profile) for one in by_label.values()
    ):
        raise WrongType("profile must be a Profile, or one for each name of a channel")
    unknown = [label for label in by_label if label not in labels]
    if unknown and not (reader.silent or reader.is_same):
        raise ConfigError(
            f"profile: no channel is called {unknown[0]!r}; they are {', '.join(labels)}"
        )
    if reader.num_channels == 1 or layout is ChannelLayout.TOGETHER:
        one = by_label.get(labels[0], of_user)
        if one is None and layout is ChannelLayout.TOGETHER:
            return [None]
        return [_channel_profile(one)]
    return [_channel_profile(by_label.get(label)) for label in labels]


def _channel_profile(given: Profile | None) -> ChannelProfile:
    """Return the profile of a channel. One that nobody gave begins empty, and is only compared
    with."""
    return ChannelProfile(Profile(only_compares=True) if given is None else given)


def profiles_identity(profiles: Sequence[ChannelProfile | None]) -> str:
    """Return a hash of what the profiles hold at the start. That of a user is stored as captions
    are made, and so has another content when a timeline is resumed."""
    digest = hashlib.sha256()
    for one in profiles:
        source = None if one is None else one.source
        is_stored = isinstance(source, UserProfile) and source.path is not None
        digest.update(b"-" if source is None or is_stored else source.digest())
    return digest.hexdigest()[:16]
