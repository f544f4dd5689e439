"""Captions over a real loopback websocket, as an observer on the network sees them.

The real device, a recording relay and the real server. For each caption the relay knows when bytes
passed, in which direction and how many; it does not read them.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import TrafficShape
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter import ConditionedClip, Drafter, DrafterInfo, DraftSession
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.speech.reader import WholeRecording
from ugsd_sdk.speech.spans import MIN_SPEECH_S
from ugsd_server.app import serve
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.settings import Settings as ServerSettings
from ugsd_server.verifier.engine import Verifier

from ugsd_lab.attacks.disclosures import EmbeddingDrafter
from ugsd_lab.evaluation.systems import shipped_policy

__all__ = ["Capture", "Packet", "capture"]

Float32 = NDArray[np.float32]

_NO_CAPS = BudgetLimits.without_caps()
_PATIENT = VerifierSettings(deadline_s=600, caption_deadline_s=600)
_READ_BYTES = 1 << 16
_LARGEST = 2**20


@dataclass(frozen=True)
class Packet:
    """Bytes that were relayed at once."""

    up: bool
    """Whether the device sent them."""
    bytes: int
    at_s: float
    """Seconds since the clip was given to the device; the observer is assumed to know that time."""


@dataclass(frozen=True)
class Capture:
    """What the observer sees of a caption."""

    packets: tuple[Packet, ...]
    escalated: bool
    """What is to be guessed: whether any block was sent."""


def capture(
    drafter: EmbeddingDrafter,
    predictor: RejectionPredictor,
    embedded: Sequence[tuple[Float32, SpeakerProfile]],
    shape: TrafficShape,
    *,
    verifier: Verifier | None = None,
    reply_after_ms: float = 0,
) -> Iterator[Capture]:
    """Caption clips one after another, each given as its audio embedding and its speaker profile.

    ``verifier`` defaults to the bundled one.
    """
    key = VerifierKey.generate()
    device = _TicketDrafter(drafter, embedded)
    with (
        tempfile.TemporaryDirectory(prefix="ugsd-attack-") as home,
        _serving(key, verifier, reply_after_ms) as port,
        _Relay(port) as relay,
        Captioner(
            device,
            detector=WholeRecording(),
            verifier=f"ws://127.0.0.1:{relay.port}",
            verifier_key=key.public.to_text(),
            uncertainty=predictor,
            policy=shipped_policy(predictor),
            config=Settings(
                home=Path(home),
                limits=_NO_CAPS,
                verifier=_PATIENT,
                traffic_shape=shape,
                keep_profile=False,
            ),
        ) as captioner,
    ):
        captioner.wait_until_connected()
        for row in range(len(embedded)):
            relay.begin()
            caption = captioner.caption(device.ticket(row), device.info.sample_rate)
            yield Capture(relay.end(), caption.usage.num_blocks > 0)


class _TicketDrafter(Drafter):
    """A drafter with all audio embeddings precomputed; its samples are a ticket that names the
    clip."""

    def __init__(
        self, drafter: EmbeddingDrafter, embedded: Sequence[tuple[Float32, SpeakerProfile]]
    ) -> None:
        self._drafter, self._embedded = drafter, embedded

    @property
    def info(self) -> DrafterInfo:
        return self._drafter.info

    def load(self) -> None:
        """Does nothing: the drafter is loaded."""

    def close(self) -> None:
        """Does nothing: the drafter stays loaded."""

    def ticket(self, row: int) -> Float32:
        samples = np.zeros(int(MIN_SPEECH_S * self.info.sample_rate), dtype=np.float32)
        samples[0], samples[1] = (row + 1) / _LARGEST, 1
        return samples

    def encode(
        self, speech: Iterable[Float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        (samples,) = speech
        embedded, own = self._embedded[round(float(samples[0]) * _LARGEST) - 1]
        return replace(self._drafter.condition(embedded, own), voice=None)

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> DraftSession:
        return self._drafter.start(clip, emotion=emotion)

    def text(self, tokens: Sequence[int]) -> str:
        return self._drafter.text(tokens)

    def piece(self, token: int) -> str:
        return self._drafter.text([token])


@contextmanager
def _serving(key: VerifierKey, verifier: Verifier | None, reply_after_ms: float) -> Iterator[int]:
    """Run the real server in its own thread and yield its port."""
    ready, failed, ports = threading.Event(), [], []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        settings = ServerSettings(
            port=0, key_file=Path("unused"), model=STARTER_FOLDER, drain_timeout_s=1,
            reply_after_ms=reply_after_ms,
        )  # fmt: skip
        async with await serve(settings, key=key, verifier=verifier) as server:
            stop = asyncio.Event()
            loops.append((asyncio.get_running_loop(), stop))
            ports.append(server.port)
            ready.set()
            await stop.wait()

    def serve_until_stopped() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # raised by the thread that waits
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=serve_until_stopped, name="ugsd-attack-server")
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    try:
        yield ports[0]
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


class _Relay:
    """Relays bytes between one device and the server, and records time, direction and size."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._lock = threading.Lock()
        self._packets: list[Packet] = []
        self._began_s = 0.0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> _Relay:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for some in (self._listener, *self._sockets):
            with suppress(OSError):
                some.shutdown(socket.SHUT_RDWR)
            some.close()
        for thread in self._threads:
            thread.join()

    def begin(self) -> None:
        """Start a recording; call it before a clip is given to the device."""
        with self._lock:
            self._packets, self._began_s = [], monotonic()

    def end(self) -> tuple[Packet, ...]:
        """Return the packets since :meth:`begin`."""
        with self._lock:
            return tuple(self._packets)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            for one in (device, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [device, server]
            self._start(self._pass_on, device, server, True)
            self._start(self._pass_on, server, device, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_READ_BYTES):
                with self._lock:
                    packet = Packet(up, len(data), monotonic() - self._began_s)
                    self._packets.append(packet)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
