"""How a byte stream to a verifier is opened: name, address, proxy and TLS.

::

    resolve the name ──> first address that answers ──> tunnel, with a proxy ──> TLS, with wss

With a proxy, only the proxy's name is resolved here. Resolving may block its thread for as long as
the system likes; all other waits are the caller's ``wait``.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from weakref import WeakValueDictionary

from websockets.uri import WebSocketURI

from ugsd_sdk.transport import failures
from ugsd_sdk.transport.happy_eyeballs import Attempts, interleaved
from ugsd_sdk.transport.proxy import Proxy, Tunnel
from ugsd_sdk.transport.stream import ByteStream

__all__ = ["Dialling", "Wait"]

Wait = Callable[[Mapping[socket.socket, int], float], Collection[socket.socket]]
"""Waits for events of ``selectors`` on sockets until a time of ``monotonic``, and returns the
sockets that are ready."""


class Dialling:
    """One attempt to open a stream to ``uri``, through ``proxy`` if there is one."""

    def __init__(self, uri: WebSocketURI, proxy: Proxy | None) -> None:
        self._uri = uri
        self._proxy = proxy
        self._attempts = Attempts([])
        self._connected: socket.socket | None = None

    @property
    def where(self) -> str:
        """The verifier's address and the proxy's, for messages."""
        through = "" if self._proxy is None else f" through the proxy {self._proxy}"
        return f"{self._uri.host}:{self._uri.port}{through}"

    def open(self, wait: Wait, ends_s: float) -> ByteStream:
        """Return the open stream. Raises ``OSError``, which includes ``TimeoutError`` after
        ``ends_s``, ``UnicodeError`` or ``ValueError`` for an invalid name, a ``TransportError``,
        and what ``wait`` raises."""
        tcp = self._connected = self._connect(wait, ends_s)
        if self._proxy is not None:
            self._open_tunnel(tcp, self._proxy, wait, ends_s)
        try:
            tls = _tls() if self._uri.secure else None
            stream = ByteStream(tcp, tls=tls, host=self._uri.host)
            while not stream.handshake():
                _wait_for(stream, wait, ends_s)
        except ssl.SSLError as error:
            raise failures.without_tls(error, self.where) from error
        self._connected = None  # from now on the caller closes it
        return stream

    def close(self) -> None:
        """Close what is not part of a returned stream."""
        self._attempts.close()
        if self._connected is not None:
            self._connected.close()
            self._connected = None

    def _connect(self, wait: Wait, ends_s: float) -> socket.socket:
        peer = self._uri if self._proxy is None else self._proxy
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
        addresses = interleaved([(family, address) for family, _, _, _, address in found])
        attempts = self._attempts = Attempts(addresses)
        ready: Collection[socket.socket] = ()
        wait({}, monotonic())  # raises if the connection was closed in the meantime
        while (tcp := attempts.step(monotonic(), ready)) is None:
            _require_time(ends_s)
            events = dict.fromkeys(attempts.pending, selectors.EVENT_WRITE)
            ready = wait(events, min(attempts.next_s, ends_s))
        self._connected = tcp
        attempts.close()
        return tcp

    def _open_tunnel(self, tcp: socket.socket, proxy: Proxy, wait: Wait, ends_s: float) -> None:
        tunnel, stream = Tunnel(proxy, self._uri.host, self._uri.port), ByteStream(tcp)
        stream.send(tunnel.request)
        while (data := stream.receive()) is None or not tunnel.receive(data):
            _wait_for(stream, wait, ends_s)
            stream.flush()


_contexts: WeakValueDictionary[ssl.DefaultVerifyPaths, ssl.SSLContext] = WeakValueDictionary()
"""Those that open connections use."""


def _tls() -> ssl.SSLContext:
    """Return the context that open connections share. One for each would hold nearly a megabyte of
    the system's certificates. When none is open, the certificates are read again."""
    paths = ssl.get_default_verify_paths()
    context = _contexts.get(paths)
    if context is None:
        context = _contexts[paths] = ssl.create_default_context()
    return context


def _wait_for(stream: ByteStream, wait: Wait, ends_s: float) -> None:
    _require_time(ends_s)
    writes = selectors.EVENT_WRITE if stream.pending_bytes else 0
    wait({stream.socket: selectors.EVENT_READ | writes}, ends_s)


def _require_time(ends_s: float) -> None:
    if monotonic() >= ends_s:  # a peer that sends slowly is always ready
        raise TimeoutError
