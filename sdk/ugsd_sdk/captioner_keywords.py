"""The arguments of a captioner's calls, and the one check of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, ParamSpec, TypedDict, TypeVar

from ugsd_privacy.output.near_names import near_name
from ugsd_privacy.user_names import normal_user

from ugsd_sdk.errors import WrongType

if TYPE_CHECKING:
    from ugsd_sdk.attributes.length import CaptionLength
    from ugsd_sdk.profile.profile import Profile
    from ugsd_sdk.timelines.recorder import Channels, ProgressCallback

__all__ = [
    "CaptionKeywords",
    "TimelineKeywords",
    "check_keywords",
    "check_user",
    "explicit_keywords",
]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class CaptionKeywords(TypedDict, total=False):
    """The keyword arguments of :meth:`Captioner.caption <ugsd_sdk.Captioner.caption>`."""

    user: str | None
    profile: Profile | None
    length: CaptionLength | str | None
    seed: int | None
    timeout_s: float | None


class TimelineKeywords(TypedDict, total=False):
    """The keyword arguments of :meth:`Captioner.timeline <ugsd_sdk.Captioner.timeline>`."""

    channels: Channels
    user: str | None
    profile: Profile | Mapping[str, Profile] | None
    length: CaptionLength | str | None
    seed: int | None
    timeout_s: float | None
    on_progress: ProgressCallback | None
    checkpoint: str | os.PathLike[str] | None


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise :class:`WrongType` for the first of the ``given`` names that is not ``known``."""
    names = list(known)
    unknown = sorted(set(given).difference(names))
    if unknown:
        near = near_name(unknown[0], names)
        hint = f"do you mean {near!r}?" if near else f"there are {', '.join(names)}"
        raise WrongType(f"unexpected keyword argument {unknown[0]!r}: {hint}")


def explicit_keywords(
    method: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """Let ``method``, whose arguments are written out, refuse others by :func:`check_keywords`."""
    known = list(signature(method).parameters)[1:]

    @wraps(method)
    def checked(*args: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        check_keywords(keywords, known)
        return method(*args, **keywords)

    return checked


def check_user(user: object) -> None:
    """Raise ``UserNameRefused`` unless ``user`` is ``None`` or a name."""
    if user is not None:
        normal_user(user)  # type: ignore[arg-type]
