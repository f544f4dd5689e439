"""Starts a verifier process of ``ugsd-lab bench link``, and asks what it has used."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.bench.link_verifier import SPLIT_HEADER, Announcement, Usage, read_exactly
from ugsd_lab.bench.measured_process import measured_environment
from ugsd_lab.errors import EvaluationError

__all__ = ["SplitClient", "VerifierProcess"]

_STOP_TIMEOUT_S = 15
_ANSWER_TIMEOUT_S = 600.0


class VerifierProcess:
    """A verifier with options of :mod:`ugsd_lab.bench.link_verifier`, until the end of its ``with``
    block."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[str]
        self.announced: Announcement

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and code
            [sys.executable, "-m", "ugsd_lab.bench.link_verifier", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=measured_environment(),
        )
        self.announced = Announcement(**self._line())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def usage(self) -> Usage:
        """Return what the process has used so far."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Usage(**self._line())

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise EvaluationError("the verifier process ended: read its messages above")
        document: dict[str, Any] = json.loads(line)
        return document


class SplitClient:
    """A device that uploads features, the yardstick. It keeps its connection."""

    def __init__(self, port: int) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_TIMEOUT_S)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._peer.close()

    def decode(
        self, state: NDArray[np.float32], projection: int, count: int, features: bytes
    ) -> tuple[list[int], int]:
        """Upload the ``features`` and return ``count`` tokens that were decoded from the ``state``,
        and the number of bytes that were sent. Raises :class:`EvaluationError` without an
        answer."""
        header = SPLIT_HEADER.pack(len(features), count, projection, state.size)
        request = header + state.astype("<f4").tobytes() + features
        self._peer.sendall(request)
        answer = read_exactly(self._peer, 2 * count)
        if not answer:
            raise EvaluationError("the verifier process ended the connection: run again")
        return np.frombuffer(answer, dtype="<u2").tolist(), len(request)
