"""Connect to whichever of several addresses answers first (RFC 8305, "Happy Eyeballs").

An address that never answers, as with a broken IPv6 route beside a working IPv4 one, thus costs
:data:`ATTEMPT_DELAY_S` and not a timeout. Nothing is remembered for the next connection.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import chain, zip_longest

from ugsd_sdk.transport.stream import begin_connecting, require_connected

__all__ = ["ATTEMPT_DELAY_S", "Address", "Attempts", "interleaved"]

ATTEMPT_DELAY_S = 0.25  # RFC 8305 §5
"""Seconds from one attempt to the next, if the earlier one has not failed."""

Address = tuple[int, tuple[object, ...]]
"""A family and an address, as ``getaddrinfo`` returns them."""


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Return the addresses with families in turn, each in its own order, beginning with the first
    (RFC 8305 §4)."""
    families = dict.fromkeys(family for family, _ in addresses)
    own = [[address for address in addresses if address[0] == family] for family in families]
    turns = chain.from_iterable(zip_longest(*own))
    return [address for address in turns if address is not None]


class Attempts:
    """Attempts to connect to ``addresses``, in their order, which overlap. Nothing here waits::

    tcp = attempts.step(now_s, ready)     until it returns the connected socket
    wait for attempts.pending to become writable, until attempts.next_s at most
    close()                               closes the others
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        begin: Callable[[int, tuple[object, ...]], socket.socket] = begin_connecting,
    ) -> None:
        self.pending: list[socket.socket] = []
        """Sockets of the attempts that have not ended."""
        self._untried = deque(addresses)
        self._begin = begin
        self._next_s = float("-inf")

    @property
    def next_s(self) -> float:
        """When the next attempt is due; infinity after the last address."""
        return self._next_s if self._untried else float("inf")

    def step(self, now_s: float, ready: Collection[socket.socket]) -> socket.socket | None:
        """Begin attempts that are due; return the first socket that is connected, if any. ``ready``
        are the pending sockets that became writable. Raises ``OSError`` when all have failed."""
        for tcp in ready:
            if tcp not in self.pending:
                continue
            self.pending.remove(tcp)
            try:
                require_connected(tcp)
            except OSError:
                tcp.close()
                self._next_s = now_s  # RFC 8305 §5: do not wait after a failure
            else:
                return tcp
        while self._untried and (now_s >= self._next_s or not self.pending):
            self._next_s = now_s + ATTEMPT_DELAY_S
            family, address = self._untried.popleft()
            try:
                self.pending.append(self._begin(family, address))
            except OSError:
                self._next_s = now_s
        if not self.pending:
            raise OSError("no address can be connected to")
        return None

    def close(self) -> None:
        """Close the sockets of all attempts that have not ended."""
        for tcp in self.pending:
            tcp.close()
        self.pending.clear()
