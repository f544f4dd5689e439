"""The tables of the settings file, and checks that all settings share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ugsd_privacy.audit.records import LogLevel
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.mechanism import MAX_SIGMA
from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.user_names import MAX_USER_CHARACTERS, normal_user

from ugsd_sdk.attributes.length import CaptionLength

__all__ = [
    "AuditSettings",
    "Enrolment",
    "EnrolmentSeconds",
    "Name",
    "NoiseSettings",
    "UserSettings",
    "VerifierSettings",
    "conflict",
    "normal_name",
    "plain_caps",
    "refuse_unusable",
]

Name = Annotated[str, Field(min_length=1, max_length=4 * MAX_USER_CHARACTERS)]
Enrolment = Annotated[int, Field(ge=0, le=1000)]
EnrolmentSeconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class _Table(BaseModel):
    """A table of settings. Text is converted to numbers, since the environment holds only text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unusable(cls, value: object, info: ValidationInfo) -> object:
        return refuse_unusable(value, cls.model_fields[str(info.field_name)].annotation)


class VerifierSettings(_Table):
    """Which verifier is used, and how long the device waits for it."""

    url: str | None = None
    """Address of the verifier: ``ws://...`` or ``wss://...``, or ``embedded`` to start one on this
    machine. If it is not set, no verifier is used and nothing is sent."""
    root: str | None = None
    """The root key that signs the verifier's manifest: the text ``ugsd-root1:...``, or a file that
    holds it."""
    manifest: Path | None = None
    """File of the manifest that the root signed. It is read again for each connection."""
    key: str | None = None
    """The verifier's public key, as text or as a file that holds it. It replaces ``root`` and
    ``manifest`` for a verifier on this machine; the embedded verifier announces its own."""
    proxy: str | None = None
    """Address of an HTTP proxy, ``http://host:port`` without credentials, through which a verifier
    that is not on this machine is reached. The tunnel's content is sealed end to end. If it is not
    set, no proxy is used: variables such as ``HTTPS_PROXY`` are not read."""
    deadline_s: _Seconds = 2.0
    """Longest wait for one block in seconds, above 0 and up to 3600. For the first block it
    includes the connection."""
    caption_deadline_s: _Seconds = 5.0
    """Longest wait for all blocks of one caption together in seconds, above 0 and up to 3600."""
    max_delay_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | None = None
    """Longest expected delay of a caption for which a question is asked, in seconds, 0 to 3600: the
    measured time of an answer, less the drafting that goes on meanwhile. 0 asks only where drafting
    hides the answer. If it is not set, only the deadlines limit it."""
    min_saving_s: _Seconds | None = None
    """Ask also, sure or not, where the verifier is expected to end the caption sooner than the
    device, by at least so many seconds, above 0 and up to 3600. It is for slow devices whose
    drafter has no slots, with ``continuation = caption``, and sends more than questions do."""
    connect_timeout_s: _Seconds = 10.0
    """Longest attempt to connect in seconds, above 0 and up to 3600. It runs in the background."""
    connections_per_user: Annotated[int, Field(ge=1, le=64)] = 4
    """Most connections that captions of one user have at the same time, 1 to 64. A further one is
    opened, with a handshake, only while all others are in use: by captions of people who are not
    named, or of several recordings of one user."""

    def with_identity(
        self, *, key: str | None = None, root: str | None = None, manifest: Path | None = None
    ) -> VerifierSettings:
        """Return these settings with the given identity: a key replaces root and manifest, and they
        replace a key."""
        if root is not None or manifest is not None:
            root, manifest = root or self.root, manifest or self.manifest
        elif key is None:
            return self
        return self.model_copy(update={"key": key, "root": root, "manifest": manifest})


class NoiseSettings(_Table):
    """Gaussian noise on the states that are sent: exactly one of ``sigma`` and ``epsilon``."""

    sigma: Annotated[float, Field(gt=0, le=MAX_SIGMA)] | None = None
    """Standard deviation of the noise on each number of a state, above 0 and up to 128, in units of
    the clip norm."""
    epsilon: _Positive | None = None
    """Epsilon of all states of one caption at ``limits.delta``, above 0 and up to a million; sigma
    is computed from it."""

    @model_validator(mode="after")
    def _check_one(self) -> NoiseSettings:
        if (self.sigma is None) == (self.epsilon is None):
            at = ("noise",) if self.sigma is None else ("noise", "epsilon")
            raise conflict(at, "give sigma or epsilon, one of the two")
        return self


class AuditSettings(_Table):
    """What the log stores for its owner, and for how long."""

    level: LogLevel = "content"
    """What is stored of each frame. ``content``: everything that was sent. ``record``: token ids,
    sizes and the like, but no states."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    """Age in days, 0 to 36500, at which the stored content is erased; a record of the log says so.
    If it is not set, the content is stored without limit."""


class UserSettings(BudgetLimits):
    """What a preset or a user has of their own: caps, and settings of their captions. Only what is
    given counts; everything else is inherited."""

    preset: Name | None = None
    """Name of the preset from which what is not given is inherited. If it is not set, caps come
    from ``limits``, and the rest from the settings of everyone."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """Which states are sent with the token ids of a block: ``tokens``, ``summary``,
    ``block_states``, ``all_states`` or ``distributions``; ``summary`` if nothing is inherited."""
    noise: NoiseSettings | None = None
    """Noise that is added to states before they are sent, by ``sigma``, above 0 and up to 128, or
    ``epsilon``, above 0 and up to a million; none if nothing is inherited."""
    min_enrolment: Enrolment = 3
    """Number of different clips in a speaker profile, 0 to 1000, before a state of its speaker may
    be sent; 3 if nothing is inherited. For the user ``default``, it is that of people who are not
    named."""
    min_enrolment_s: EnrolmentSeconds = 5.0
    """Seconds of speech in these clips together, 0 to 3600; 5 if nothing is inherited."""
    keep_profile: bool = True
    """Whether the speaker profile is stored in ``home``; it is if nothing is inherited."""
    length: CaptionLength = CaptionLength.NORMAL
    """How much a caption says: ``short``, ``normal`` or ``rich``; ``normal`` if nothing is
    inherited."""
    gender: bool = False
    """Whether captions say that a voice sounds like a woman's or a man's when that is clear; they
    do not if nothing is inherited."""

    @property
    def caps(self) -> dict[str, Any]:
        """The caps that are given, and delta if it is given."""
        return {name: getattr(self, name) for name in self._given & set(BudgetLimits.model_fields)}

    @property
    def others(self) -> dict[str, Any]:
        """The settings that are given and are no caps."""
        return {name: getattr(self, name) for name in self._given - set(BudgetLimits.model_fields)}

    @property
    def _given(self) -> set[str]:
        return self.model_fields_set - {"preset"}

    @field_validator("disclosure", "length", "keep_profile", "gender", mode="before")
    @classmethod
    def _refuse_none(cls, value: object) -> object:
        return "none" if value is None else value  # as the text that lifts caps

    @model_serializer(mode="wrap")
    def _only_given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


_MAX_DIGITS = 20
"""Most digits of a cap. Longer text is not parsed and is refused, because it is not a number."""


def plain_caps(caps: object) -> object:
    """Convert text, which the environment gives, to numbers; ``"none"`` lifts a cap."""
    if not isinstance(caps, Mapping):
        return caps
    return {name: value if name == "preset" else _plain_cap(value) for name, value in caps.items()}


def _plain_cap(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()  # text that is not a number, so that pydantic refuses it
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() == "none":
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else value


def refuse_unusable(value: object, annotation: object) -> object:
    """Return ``value``; refuse true and false as numbers, which pydantic reads as 1 and 0, and
    empty text, which stands for no setting: as a path it would be the current folder."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("empty", "it is empty: give a value, or leave it out")
    if isinstance(value, bool) and _is_number(annotation):
        raise PydanticCustomError("truth", "must be a number")
    return value


def _is_number(annotation: object) -> bool:
    return annotation in {int, float} or any(map(_is_number, get_args(annotation)))


def normal_name(table: str, name: object) -> object:
    """Return the normal form of a preset's or user's name; pydantic refuses a name that is not
    text."""
    if not isinstance(name, str):
        return name
    try:
        return normal_user(name)
    except UserNameRefused as error:
        raise conflict((table, name), str(error)) from None


def conflict(keys: tuple[str, ...], message: str) -> PydanticCustomError:
    """Return the error for a conflict of several settings, reported at ``keys``."""
    return PydanticCustomError("together", "{message}", {"message": message, "keys": keys})
