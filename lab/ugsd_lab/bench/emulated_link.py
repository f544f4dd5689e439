"""A TCP proxy on loopback that behaves like a slow, jittery, lossy or narrow network.

It relays the bytes of each connection to one target, and delays each segment::

    starts  = when the segment before it has left, at the earliest
    leaves  = starts + its bytes / bandwidth
    arrives = leaves + round trip / 2 + jitter, after a retransmission timeout for each time it is
              lost, and never before the segment before it

TCP hides loss from its user, and a proxy cannot drop packets of a connection that it terminates. So
a loss is emulated as what it does to TCP: the segment and all after it arrive later by the
retransmission timeout, which doubles with each further loss (RFC 6298 §5.5) and is at least
:data:`MIN_TIMEOUT_S`, as on Linux. Fast retransmission and loss probes, which repair a loss within
a long transfer sooner, are left out: a question is one segment. The system's own handshake with the
proxy takes no time, so the first segment also waits for the round trip of the emulated one.

All is computed in one thread of its own, whose timers are exact to about a millisecond.
"""

from __future__ import annotations

import asyncio
import math
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

__all__ = ["MIN_TIMEOUT_S", "SEGMENT_BYTES", "Direction", "EmulatedLink", "LinkConditions", "Path"]

SEGMENT_BYTES = 1448
"""Payload of a full TCP segment on Ethernet, with timestamps."""
MIN_TIMEOUT_S = 0.2
"""The shortest retransmission timeout, in seconds, as Linux has it."""
_SYN_TIMEOUT_S = 1.0  # RFC 6298 §2
_MAX_TIMEOUT_S = 60.0
_MAX_SEGMENTS = 256
"""Most segments on their way in one direction; then the sender has to wait."""
_START_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class LinkConditions:
    """How a network behaves. The defaults are those of loopback."""

    round_trip_s: float = 0.0
    """The least round trip in seconds; each direction has half of it."""
    jitter_s: float = 0.0
    """The most that a segment is delayed in addition, per direction; uniformly distributed from
    0."""
    loss: float = 0.0
    """Probability from 0 to below 1 that a segment is lost, each time it is sent."""
    bytes_per_s: float = math.inf
    """Bandwidth of each direction of each connection."""

    def __post_init__(self) -> None:
        """Raises ``ValueError``."""
        if not (0 <= self.round_trip_s < math.inf and 0 <= self.jitter_s < math.inf):
            raise ValueError("round trip and jitter are seconds, 0 or more")
        if not 0 <= self.loss < 1 or not self.bytes_per_s > 0:
            raise ValueError("loss is a probability below 1, and bytes per second are above 0")

    @property
    def retransmission_timeout_s(self) -> float:
        """After how many seconds TCP sends a lost segment again, the first time."""
        return max(self.round_trip_s + 4 * self.jitter_s, MIN_TIMEOUT_S)


class Direction(Enum):
    UP = "up"
    """From the device to the verifier."""
    DOWN = "down"
    """From the verifier to the device."""


class Path:
    """One direction of one connection: when each segment arrives. Pure; clocks are the caller's."""

    def __init__(self, rng: random.Random, open_s: float) -> None:
        """``open_s`` is when the connection can carry its first segment, in seconds."""
        self._rng = rng
        self._free_s = open_s
        self._arrived_s = 0.0

    def arrival_s(self, size_bytes: int, now_s: float, conditions: LinkConditions) -> float:
        """Return when a segment of ``size_bytes`` arrives that is ready to leave at ``now_s``."""
        self._free_s = max(self._free_s, now_s) + size_bytes / conditions.bytes_per_s
        delay_s = conditions.round_trip_s / 2 + self._rng.uniform(0, conditions.jitter_s)
        delay_s += lost_s(self._rng, conditions.loss, conditions.retransmission_timeout_s)
        self._arrived_s = max(self._arrived_s, self._free_s + delay_s)
        return self._arrived_s


def lost_s(rng: random.Random, loss: float, timeout_s: float) -> float:
    """Return the seconds that retransmissions cost one segment; ``timeout_s`` is the first's."""
    total_s = 0.0
    while rng.random() < loss:
        total_s += timeout_s
        timeout_s = min(2 * timeout_s, _MAX_TIMEOUT_S)
    return total_s


class EmulatedLink:
    """Listens on loopback and relays to ``target`` until the end of its ``with`` block.

    ``conditions`` may be replaced at any time, by any thread: segments that are read from then on
    follow the new ones. A subclass adds faults by overriding :meth:`accepts` and :meth:`relayed`,
    which are called in the link's thread.
    """

    def __init__(
        self,
        target: tuple[str, int],
        conditions: LinkConditions | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """``target`` is a host and port. Equal seeds draw equal jitter and losses for the same
        sequence of segments of the same connection."""
        self.conditions = conditions or LinkConditions()
        self.connections = 0
        """How many connections were accepted so far."""
        self._target = target
        self._seed = seed
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ugsd-emulated-link")
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = threading.Event()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1 to connect to."""
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """The address of a verifier behind the link, without TLS."""
        return f"ws://127.0.0.1:{self.port}"

    def accepts(self, number: int) -> bool:
        """Whether connection ``number``, counted from 0, is relayed; otherwise it is reset."""
        return True

    async def relayed(self, number: int, direction: Direction, data: bytes) -> bytes:
        """Return what arrives of ``data``; what follows is read only then. Raises
        ``ConnectionError`` to reset the connection."""
        return data

    def reset_all(self) -> None:
        """Reset every connection; called from any thread."""
        self._loop.call_soon_threadsafe(self._cancel_all)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S):
            raise RuntimeError("the emulated link did not start: try again")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._listener.setblocking(False)
        accepting = self._loop.create_task(self._accept())
        self._loop.call_soon(self._started.set)
        try:
            self._loop.run_forever()
        finally:
            accepting.cancel()
            self._cancel_all()
            ending = asyncio.gather(accepting, *self._tasks, return_exceptions=True)
            self._loop.run_until_complete(ending)
            self._loop.close()

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _accept(self) -> None:
        while True:
            device, _ = await self._loop.sock_accept(self._listener)
            number, self.connections = self.connections, self.connections + 1
            self._start(self._serve(number, device))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, device: socket.socket) -> None:
        verifier = socket.socket()
        try:
            for end in (device, verifier):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self.accepts(number):
                raise ConnectionResetError
            open_s = self._loop.time() + self._handshake_s(number)
            await self._loop.sock_connect(verifier, self._target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._relay(number, Direction.UP, device, verifier, open_s))
                both.create_task(self._relay(number, Direction.DOWN, verifier, device, open_s))
        except* (OSError, asyncio.CancelledError):
            for end in (device, verifier):
                reset_on_close(end)
        finally:
            device.close()
            verifier.close()

    def _handshake_s(self, number: int) -> float:
        """Return how long TCP's handshake takes, with a loss of either of its two segments."""
        conditions, rng = self.conditions, random.Random(f"{self._seed}/{number}")  # noqa: S311
        lost = sum(lost_s(rng, conditions.loss, _SYN_TIMEOUT_S) for _ in range(2))
        return conditions.round_trip_s + lost

    async def _relay(
        self,
        number: int,
        direction: Direction,
        source: socket.socket,
        sink: socket.socket,
        open_s: float,
    ) -> None:
        """Relay one direction until its sender has ended it."""
        rng = random.Random(f"{self._seed}/{number}/{direction.value}")  # noqa: S311  # repeatable
        path = Path(rng, open_s)
        arriving: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_SEGMENTS)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(arriving, sink))
            while data := await self._loop.sock_recv(source, 65_536):
                data = await self.relayed(number, direction, data)
                for at in range(0, len(data), SEGMENT_BYTES):
                    part = data[at : at + SEGMENT_BYTES]
                    due_s = path.arrival_s(len(part), self._loop.time(), self.conditions)
                    await arriving.put((due_s, part))
            await arriving.put((path.arrival_s(0, self._loop.time(), self.conditions), b""))

    async def _deliver(
        self, arriving: asyncio.Queue[tuple[float, bytes]], sink: socket.socket
    ) -> None:
        while True:
            due_s, part = await arriving.get()
            await asyncio.sleep(due_s - self._loop.time())
            if not part:
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
            await self._loop.sock_sendall(sink, part)


def reset_on_close(end: socket.socket) -> None:
    """Let closing ``end`` reset its connection (RST)."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
