"""A tunnel through an HTTP proxy (``CONNECT``, RFC 9110 §9.3.6).

Everything that follows goes through the tunnel unchanged: TLS and the frames, which are sealed end
to end. The proxy learns the verifier's name and port, and what any network observer learns. It gets
no credentials: over HTTP they would be readable to the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ugsd_sdk.errors import ConfigError, VerifierUnreachable
from ugsd_sdk.transport import failures

__all__ = ["Proxy", "Tunnel"]

_MAX_HEAD_BYTES = 8192
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")  # RFC 9112 §4


@dataclass(frozen=True)
class Proxy:
    """The address of a proxy."""

    host: str
    port: int

    @classmethod
    def from_url(cls, url: str) -> Proxy:
        """Parse ``http://host:port``. Raises :class:`ConfigError` for anything else."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            host = host and host.encode("idna").decode("ascii")
        except (ValueError, UnicodeError):
            host = port = parts = None
        if parts is None or not host or not port or parts.scheme != "http":
            raise ConfigError(
                f"verifier.proxy {_shown(url)}: give the address of an HTTP proxy with its port, "
                "such as http://proxy.example.org:3128"
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "verifier.proxy: remove the user name and password, which the network could read: "
                "use a proxy that needs none, or a local one that adds them"
            )
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ConfigError("verifier.proxy: remove the path, query or fragment")
        return cls(host, port)

    def __str__(self) -> str:
        return _with_port(self.host, self.port)


class Tunnel:
    """Asks a proxy for a connection to ``host`` and ``port``. Sans-I/O: send :attr:`request`, then
    pass what arrives to :meth:`receive` until it returns true."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._head = b""
        target = _with_port(host, port)
        self.request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii")

    def receive(self, data: bytes) -> bool:
        """Return whether the tunnel is open. Raises :class:`VerifierUnreachable` if the proxy
        refuses it, closes the connection, or answers anything but one short head: a verifier does
        not speak first."""
        self._head += data
        if data and _END not in self._head and len(self._head) <= _MAX_HEAD_BYTES:
            return False
        status = _STATUS.match(self._head)
        is_whole = self._head.find(_END) == len(self._head) - len(_END)
        if status is None or not is_whole or not status[1].startswith(b"2"):
            raise self._refused(int(status[1]) if status else None)
        return True

    def _refused(self, status: int | None) -> VerifierUnreachable:
        return failures.no_tunnel(str(self._proxy), status)


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shown(url: str) -> str:
    """Return the address without what may be a password."""
    return repr(url.rpartition("@")[2])
