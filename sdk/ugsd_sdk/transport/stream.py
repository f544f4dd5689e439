"""Bytes over one TCP connection, plain or under TLS, without ever waiting.

TLS runs in memory (:class:`ssl.SSLObject`) and the socket is non-blocking, so each call does a
bounded amount of work and returns, whatever the peer does. Whoever calls decides how long to wait
between two calls.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections import deque
from contextlib import suppress

__all__ = ["ByteStream", "begin_connecting", "require_connected"]

_READ_BYTES = 4096
"""Read at once; more would let a peer hold the lock of its connection for long."""
_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN}


def begin_connecting(family: int, address: tuple[object, ...]) -> socket.socket:
    """A non-blocking TCP socket that is connecting to ``address``, as ``getaddrinfo`` gave it. It
    is writable when that has ended. Raises ``OSError``."""
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        tcp.setblocking(False)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _require(tcp.connect_ex(address), _IN_PROGRESS)
    except BaseException:
        tcp.close()
        raise
    return tcp


def require_connected(tcp: socket.socket) -> None:
    """Raise ``OSError`` if connecting, which has ended, has failed."""
    _require(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), {0})


def _require(code: int, good: set[int]) -> None:
    if code not in good:
        raise OSError(code, "cannot connect")


class ByteStream:
    """A connected socket. With ``tls``, call :meth:`handshake` until it is done."""

    def __init__(
        self, tcp: socket.socket, *, tls: ssl.SSLContext | None = None, host: str = ""
    ) -> None:
        """``host`` is the name that the peer's certificate must be for."""
        self.socket = tcp
        self.received_bytes = 0
        """Bytes read from the socket so far, those of TLS included."""
        self._outgoing: deque[memoryview] = deque()
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._from_peer, self._to_peer, server_hostname=host)

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait until the peer reads."""
        return sum(map(len, self._outgoing))

    def handshake(self) -> bool:
        """One step of the TLS handshake; whether it is done. Raises ``OSError``."""
        if self._tls is None:
            return True
        self._read_socket()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._take_from_tls()
            return False
        except ssl.SSLError:
            with suppress(OSError):  # the alert that says why
                self._take_from_tls()
            raise
        self._take_from_tls()
        return True

    def receive(self) -> bytes | None:
        """What has arrived, ``None`` if nothing has, nothing at the end. Raises ``OSError``."""
        data = self._read_socket()
        if self._tls is None:
            return data
        parts = []
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts) or None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        finally:
            self._take_from_tls()  # an answer of TLS's own
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Send what can be sent now; the rest waits for :meth:`flush`. Raises ``OSError``."""
        if self._tls is None:
            self._outgoing.append(memoryview(data))
            self.flush()
        else:
            self._tls.write(data)  # whole: its output is in memory
            self._take_from_tls()

    def flush(self) -> None:
        """Send what waits, as far as the peer reads. Raises ``OSError``."""
        while self._outgoing:
            first = self._outgoing[0]
            try:
                sent = self.socket.send(first)
            except (BlockingIOError, InterruptedError):
                return
            if sent < len(first):
                self._outgoing[0] = first[sent:]
            else:
                self._outgoing.popleft()

    def close(self) -> None:
        """End the connection, for processes that share the socket too."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _read_socket(self) -> bytes | None:
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        self.received_bytes += len(data)
        if self._tls is not None:
            if data:
                self._from_peer.write(data)
            else:
                self._from_peer.write_eof()
        return data

    def _take_from_tls(self) -> None:
        if data := self._to_peer.read():
            self._outgoing.append(memoryview(data))
        self.flush()
