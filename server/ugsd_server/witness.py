"""A witness of logs over HTTP (C2SP tlog-witness): `ugsd-server witness` runs one.

It has no model and no verifier's key. Requests are small and signed by the logs themselves, so
there is no other authentication; put a proxy with TLS in front of it. A connection serves one
request in at most ten seconds. 32 connections may be open; further ones are closed.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from ugsd_privacy.errors import WitnessUnavailable
from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, Answer, Witness

from ugsd_server.errors import ListenFailed, ServerError

__all__ = ["MAX_CONNECTIONS", "REQUEST_S", "WitnessServer"]

REQUEST_S = 10.0
_LAST_ANSWER_S = 10.0
"""For the last answers when stopping: longer than the witness waits for its locked state."""
MAX_CONNECTIONS = 32
_ADD = "/add-checkpoint"
_LATEST = re.compile(r"/([0-9a-f]{64})/checkpoint")
_LENGTH = re.compile(r"[0-9]{1,7}")
_log = logging.getLogger(__name__)


class WitnessServer:
    """An HTTP server for ``witness``, from :meth:`start` to :meth:`close`."""

    def __init__(
        self,
        witness: Witness,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        request_s: float = REQUEST_S,
    ) -> None:
        self._handler = partial(_Handler, witness, request_s)
        self._address = host, port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen. Raises :class:`ListenFailed`."""
        try:
            self._server = _Server(self._address, self._handler)
        except OSError as error:
            host, port = self._address
            raise ListenFailed(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        """Submission prefix and monitoring prefix (C2SP tlog-witness), which are the same."""
        if self._server is None:
            raise ServerError("the witness is not listening; call start()")
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening, after answering complete requests. May be called again."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            if not self._server.drain(_LAST_ANSWER_S):
                _log.warning("stopped before every request was answered")
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    """An HTTP server with a limit on open connections."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: Callable[..., Any]) -> None:
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            is_accepted = len(self._open) < MAX_CONNECTIONS
            if is_accepted:
                self._open.add(request)
        if is_accepted:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """End a connection, served or not."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Stop reading and wait for open requests; return whether all ended in time."""
        with self._changed:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RD)
            return self._changed.wait_for(lambda: not self._open, timeout_s)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a broken connection, without the peer's address."""
        _log.info("a connection ended early: %s", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    """Handles one request of one connection."""

    server_version, sys_version = "ugsd-witness", ""

    def __init__(self, witness: Witness, request_s: float, *given: Any) -> None:
        self._witness = witness
        # Limits the whole request: a socket's own timeout restarts with each byte.
        self._timer = threading.Timer(request_s, self._cut)
        super().__init__(*given)

    def setup(self) -> None:
        super().setup()
        self._timer.daemon = True
        self._timer.start()

    def finish(self) -> None:
        self._timer.cancel()
        super().finish()

    def do_POST(self) -> None:
        """Handle ``add-checkpoint``."""
        length = self.headers.get("Content-Length", "")
        if self.path != _ADD:
            self._answer(Answer(404, b"not found\n"))
        elif not _LENGTH.fullmatch(length):
            self._answer(Answer(411, b"a request needs a Content-Length\n"))
        elif int(length) > MAX_REQUEST_BYTES:
            self._answer(Answer(413, b"the request is too long\n"))
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self._answer(Answer(400, b"the request ended early\n"))
                return
            self._answer_by(lambda: self._witness.add_checkpoint(body))

    def do_GET(self) -> None:
        """Return a log's latest cosigned checkpoint."""
        found = _LATEST.fullmatch(self.path)
        if found is None:
            self._answer(Answer(404, b"not found\n"))
            return
        self._answer_by(lambda: self._witness.checkpoint(found[1]))

    def log_message(self, *given: object) -> None:
        """Log nothing: addresses of devices are not stored."""

    def _answer_by(self, ask: Callable[[], Answer]) -> None:
        try:
            answer = ask()
        except WitnessUnavailable as error:
            _log.error("%s", error)
            answer = Answer(503, b"the witness cannot sign now\n")
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
