"""Sealed frames as binary websocket messages (RFC 6455).

What the protocol itself sends is constant: an upgrade request without User-Agent, extensions or
cookies, one close frame, and a pong for each ping. No proxy, no compression, no pings of our own,
no redirects (a redirect is an answer like any other failure: the address was pinned).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from contextlib import ExitStack, closing
from time import monotonic
from urllib.parse import SplitResult, urlsplit

from ugsd_privacy.egress import SealedFrame
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from ugsd_sdk.errors import ConfigError, NoAnswer, PeerMisbehaved, TransportError, Unreachable
from ugsd_sdk.transport import MAX_FRAME_BYTES, sealed_bytes

__all__ = ["WebSocketTransport"]

_CLOSE_TIMEOUT_S = 0.5
_SEND_BUFFER_BYTES = 2**18
_NORMAL = 1000  # RFC 6455 §7.4.1
_SILENT = logging.Logger("ugsd_sdk.transport.websocket", logging.CRITICAL + 1)
"""The library would log a peer's failures, which are not ours to keep."""


class WebSocketTransport:
    """A ``ws://`` or ``wss://`` connection. Raises :class:`ConfigError` for any other address."""

    def __init__(self, url: str) -> None:
        self._address = _checked(url)
        self._url = url
        self._open = ExitStack()
        self._connection: ClientConnection | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine's own: 127.0.0.0/8, ``::1`` or ``localhost``."""
        host = self._address.hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def connect(self, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        secure = self._address.scheme == "wss"
        target = (self._address.hostname, self._address.port or (443 if secure else 80))
        try:
            with ExitStack() as opened:
                tcp = opened.enter_context(
                    closing(socket.create_connection(target, timeout=timeout_s))
                )
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Room for every frame in flight: a peer that reads nothing must not stop a send.
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
                connection = connect(
                    self._url,
                    sock=tcp,
                    ssl=ssl.create_default_context() if secure else None,
                    compression=None,
                    proxy=None,
                    user_agent_header=None,
                    max_size=MAX_FRAME_BYTES,
                    open_timeout=max(deadline - monotonic(), 0.001),
                    close_timeout=_CLOSE_TIMEOUT_S,
                    ping_interval=None,
                    logger=_SILENT,
                )
                self._connection = opened.enter_context(connection)
                self._open = opened.pop_all()
        except ssl.SSLError as error:
            raise _without_tls(error, f"{self._address.hostname}:{target[1]}") from error
        except (OSError, WebSocketException, EOFError, UnicodeError, ValueError) as error:
            raise Unreachable(
                f"no verifier answers at {self._address.hostname}:{target[1]}: "
                "check its address and that it runs"
            ) from error

    def send(self, frame: SealedFrame) -> None:
        data = sealed_bytes(frame)
        try:
            self._connected().send(data)
        except (OSError, WebSocketException) as error:
            raise self._lost(error) from error

    def receive(self, timeout_s: float) -> bytes:
        try:
            message = self._connected().recv(timeout=max(timeout_s, 0))
        except TimeoutError as error:
            raise NoAnswer("the verifier did not answer in time") from error
        except (OSError, WebSocketException) as error:
            raise self._lost(error) from error
        if not isinstance(message, bytes):
            raise PeerMisbehaved("the verifier sent text: its frames are binary")
        return message

    def close(self) -> None:
        self._connection = None
        try:
            self._open.close()
        except (OSError, WebSocketException):
            return

    def _connected(self) -> ClientConnection:
        if self._connection is None:
            raise Unreachable("not connected")
        return self._connection

    def _lost(self, error: Exception) -> TransportError:
        if not isinstance(error, ConnectionClosed):
            return Unreachable("the connection to the verifier was lost")
        if error.sent is not None and not error.rcvd_then_sent and error.sent.code != _NORMAL:
            return PeerMisbehaved("the verifier broke the websocket protocol")
        code = None if error.rcvd is None else error.rcvd.code
        return Unreachable("the verifier closed the connection", close_code=code)


def _without_tls(error: ssl.SSLError, where: str) -> Unreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = (
            f"the TLS certificate of {where} is not trusted: check the address, "
            "and that this machine knows who issued the certificate"
        )
    else:
        message = f"no TLS with {where}: a verifier without TLS has a ws:// address"
    return Unreachable(message, reason="tls failed")


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
        raise ConfigError("verifier: the address carries no credentials, query or fragment")
    return address
