"""Every error that the SDK raises.

::

    UgsdError
    ├── AudioError                 the clip cannot be captioned; no other clip is affected
    │   ├── UnreadableAudio        no such file, not audio, or damaged
    │   ├── EmptyAudio             no samples at all
    │   ├── AudioTooShort          under 0.1 s
    │   ├── AudioTooLong           over 30 s
    │   ├── BadSamples             NaN, infinity, wrong type, shape or sample rate
    │   └── SilentAudio            digital silence: there is no voice to describe
    ├── ModelError                 a drafter that is missing, damaged or answers nonsense
    ├── ConfigError                a setting that is missing, unknown or out of range
    ├── ProfileError               a speaker profile cannot be stored or deleted
    └── TransportError             the verifier cannot be used; a caption goes on without it
        ├── VerifierUnreachable    no connection, no TLS, or a connection that was lost
        ├── VerifierTimeout        connected, but the deadline passed
        ├── VerifierRefused        the verifier declined to check a block; ``.code`` says why
        ├── VerifierUntrusted      no manifest of the pinned root gives a key to use now
        ├── VerifierMismatch       it does not hold the pinned key, or checks other captions
        └── VerifierMisbehaved     its answer does not fit what was asked

A :class:`TransportError` never escapes from ``caption()``: its ``reason`` becomes the caption's
``unverified_reason``. It is raised only where a connection is asked for by name, as in
``wait_until_connected()``.
"""

from __future__ import annotations

__all__ = [
    "AudioError",
    "AudioTooLong",
    "AudioTooShort",
    "BadSamples",
    "ConfigError",
    "EmptyAudio",
    "ModelError",
    "ProfileError",
    "SilentAudio",
    "TransportError",
    "UgsdError",
    "UnreadableAudio",
    "VerifierMisbehaved",
    "VerifierMismatch",
    "VerifierRefused",
    "VerifierTimeout",
    "VerifierUnreachable",
    "VerifierUntrusted",
]


class UgsdError(Exception):
    """Base of the package's errors."""


class AudioError(UgsdError):
    """Base of what can be wrong with a clip."""


class UnreadableAudio(AudioError):
    """No such file, not audio, or damaged."""


class EmptyAudio(AudioError):
    """The clip holds no samples."""


class AudioTooShort(AudioError):
    """The clip is too short to hear how a voice sounds."""


class AudioTooLong(AudioError):
    """The clip is longer than the drafter listens."""


class BadSamples(AudioError):
    """Samples that are NaN, infinite, or of a wrong type, shape or sample rate."""


class SilentAudio(AudioError):
    """The clip is digital silence."""


class ModelError(UgsdError):
    """A drafter that is missing, damaged, or answers nonsense."""


class ConfigError(UgsdError):
    """A setting that is missing, unknown or out of range."""


class ProfileError(UgsdError):
    """A speaker profile that cannot be stored or deleted. Captions go on; the message says why."""


class TransportError(UgsdError):
    """The verifier cannot be used. ``reason`` is short and stable."""

    default_reason = "verifier unreachable"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class VerifierUnreachable(TransportError):
    """No connection, or a connection that was lost; ``close_code`` (RFC 6455 §7.4) if known."""

    def __init__(
        self, message: str, *, close_code: int | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.close_code = close_code


class VerifierTimeout(TransportError):
    """Connected, but no answer before the deadline."""

    default_reason = "deadline"


class VerifierRefused(TransportError):
    """The verifier declined to check a block. ``code`` is the wire's refusal code."""

    def __init__(self, code: str) -> None:
        super().__init__(
            f"the verifier refused the block: {code}", reason=f"verifier refused: {code}"
        )
        self.code = code


class VerifierUntrusted(TransportError):
    """No manifest of the pinned root gives a key to use now."""

    default_reason = "verifier key not trusted"


class VerifierMismatch(TransportError):
    """The peer does not hold the pinned key, or checks captions of another kind."""

    default_reason = "wrong verifier key"


class VerifierMisbehaved(TransportError):
    """The peer's answer does not fit what was asked."""

    default_reason = "verifier misbehaved"
