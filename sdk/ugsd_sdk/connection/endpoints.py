"""Endpoints of a verifier: an address, a child process, or a transport of the caller."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.forks import call_in_children
from ugsd_privacy.keys.root import RootPin
from ugsd_privacy.keys.verifier import VerifierPublicKey

from ugsd_sdk.connection.child_process import require_interpreter, require_server
from ugsd_sdk.connection.embedded import Announcement, EmbeddedVerifier
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.errors import ConfigError, VerifierUnreachable
from ugsd_sdk.home import Home
from ugsd_sdk.settings.config import EMBEDDED, VerifierSettings
from ugsd_sdk.settings.user_paths import expanded
from ugsd_sdk.transport import Transport
from ugsd_sdk.transport.proxy import Proxy
from ugsd_sdk.transport.websocket import WebSocketTransport

__all__ = ["EmbeddedEndpoint", "PinnedEndpoint", "endpoint_of"]

Key = Callable[[], VerifierPublicKey]


def endpoint_of(
    verifier: str | Callable[[], Transport], settings: VerifierSettings, home: Home
) -> PinnedEndpoint | EmbeddedEndpoint:
    """Return the endpoint of an address, of ``embedded``, or of the caller's transport.

    Only an address on another machine is reached through the settings' proxy. Raises
    :class:`ConfigError` for an unusable address or proxy, or if no key or root is pinned.
    """
    if settings.proxy is not None:
        Proxy.from_url(settings.proxy)  # a mistake is an error even where no proxy is used
    if verifier == EMBEDDED:
        require_interpreter()
        require_server()
        return EmbeddedEndpoint(home)
    if not isinstance(verifier, str):
        return PinnedEndpoint(verifier, _key(settings, home))
    if "://" not in verifier:
        raise ConfigError(
            f"verifier {verifier!r}: give {EMBEDDED}, or an address such as "
            "wss://captions.example.org"
        )
    is_here = WebSocketTransport(verifier).is_loopback
    proxy = None if is_here else settings.proxy  # a proxy would connect to its own machine
    key = _key(settings, home)
    if not is_here and settings.root is None:
        raise ConfigError(
            f"verifier {verifier}: over a network verifier_key alone is not enough, since it can "
            "never be replaced: ask the operator to create a root (`ugsd-server root`) and sign a "
            "manifest (`ugsd-server manifest`), then set verifier_root and verifier_manifest"
        )
    return PinnedEndpoint(lambda: WebSocketTransport(verifier, proxy=proxy), key)


def _key(settings: VerifierSettings, home: Home) -> Key:
    """Return a function that returns the key to seal to, or raises a ``TransportError``."""
    if settings.root is not None:
        return _trusted(settings.root, settings, home).key
    if settings.manifest is not None:
        raise ConfigError("a manifest is used only with the root that signed it: set verifier_root")
    if not settings.key:
        raise ConfigError(
            "no key pinned for the verifier: set verifier_root and verifier_manifest, or "
            "verifier_key for a verifier on this machine, as its operator published them"
        )
    try:
        pinned = VerifierPublicKey.load(settings.key)
    except KeyFileError as error:
        raise ConfigError(f"verifier key: {error}") from error
    return lambda: pinned


def trusted_root(settings: VerifierSettings, home: Home) -> TrustedRoot:
    """Return the root that the settings pin. Raises :class:`ConfigError` if they pin none."""
    if settings.root is None:
        raise ConfigError(
            "no root is pinned: set verifier_root and verifier_manifest (--verifier-root and "
            "--verifier-manifest)"
        )
    return _trusted(settings.root, settings, home)


def _trusted(root: str, settings: VerifierSettings, home: Home) -> TrustedRoot:
    if settings.key is not None:
        raise ConfigError("both verifier_key and verifier_root are set: remove one of them")
    if settings.manifest is None:
        raise ConfigError(
            "the root's keys are listed in a manifest: set verifier_manifest (--verifier-manifest)"
        )
    try:
        pin = RootPin.load(root)
    except KeyFileError as error:
        raise ConfigError(f"verifier root: {error}") from error
    manifest = expanded(settings.manifest, "verifier.manifest")
    return TrustedRoot(pin, manifest, home.trust, made_after=home.log_key)


class PinnedEndpoint:
    """A verifier with a pinned key, or a key that is looked up for each connection."""

    def __init__(self, transport: Callable[[], Transport], key: Key) -> None:
        self._transport = transport
        self._key = key

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        key = self._key()
        return self._transport(), key

    def failed(self) -> None:
        return

    def close(self) -> None:
        return


class EmbeddedEndpoint:
    """The bundled verifier as a child process, started on first use, for all connections.

    Its key needs no pin: it comes through a pipe from our own child process. It is started again if
    it has ended, or if no connection to it could be opened.
    """

    def __init__(self, home: Home) -> None:
        self._verifier = EmbeddedVerifier(home.embedded)
        self._starting = Lock()
        self._announced: Announcement | None = None
        self._is_closed = False
        call_in_children(self._forget_in_child)

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        ends_s = monotonic() + timeout_s
        if not self._starting.acquire(timeout=max(timeout_s, 0)):
            raise VerifierUnreachable("the embedded verifier is still starting: try again later")
        try:
            announced = self._announced if self._verifier.is_running else None
            if announced is None and not self._is_closed:
                announced = self._verifier.start(ends_s - monotonic())
            if self._is_closed or announced is None:
                self._verifier.close()  # it may have been started after close()
                raise VerifierUnreachable("the captioner was closed: create another")
            self._announced = announced
        finally:
            self._starting.release()
        try:
            return WebSocketTransport(announced.url), VerifierPublicKey.from_text(
                announced.public_key
            )
        except (KeyFileError, ConfigError) as error:
            raise VerifierUnreachable(
                "the embedded verifier announced no usable address: reinstall ugsd"
            ) from error

    def failed(self) -> None:
        self._announced = None

    def close(self) -> None:
        self._is_closed = True
        self._verifier.close()

    def _forget_in_child(self) -> None:
        self._starting = Lock()  # a thread of the parent may have held the other one
        self._is_closed = True
