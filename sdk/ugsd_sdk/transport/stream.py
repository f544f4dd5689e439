"""A byte stream over one TCP connection, plain or with TLS, that never blocks.

TLS runs in memory (:class:`ssl.SSLObject`) and the socket is non-blocking, so each call does a
bounded amount of work and returns, whatever the peer does. The caller decides how long to wait
between calls.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections import deque
from contextlib import suppress

__all__ = ["ByteStream", "begin_connecting", "require_connected"]

_READ_BYTES = 4096
"""Most bytes per read; more would let a peer keep the connection's lock busy for long."""
_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN}


def begin_connecting(family: int, address: tuple[object, ...]) -> socket.socket:
    """Start connecting to ``address``, a result of ``getaddrinfo``; return the non-blocking socket.
    It becomes writable when the attempt has ended. Raises ``OSError``."""
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
    """Raise ``OSError`` if the attempt to connect, which has ended, failed."""
    _require(tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), {0})


def _require(code: int, good: set[int]) -> None:
    if code not in good:
        raise OSError(code, "cannot connect")


class ByteStream:
    """A connected socket. With ``tls``, call :meth:`handshake` until it is done."""

    def __init__(
        self, tcp: socket.socket, *, tls: ssl.SSLContext | None = None, host: str = ""
    ) -> None:
        """``host`` is the name that the peer's certificate must match."""
        self.socket = tcp
        self.received_bytes = 0
        """Bytes read from the socket so far, including those of TLS."""
        self._outgoing: deque[memoryview] = deque()
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._from_peer, self._to_peer, server_hostname=host)

    @property
    def pending_bytes(self) -> int:
        """Bytes that are buffered until the peer reads."""
        return sum(map(len, self._outgoing))

    def handshake(self) -> bool:
        """Perform one step of the TLS handshake; return whether it is done. Raises ``OSError``."""
        if self._tls is None:
            return True
        self._read_socket()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._take_from_tls()
            return False
        except ssl.SSLError:
            with suppress(OSError):  # send the alert with the reason
                self._take_from_tls()
            raise
        self._take_from_tls()
        return True

    def receive(self) -> bytes | None:
        """Return received bytes, ``None`` if there are none yet, or ``b""`` at the end of the
        stream. Raises ``OSError``."""
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
            self._take_from_tls()  # TLS itself may answer
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Send what is possible now; buffer the rest for :meth:`flush`. Raises ``OSError``."""
        if self._tls is None:
            self._outgoing.append(memoryview(data))
            self.flush()
        else:
            self._tls.write(data)  # always complete, since its output is in memory
            self._take_from_tls()

    def flush(self) -> None:
        """Send buffered bytes as far as the peer reads. Raises ``OSError``."""
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
        """End the connection, also for processes that share the socket."""
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
