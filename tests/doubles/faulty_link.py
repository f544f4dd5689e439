"""A network between device and verifier that fails in ways that a test switches on.

Slowness, jitter, loss and bandwidth are the ``conditions`` of the emulated link. The faults are
added to them, and act on all connections, existing and new.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import ExitStack, suppress

from ugsd_lab.bench.emulated_link import Direction, EmulatedLink, LinkConditions

from tests.doubles.listener import Listener

__all__ = ["BlackHole", "ConnectProxy", "FaultyLink"]


class FaultyLink(EmulatedLink):
    """An emulated link whose faults begin when a method is called, and end with :meth:`heal`."""

    def __init__(
        self, target: tuple[str, int], conditions: LinkConditions | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(target, conditions, seed=seed)
        self._healthy = self.conditions
        self.restore()

    def restore(self) -> None:
        """End all faults; connections go on."""
        self._is_stalled = self._is_half_open = self._corrupts = False
        self._down_bytes_before_reset: int | None = None
        self._flap: tuple[float, float, float] | None = None
        self._handshake_bytes: int | None = None
        self._up_bytes: Counter[int] = Counter()

    def heal(self) -> None:
        """End all faults, restore the conditions, and reset all connections."""
        self.restore()
        self.conditions = self._healthy
        self.reset_all()

    def stall(self) -> None:
        """Hold all bytes back, until :meth:`resume`."""
        self._is_stalled = True

    def resume(self) -> None:
        self._is_stalled = False

    def half_open(self) -> None:
        """Accept and swallow all bytes: the other side has gone, without a sign."""
        self._is_half_open = True

    def swallow_after(self, up_bytes: int) -> None:
        """Swallow what a device sends after the first ``up_bytes`` of a connection, so that a
        handshake succeeds and no question is answered."""
        self._handshake_bytes = up_bytes

    def reset_after(self, down_bytes: int) -> None:
        """Reset the connection when it has relayed ``down_bytes`` more from the verifier; with 0,
        when the device sends something."""
        self._down_bytes_before_reset = down_bytes

    def corrupt(self) -> None:
        """Flip a bit of the last byte of whatever the verifier sends."""
        self._corrupts = True

    def flap(self, up_s: float, down_s: float) -> None:
        """Be up and down in turn, from now on; while down, connections are reset."""
        self._flap = (self._loop.time(), up_s, down_s)

    def accepts(self, number: int) -> bool:
        return self._is_up()

    async def relayed(self, number: int, direction: Direction, data: bytes) -> bytes:
        while self._is_stalled:
            await asyncio.sleep(0.01)
        if not self._is_up() or (direction is Direction.UP and self._down_bytes_before_reset == 0):
            raise ConnectionResetError
        if self._is_half_open:
            return b""
        if direction is Direction.DOWN:
            return self._damaged(data)
        self._up_bytes[number] += len(data)
        limit = self._handshake_bytes
        return b"" if limit is not None and self._up_bytes[number] > limit else data

    def _damaged(self, data: bytes) -> bytes:
        if self._corrupts:
            return data[:-1] + bytes([data[-1] ^ 1])
        if self._down_bytes_before_reset is not None:
            data = data[: self._down_bytes_before_reset]
            self._down_bytes_before_reset -= len(data)
            if not self._down_bytes_before_reset:
                self._loop.call_later(0.05, self._cancel_all)  # after these bytes have arrived
        return data

    def _is_up(self) -> bool:
        if self._flap is None:
            return True
        began_s, up_s, down_s = self._flap
        return (self._loop.time() - began_s) % (up_s + down_s) < up_s


class BlackHole:
    """An address on loopback that answers no attempt to connect: its queue is full, so that the
    system drops further attempts."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._listener = self._open.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return str(host), int(port)

    def __enter__(self) -> BlackHole:
        for _ in range(4):
            filling = self._open.enter_context(socket.socket())
            filling.setblocking(False)
            with suppress(BlockingIOError):
                filling.connect(self.address)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class ConnectProxy(Listener):
    """An HTTP proxy that opens a tunnel to ``target``, whatever name it is asked for."""

    def __init__(self, target: tuple[str, int], *, answer: bytes = b"HTTP/1.1 200 OK") -> None:
        super().__init__()
        self._target = target
        self._answer = answer
        self.requests: list[bytes] = []
        self.tunnelled = bytearray()
        """What devices sent through tunnels."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, device: socket.socket) -> list[threading.Thread]:
        return [threading.Thread(target=self._serve, args=(device,))]

    def _serve(self, device: socket.socket) -> None:
        with device, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = device.recv(4096)
                if not data:
                    return
                head += data
            self.requests.append(head)
            device.sendall(self._answer + b"\r\n\r\n")
            with socket.create_connection(self._target) as verifier:
                down = threading.Thread(target=self._pass_down, args=(verifier, device))
                down.start()
                while data := device.recv(65_536):
                    self.tunnelled += data
                    verifier.sendall(data)
                verifier.shutdown(socket.SHUT_WR)
                down.join()

    @staticmethod
    def _pass_down(verifier: socket.socket, device: socket.socket) -> None:
        with suppress(OSError):
            while data := verifier.recv(65_536):
                device.sendall(data)
            device.shutdown(socket.SHUT_WR)
