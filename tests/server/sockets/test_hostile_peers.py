"""The server survives bad peers, sends them only a close code, and serves the next device."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import HELLO_BYTES, ClientChannel
from ugsd_privacy.protocol.messages import Verdict
from ugsd_server.app import MAX_FRAME_BYTES, RunningServer
from websockets.exceptions import ConnectionClosed

WEBSOCKET_FAULTS = (1007, 1009)  # the websocket layer itself names these


async def _garbage(device: Any) -> None:
    await device.socket.send(b"\xff" * 100)


async def _garbage_of_a_hellos_size(device: Any) -> None:
    await device.socket.send(b"\x01\x00" + bytes(HELLO_BYTES - 2))


async def _hello_to_another_key(device: Any) -> None:
    await device.socket.send(ClientChannel(VerifierKey.generate().public).hello())


async def _text(device: Any) -> None:
    await device.socket.send("hello")


async def _broken_text(device: Any) -> None:
    await device.socket.send(b"\xff\xfe", text=True)


async def _oversized(device: Any) -> None:
    await device.socket.send(bytes(MAX_FRAME_BYTES + 1))


async def _second_hello(device: Any) -> None:
    await device.greet()
    await device.socket.send(ClientChannel(device.channel.pinned).hello())


async def _forged_frame(device: Any) -> None:
    await device.greet()
    frame = bytearray(device.channel.seal(b"x"))
    frame[40] ^= 1
    await device.socket.send(bytes(frame))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (_garbage, 1008),
        (_garbage_of_a_hellos_size, 1008),
        (_hello_to_another_key, 1008),
        (_second_hello, 1008),
        (_forged_frame, 1008),
        (_text, 1003),
        (_broken_text, 1007),
        (_oversized, 1009),
    ],
)
def test_hostile_peer_gets_only_a_close_code(
    run: Any, dial: Any, make_block: Any, caplog: pytest.LogCaptureFixture, attack: Any, code: int
) -> None:
    async def scenario(server: RunningServer) -> None:
        hostile = await dial(server.url, server.public_key, greet=False)
        await attack(hostile)
        closed, reason = await hostile.closed()
        assert closed == code
        assert reason == "" or code in WEBSOCKET_FAULTS
        device = await dial(server.url, server.public_key)
        assert isinstance(await device.ask(make_block()), Verdict)

    with caplog.at_level(logging.DEBUG):
        run(scenario)
    assert [r for r in caplog.records if r.name.startswith("ugsd_server")] == []


def _reset(raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def test_non_websocket_and_vanishing_peers_are_harmless(
    run: Any, dial: Any, make_block: Any
) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    half_a_frame = b"\x82\xfe\x10\x00mask" + bytes(100)
    lone_continuation = b"\x80\x80mask"
    reserved_bits = b"\xf2\x80mask"

    async def scenario(server: RunningServer) -> None:
        def knock(*sent: bytes) -> None:
            raw = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            for data in sent:
                raw.sendall(data)
                if data is upgrade:
                    assert raw.recv(4096).startswith(b"HTTP/1.1 101")
            _reset(raw)

        for sent in (
            (),
            (b"\x00" * 1000,),
            (b"GET / HTTP/1.1\r\n\r\n",),
            (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000,),
            (upgrade,),
            (upgrade, half_a_frame),
            (upgrade, lone_continuation),
            (upgrade, reserved_bits),
        ):
            await asyncio.to_thread(knock, *sent)
            device = await dial(server.url, server.public_key)
            assert isinstance(await device.ask(make_block()), Verdict)
            await device.socket.close()

    run(scenario)


def test_peer_without_hello_is_closed_after_timeout(run: Any, dial: Any) -> None:
    async def fragments() -> Any:
        while True:
            yield b"\x01"
            await asyncio.sleep(0.05)

    async def scenario(server: RunningServer) -> None:
        silent = await dial(server.url, server.public_key, greet=False)
        assert await silent.closed() == (1001, "")
        dripping = await dial(server.url, server.public_key, greet=False)
        with pytest.raises(ConnectionClosed):
            await dripping.socket.send(fragments())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await reader.read() == b""
        writer.close()

    run(scenario, handshake_timeout_s=0.2)


def test_idle_session_is_closed(run: Any, dial: Any) -> None:
    async def scenario(server: RunningServer) -> None:
        device = await dial(server.url, server.public_key)
        assert await device.closed() == (1001, "")

    run(scenario, idle_timeout_s=0.1)
