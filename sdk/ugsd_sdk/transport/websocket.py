"""Sealed frames as binary websocket messages (RFC 6455).

The protocol itself sends only constant data: an upgrade request without User-Agent, extensions or
cookies, a numbered ping every few seconds, one close frame, and a pong for each ping of the peer.
The transport uses no compression, and no proxy unless it is given one, whatever the environment
says. It follows no redirects, since the address is pinned.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from ugsd_privacy.egress import SealedFrame
from websockets.exceptions import WebSocketException
from websockets.uri import parse_uri

from ugsd_sdk.concurrency.smoothed_time import SmoothedTime
from ugsd_sdk.errors import ConfigError, VerifierUnreachable
from ugsd_sdk.transport import frame_bytes
from ugsd_sdk.transport.connection import Connection
from ugsd_sdk.transport.proxy import Proxy

__all__ = ["WebSocketTransport"]


class WebSocketTransport:
    """A ``ws://`` or ``wss://`` connection; with ``proxy`` through an HTTP proxy, such as
    ``http://proxy.example.org:3128``. Raises :class:`ConfigError` for any other address."""

    def __init__(self, url: str, *, proxy: str | None = None) -> None:
        self._address = _checked(url)
        self._url = url
        self._proxy = None if proxy is None else Proxy.from_url(proxy)
        self._connection: Connection | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether the address is on this machine: 127.0.0.0/8, ``::1`` or ``localhost``."""
        host = self._address.hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def round_trip(self) -> SmoothedTime | None:
        """The round trip that pings measured; ``None`` without a connection or a pong."""
        return None if self._connection is None else self._connection.round_trip

    @property
    def is_late(self) -> bool:
        """Whether a pong is overdue."""
        return self._connection is not None and self._connection.is_late

    def connect(self, timeout_s: float) -> None:
        try:
            uri = parse_uri(self._url)
        except (ValueError, WebSocketException) as error:  # a name that is invalid in IDNA
            raise VerifierUnreachable(
                f"the verifier's address {self._url!r} is invalid: correct it"
            ) from error
        self._connection = Connection(uri, self._proxy)
        self._connection.open(timeout_s)

    def send(self, frame: SealedFrame) -> None:
        data = frame_bytes(frame)
        self._connected().send(data)

    def receive(self, timeout_s: float) -> bytes:
        return self._connected().receive(timeout_s)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            raise VerifierUnreachable("not connected: connect first")
        return self._connection


def _checked(url: str) -> SplitResult:
    try:
        address = urlsplit(url)
        usable = address.scheme in {"ws", "wss"} and bool(address.hostname)
        usable = usable and (address.port is None or address.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"verifier {url!r}: give an address such as wss://captions.example.org")
    if address.username or address.password or address.query or address.fragment:
        raise ConfigError("verifier: remove the credentials, query or fragment from its address")
    return address
