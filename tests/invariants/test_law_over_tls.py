"""Law 1 over TLS: the same bytes inside, and nothing but TLS outside."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.doubles.listener import Listener
from tests.doubles.recording_proxy import BINARY, RecordingProxy
from tests.doubles.tls import certify
from tests.invariants.law_world import (
    CLIP,
    USER,
    World,
    assert_every_byte_is_logged,
    waveforms,
)

HANDSHAKE, APPLICATION = 22, 23  # RFC 8446 section 5.1
RECORD_TYPES = {20, 21, HANDSHAKE, APPLICATION}


class TlsFront(Listener):
    """Records what a device sends, and relays it to ``port`` without its TLS."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__()
        self._port = port
        self.certificate = folder / "certificate.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certify(self.certificate, folder / "key.pem"))
        self.raw = bytearray()
        """All that the device sent, as a network sees it."""

    def serve(self, device: socket.socket) -> list[threading.Thread]:
        return [threading.Thread(target=self._serve, args=(device,))]

    def _serve(self, device: socket.socket) -> None:
        """Serve one connection with its TLS in memory, so that its bytes are seen."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        with device, socket.create_connection(("127.0.0.1", self._port)) as proxy:
            device.settimeout(0.01)
            proxy.settimeout(0.01)
            shaken = False
            while True:
                with suppress(TimeoutError):
                    data = device.recv(65_536)
                    if not data:
                        return
                    self.raw += data
                    incoming.write(data)
                with suppress(ssl.SSLWantReadError):
                    if not shaken:
                        tls.do_handshake()
                        shaken = True
                    while plain := tls.read(65_536):
                        proxy.sendall(plain)
                with suppress(TimeoutError):
                    if answer := proxy.recv(65_536):
                        tls.write(answer)
                if data := outgoing.read():
                    device.sendall(data)


def tls_records(raw: bytes) -> list[tuple[int, int]]:
    """Return type and length of each record."""
    found = []
    while raw:
        length = int.from_bytes(raw[3:5], "big")
        assert raw[1] == 3, "no TLS record"
        assert len(raw) >= 5 + length, "ends in mid-record"
        found.append((raw[0], length))
        raw = raw[5 + length :]
    return found


@pytest.fixture
def world(run_server: Any, voice: NDArray[np.float32], tmp_path: Path) -> Iterator[World]:
    soundfile.write(tmp_path / CLIP, voice, 16_000, subtype="FLOAT")
    server = run_server(rank=400)
    with RecordingProxy(server.url, lambda sent: world.look_up(sent)) as proxy:  # noqa: PLW0108
        world = World(tmp_path / "canary-home", tmp_path / CLIP, server.public_key, proxy)
        yield world
        world.close()


def test_network_sees_only_tls_and_log_agrees(
    world: World, voice: NDArray[np.float32], tmp_path: Path
) -> None:
    with TlsFront(world.proxy.port, tmp_path) as front:
        world.url = f"wss://127.0.0.1:{front.port}"
        world.certificate = front.certificate
        report = world.run(captions=2)
        assert report is not None
        assert report["unverified_reason"] == [None] * 2
        assert report["stopped"] == []
        (conversation,) = world.proxy.finished()
        port = front.port
    assert_every_byte_is_logged(conversation, port)
    assert [frame.record for frame in conversation.of(BINARY)] == world.verified_records()
    records = tls_records(bytes(front.raw))
    assert {kind for kind, _ in records} <= RECORD_TYPES
    assert records[0][0] == HANDSHAKE
    assert sum(length for kind, length in records if kind == APPLICATION) > len(conversation.raw)
    for secret in (USER.encode(), CLIP.encode(), b"Sec-WebSocket", *waveforms(voice)):
        assert secret not in front.raw
