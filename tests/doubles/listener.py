"""A listener on loopback that serves each connection in its own thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

__all__ = ["Listener"]


class Listener:
    """Accepts connections until the end of its ``with`` block; subclasses :meth:`serve` them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def serve(self, device: socket.socket) -> list[threading.Thread]:
        """Return the threads that serve a connection, in the order in which they are started."""
        raise NotImplementedError

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            threads = self.serve(device)
            self._threads += threads
            for thread in threads:
                thread.start()
