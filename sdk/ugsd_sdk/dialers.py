"""The ways to a verifier: an address, a child process, or a transport that the caller brings."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys import VerifierPublicKey

from ugsd_sdk.embedded import EmbeddedVerifier
from ugsd_sdk.errors import ConfigError, Unreachable
from ugsd_sdk.home import Home
from ugsd_sdk.transport import Transport
from ugsd_sdk.transport.websocket import WebSocketTransport

__all__ = ["EmbeddedDialer", "PinnedDialer", "pinned_key"]


def pinned_key(path_or_text: str | None) -> VerifierPublicKey:
    """The verifier's key. Raises :class:`ConfigError` where there is none or it is malformed."""
    if not path_or_text:
        raise ConfigError(
            "a verifier needs its key pinned: give verifier_key, as the operator published it"
        )
    try:
        return VerifierPublicKey.load(path_or_text)
    except KeyFileError as error:
        raise ConfigError(f"verifier key: {error}") from error


class PinnedDialer:
    """A verifier whose key is known beforehand."""

    def __init__(self, transport: Callable[[], Transport], pinned: VerifierPublicKey) -> None:
        self._transport = transport
        self._pinned = pinned

    @classmethod
    def to(cls, url: str, key: str | None) -> PinnedDialer:
        """Over a websocket. Raises :class:`ConfigError` for an unusable address or key."""
        WebSocketTransport(url)
        return cls(lambda: WebSocketTransport(url), pinned_key(key))

    def dial(self, timeout_s: float) -> tuple[Transport, VerifierPublicKey]:
        return self._transport(), self._pinned

    def close(self) -> None:
        return


class EmbeddedDialer:
    """The bundled verifier as a child process, started when it is first needed."""

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
            raise Unreachable("the embedded verifier announced no usable address") from error

    def close(self) -> None:
        self._verifier.close()
