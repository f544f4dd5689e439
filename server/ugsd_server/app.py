"""The verifier's websocket server: asyncio around :class:`~ugsd_server.session.VerifierSession`.

It accepts binary frames without compression, and limits every size, count and wait. Inference runs
on one worker thread behind a bounded queue, so the event loop never waits for the model.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, cast

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.channel import FRAME_BYTES, HELLO_BYTES
from ugsd_privacy.protocol.messages import Refusal, RefusalCode, Verdict
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from ugsd_server.errors import ListenFailed
from ugsd_server.keyring import KeyRing
from ugsd_server.metrics import Metrics
from ugsd_server.session import Close, VerifierSession, Work
from ugsd_server.settings import Settings
from ugsd_server.verifier.engine import Verifier
from ugsd_server.verifier.onnx import OnnxScorer

__all__ = ["MAX_FRAME_BYTES", "RunningServer", "serve"]

MAX_FRAME_BYTES = max(HELLO_BYTES, *FRAME_BYTES)
"""The largest valid frame; a larger websocket message is refused before it is read whole."""

_CLOSE_TIMEOUT_S = 2.0
_QUEUED_FRAMES = 2

_logger = logging.getLogger(__name__)

Keys = Callable[[], Sequence[VerifierKey]]
"""Returns the keys that are accepted now, the current one first."""


class RunningServer:
    """A listening server, made by :func:`serve`. It is an async context manager."""

    def __init__(self, settings: Settings, keys: Keys, verifier: Verifier) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self._keys = keys
        self._verifier = verifier
        self._server: Server
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verifier")
        self._pending = 0
        self._draining = False
        self._sockets: set[_Connection] = set()
        self._idle: set[_Connection] = set()
        self._busy: set[_Connection] = set()

    @property
    def public_key(self) -> VerifierPublicKey:
        """The current public key, which a manifest lists and devices on this machine may pin."""
        return self._keys()[0].public

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The address that devices connect to."""
        host = self._settings.host
        return f"ws://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new connections, answer pending blocks, then close every connection (1001)."""
        if self._draining:
            return
        self._draining = True
        self._server.close(close_connections=False)
        for connection in self._sockets - self._idle - self._busy:
            connection.transport.abort()  # still in the handshake
        farewells = [asyncio.create_task(c.close(CloseCode.GOING_AWAY)) for c in self._idle]
        try:
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await self._server.wait_closed()
        except TimeoutError:
            for connection in self._sockets:
                connection.transport.abort()
        await asyncio.gather(*farewells, return_exceptions=True)
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)
        self._verifier.close()

    async def listen(self) -> None:
        """Start listening; :func:`serve` calls it. Raises :class:`ListenFailed`."""
        settings = self._settings
        silent = logging.Logger("ugsd_server.websockets")  # its messages would describe peers
        silent.disabled = True
        try:
            self._server = await serve_websocket(
                self._converse,
                settings.host,
                settings.port,
                compression=None,
                server_header=None,
                process_response=_without_date,
                max_size=MAX_FRAME_BYTES,
                max_queue=_QUEUED_FRAMES,
                open_timeout=settings.handshake_timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=settings.ping_interval_s,
                ping_timeout=settings.ping_timeout_s,
                logger=silent,
                create_connection=cast(
                    type[ServerConnection], functools.partial(_Connection, self)
                ),
            )
        except OSError as error:
            number = error.errno or 0  # negative if a name has no address
            why = os.strerror(number) if number > 0 else error.strerror
            raise ListenFailed(
                f"cannot listen on {settings.host} port {settings.port}: {why}; "
                "choose another --port (0 for any free port) or --host"
            ) from error

    def add(self, connection: _Connection) -> bool:
        """Register a new socket; return whether it may stay open."""
        if self._draining or len(self._sockets) >= self._settings.max_connections:
            self.metrics.connections_refused += 1
            return False
        self.metrics.connections_opened += 1
        self._sockets.add(connection)
        return True

    def remove(self, connection: _Connection) -> None:
        """Forget a connection whose socket has closed."""
        self._sockets.discard(connection)

    async def _converse(self, connection: ServerConnection) -> None:
        connection = cast(_Connection, connection)
        try:
            code = await self._serve_session(connection)
            await connection.close(code)
        except ConnectionClosed:
            pass
        except Exception as error:
            _logger.error("a connection failed: %s", type(error).__name__)  # noqa: TRY400
            connection.transport.abort()
        finally:
            self._idle.discard(connection)
            self._busy.discard(connection)

    async def _serve_session(self, connection: _Connection) -> int:
        """Serve one device until either side ends the session; return the close code."""
        settings = self._settings
        session: VerifierSession | None = None
        timeout_s = settings.handshake_timeout_s
        while not self._draining:
            try:
                async with asyncio.timeout(timeout_s):
                    frame = await self._next_frame(connection)
            except TimeoutError:
                return CloseCode.GOING_AWAY
            if isinstance(frame, str):
                return CloseCode.UNSUPPORTED_DATA
            received_s = asyncio.get_running_loop().time()
            if session is None:  # only now: keys may expire or change while waiting for the hello
                limits = settings.session_limits()
                session = VerifierSession(self._keys(), self._verifier, limits, self.metrics)
            step = session.receive(frame)
            if isinstance(step, Work):
                step = session.finish(await self._verify(step))
            if isinstance(step, Close):
                return step.code
            if TrafficShape.of(frame) is TrafficShape.CONSTANT:
                await self._keep_pace(received_s)
            try:
                async with asyncio.timeout(settings.send_timeout_s):
                    await connection.send(step.frame)
            except TimeoutError:
                connection.transport.abort()  # the peer does not read: closing politely would hang
            timeout_s = settings.idle_timeout_s
        return CloseCode.GOING_AWAY

    async def _keep_pace(self, received_s: float) -> None:
        """Wait for the next multiple of ``reply_after_ms`` since ``received_s``."""
        period_s = self._settings.reply_after_ms / 1000
        if period_s:
            ready_s = asyncio.get_running_loop().time() - received_s
            num_missed = ready_s // period_s
            self.metrics.late_answers += num_missed > 0
            await asyncio.sleep((num_missed + 1) * period_s - ready_s)

    async def _next_frame(self, connection: _Connection) -> str | bytes:
        self._busy.discard(connection)
        self._idle.add(connection)
        try:
            return await connection.recv()
        finally:
            self._idle.discard(connection)
            self._busy.add(connection)

    async def _verify(self, work: Work) -> Verdict | Refusal:
        if self._pending >= self._settings.max_pending:
            return Refusal(code=RefusalCode.OVERLOADED)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work.run)
        finally:
            self._pending -= 1


class _Connection(ServerConnection):
    """A connection that counts as open before its handshake."""

    def __init__(self, owner: RunningServer, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._owner.add(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.remove(self)
        super().connection_lost(exc)


async def serve(
    settings: Settings, *, key: VerifierKey | None = None, verifier: Verifier | None = None
) -> RunningServer:
    """Read the keys and the model, then listen.

    ``key`` and ``verifier`` replace those that ``settings`` name. Raises
    :class:`~ugsd_privacy.errors.KeyFileError`, :class:`~ugsd_server.errors.ModelError` or
    :class:`~ugsd_server.errors.ListenFailed`.
    """
    keys = _keys(settings) if key is None else lambda: (key,)
    verifier = verifier or Verifier(
        OnnxScorer(settings.model, threads=settings.threads),
        acceptance=settings.acceptance_rule(settings.acceptance),
        question_acceptance=settings.acceptance_rule(settings.question_acceptance),
        continuation=settings.continuation(),
        cache_bytes=settings.cache_mib * 2**20,
    )
    await asyncio.to_thread(verifier.load)
    server = RunningServer(settings, keys, verifier)
    try:
        await server.listen()
    except ListenFailed:
        verifier.close()
        raise
    return server


def _keys(settings: Settings) -> Keys:
    path = settings.key_file
    if not path.exists():
        if not settings.create_key:
            raise KeyFileError(
                f"{path} does not exist; create it with `ugsd-server keygen --key-file {path}`, "
                "or start with --create-key"
            )
        try:
            VerifierKey.generate().save(path)
        except KeyFileError:
            if not path.exists():  # otherwise a concurrently started server created it
                raise
    ring = KeyRing(path)
    ring.load()
    return ring.accepted_keys


def _without_date(_: ServerConnection, __: Request, response: Response) -> None:
    """Remove the date: answers contain nothing variable that is not needed."""
    del response.headers["Date"]
