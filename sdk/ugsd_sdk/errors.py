"""Every error that the SDK raises.

::

    UgsdError                      of every package: catch it to catch them all
    ├── PrivacyError               of ``ugsd_privacy.errors``: ledger, budget, log and keys
    ├── AudioError                 the clip cannot be captioned; no other clip is affected
    │   ├── UnreadableAudio        no such file, not audio, or damaged
    │   ├── EmptyAudio             no samples at all
    │   ├── AudioTooShort          under 0.1 s
    │   ├── AudioTooLong           over 12 hours
    │   ├── BadSamples             NaN, infinity, wrong type, shape or sample rate
    │   └── StreamSourceError      the source of a stream failed; ``__cause__`` is its error
    │       └── MicrophoneUnavailable   no microphone, or nothing that reads it is installed
    ├── ModelError                 the drafter is missing or damaged, or its output is invalid
    ├── ConfigError                a setting is missing, unknown or out of range
    ├── ProfileError               a speaker profile cannot be stored or deleted
    ├── CheckpointError            a timeline cannot be resumed from, or stored in, its checkpoint
    ├── CallEnded                  the call was ended before there was a caption
    │   ├── CaptionTimeout         its time limit passed; a TimeoutError, too
    │   ├── CaptionCancelled       it was cancelled
    │   └── CaptionerClosed        the captioner is closed, or was closed meanwhile
    ├── WrongType                  an argument is of a wrong type; it is a ``TypeError`` too
    ├── WrongValue                 an unknown format, or other JSON; it is a ``ValueError`` too
    └── TransportError             the verifier cannot be used; captions continue without it
        ├── VerifierUnreachable    no connection, no TLS, or the connection was lost
        ├── VerifierTimeout        connected, but the deadline passed
        ├── VerifierRefused        the verifier refused to check a block; ``.code`` says why
        ├── VerifierUntrusted      no manifest of the pinned root has a key that is valid now
        ├── VerifierMismatch       it does not hold the pinned key, or fits another drafter
        └── VerifierMisbehaved     its answer does not fit the request

``caption()`` never raises a :class:`TransportError`: its ``reason`` becomes the caption's
``unverified_reason``. Only ``wait_until_connected()`` raises it.
"""

from __future__ import annotations

from typing import ClassVar

from ugsd_privacy.errors import UgsdError, WrongType
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason

__all__ = [
    "AudioError",
    "AudioTooLong",
    "AudioTooShort",
    "BadSamples",
    "CallEnded",
    "CaptionCancelled",
    "CaptionTimeout",
    "CaptionerClosed",
    "CheckpointError",
    "ConfigError",
    "EmptyAudio",
    "MicrophoneUnavailable",
    "ModelError",
    "ProfileError",
    "StreamSourceError",
    "TransportError",
    "UgsdError",
    "UnreadableAudio",
    "VerifierMisbehaved",
    "VerifierMismatch",
    "VerifierRefused",
    "VerifierTimeout",
    "VerifierUnreachable",
    "VerifierUntrusted",
    "WrongType",
    "WrongValue",
]


class AudioError(UgsdError):
    """Base class of the errors of a clip."""


class UnreadableAudio(AudioError):
    """The file does not exist, is not audio, or is damaged."""


class EmptyAudio(AudioError):
    """The clip has no samples."""


class AudioTooShort(AudioError):
    """The clip is shorter than 0.1 s."""


class AudioTooLong(AudioError):
    """The recording is longer than 12 hours."""


class BadSamples(AudioError):
    """Samples are NaN or infinite, or have a wrong type, shape or sample rate."""


class StreamSourceError(AudioError):
    """The source of a stream raised an error, which is the ``__cause__`` of this one. What was
    spoken before it has been captioned."""


class MicrophoneUnavailable(StreamSourceError):
    """There is no such microphone, or what reads it is not installed."""


class ModelError(UgsdError):
    """The drafter is missing or damaged, or its output is invalid."""


class ConfigError(UgsdError):
    """A setting is missing, unknown or out of range."""


class ProfileError(UgsdError):
    """A speaker profile cannot be stored or deleted. Captions continue; the message says why."""


class CheckpointError(UgsdError):
    """A timeline's checkpoint is of another recording, release or settings, is damaged, or cannot
    be written. The message says which."""


class CallEnded(UgsdError):
    """A call for a caption was ended before there was one. What was charged and sent for it stays
    recorded, and no speaker profile was changed."""

    code: ClassVar[ReasonCode]
    """Why a block that was in flight has no verdict, for the journal."""


class CaptionTimeout(CallEnded, TimeoutError):
    """The call's time limit passed."""

    code = ReasonCode.CALL_TIMEOUT

    def __init__(self, timeout_s: float | None = None) -> None:
        limit = "its time limit" if timeout_s is None else f"its time limit of {timeout_s:g} s"
        super().__init__(f"the caption was not ready within {limit}: allow more, or try again")


class CaptionCancelled(CallEnded):
    """The call was cancelled."""

    code = ReasonCode.CALL_CANCELLED

    def __init__(self) -> None:
        super().__init__("the call for a caption was cancelled")


class CaptionerClosed(CallEnded):
    """The captioner is closed, or was closed while it made the caption."""

    code = ReasonCode.CAPTIONER_CLOSED

    def __init__(self) -> None:
        super().__init__("the captioner is closed: create another one")


class WrongValue(UgsdError, ValueError):
    """An argument names no format, or is not the JSON that was expected."""


class TransportError(UgsdError):
    """The verifier cannot be used. ``reason`` says why, without any text from the peer; an
    application's own transport may give text of its own."""

    default_code: ClassVar[ReasonCode] = ReasonCode.VERIFIER_UNREACHABLE
    """The code of ``reason`` if none is given."""

    def __init__(self, message: str, *, reason: Reason | ReasonCode | str | None = None) -> None:
        super().__init__(message)
        self.reason = as_reason(reason or self.default_code)


class VerifierUnreachable(TransportError):
    """No connection, or the connection was lost; ``close_code`` (RFC 6455 §7.4) if known."""

    def __init__(
        self,
        message: str,
        *,
        close_code: int | None = None,
        reason: Reason | ReasonCode | str | None = None,
    ) -> None:
        super().__init__(message, reason=reason)
        self.close_code = close_code


class VerifierTimeout(TransportError):
    """Connected, but no answer came before the deadline."""

    default_code = ReasonCode.DEADLINE


class VerifierRefused(TransportError):
    """The verifier refused to check a block. ``code`` is the refusal code of the protocol."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"the verifier refused the block: {code}",
            reason=Reason(code=ReasonCode.VERIFIER_REFUSED, refusal=code),
        )
        self.code = code


class VerifierUntrusted(TransportError):
    """No manifest of the pinned root has a key that is valid now."""

    default_code = ReasonCode.KEY_NOT_TRUSTED


class VerifierMismatch(TransportError):
    """The verifier does not hold the pinned key, or has another version or belongs to another
    drafter."""

    default_code = ReasonCode.WRONG_VERIFIER_KEY


class VerifierMisbehaved(TransportError):
    """The peer's answer does not fit the request."""

    default_code = ReasonCode.VERIFIER_MISBEHAVED
