"""The ways to a verifier: an address, a child process, or a transport that the caller brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.root import RootPin
from ugsd_privacy.keys.verifier import VerifierPublicKey

from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.errors import ConfigError, VerifierUnreachable
from ugsd_sdk.home import Home
from ugsd_sdk.settings.config import EMBEDDED, VerifierSettings
from ugsd_sdk.transport import Transport
from ugsd_sdk.transport.websocket import WebSocketTransport

__all__ = ["EmbeddedEndpoint", "PinnedEndpoint", "endpoint_of"]

Key = Callable[[], VerifierPublicKey]


def endpoint_of(
    verifier: str | Callable[[], Transport], settings: VerifierSettings, home: Home
) -> PinnedEndpoint | EmbeddedEndpoint:
    """The dialer to an address, ``embedded``, or what the caller's transport reaches.

    Raises :class:`ConfigError` for an unusable address, and where nothing says by which key or root
    the verifier is known.
    """
    if verifier == EMBEDDED:
        return EmbeddedEndpoint(home)
    if not isinstance(verifier, str):
        return PinnedEndpoint(verifier, _key(settings, home))
    is_here = WebSocketTransport(verifier).is_loopback
    key = _key(settings, home)
    if not is_here and settings.root is None:
        raise ConfigError(
            f"verifier {verifier}: over a network a bare verifier_key is not enough, for it can "
            "never be replaced: have its operator make a root (`ugsd-server root`) and sign a "
            "manifest (`ugsd-server manifest`), and give verifier_root and verifier_manifest"
        )
    return PinnedEndpoint(lambda: WebSocketTransport(verifier), key)


def _key(settings: VerifierSettings, home: Home) -> Key:
    """What gives the key to seal to, or raises a ``TransportError``."""
    if settings.root is not None:
        return _trusted(settings.root, settings, home).key
    if settings.manifest is not None:
        raise ConfigError("a manifest needs the root that signed it pinned: give verifier_root")
    if not settings.key:
        raise ConfigError(
            "a verifier needs its key pinned: give verifier_root and verifier_manifest, or on this "
            "machine verifier_key, as the operator published them"
        )
    try:
        pinned = VerifierPublicKey.load(settings.key)
    except KeyFileError as error:
        raise ConfigError(f"verifier key: {error}") from error
    return lambda: pinned


def trusted_root(settings: VerifierSettings, home: Home) -> TrustedRoot:
    """The root that the settings pin. Raises :class:`ConfigError` where they pin none."""
    if settings.root is None:
        raise ConfigError("no root is pinned: give verifier_root and verifier_manifest")
    return _trusted(settings.root, settings, home)


def _trusted(root: str, settings: VerifierSettings, home: Home) -> TrustedRoot:
    if settings.key is not None:
        raise ConfigError("a verifier is known by its key or by its root: give one of them")
    if settings.manifest is None:
        raise ConfigError("a root vouches for keys in a manifest: give verifier_manifest")
    try:
        pin = RootPin.load(root)
    except KeyFileError as error:
        raise ConfigError(f"verifier root: {error}") from error
    return TrustedRoot(
        pin, Path(settings.manifest).expanduser(), home.trust, made_after=home.log_key
    )


class PinnedEndpoint:
    """A verifier whose key is known beforehand, or looked up for each connection."""

    def __init__(self, transport: Callable[[], Transport], key: Key) -> None:
        self._transport = transport
        self._key = key

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        key = self._key()
        return self._transport(), key

    def close(self) -> None:
        return


class EmbeddedEndpoint:
    """The bundled verifier as a child process, started when it is first needed.

    Its key is taken as it is: it comes through a pipe from a process of our own.
    """

    def __init__(self, home: Home) -> None:
        self._verifier = EmbeddedVerifier(home.embedded)

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        ends_s = monotonic() + timeout_s
        announced = self._verifier.start(ends_s - monotonic())
        try:
            return WebSocketTransport(announced.url), VerifierPublicKey.from_text(
                announced.public_key
            )
        except (KeyFileError, ConfigError) as error:
            raise VerifierUnreachable(
                "the embedded verifier announced no usable address"
            ) from error

    def close(self) -> None:
        self._verifier.close()
