"""A server on a free port, and devices that reach it through real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.channel import ClientChannel
from ugsd_privacy.protocol.messages import Block, Welcome, decode_server_message, encode
from ugsd_server.app import RunningServer, serve
from ugsd_server.settings import Settings
from ugsd_server.verifier.acceptance import Rank
from ugsd_server.verifier.engine import Verifier
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Scenario = Callable[[RunningServer], Awaitable[None]]


class Device:
    """A device's end of one connection: a real channel over a real socket."""

    def __init__(self, connection: ClientConnection, public: VerifierPublicKey) -> None:
        self.socket = connection
        self.channel = ClientChannel(public)
        self.welcome: Welcome

    async def closed(self) -> tuple[int, str]:
        """Return the code and reason with which the server closes the connection."""
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    async def greet(self) -> Device:
        await self.socket.send(self.channel.hello())
        answer = await self.socket.recv()
        assert isinstance(answer, bytes)
        message = decode_server_message(self.channel.receive_hello(answer))
        assert isinstance(message, Welcome)
        self.welcome = message
        return self

    async def ask(self, block: Block) -> Any:
        await self.socket.send(self.channel.seal(encode(block)))
        return await self.answer()

    async def answer(self) -> Any:
        frame = await self.socket.recv()
        assert isinstance(frame, bytes)
        return decode_server_message(self.channel.open(frame))


@pytest.fixture(scope="session")
def dial() -> Callable[..., Any]:
    """Connect and, by default, perform the handshake."""

    async def dial(url: str, public: VerifierPublicKey, *, greet: bool = True) -> Device:
        device = Device(await connect(url, compression=None, proxy=None), public)
        return await device.greet() if greet else device

    return dial


@pytest.fixture
def run(key: VerifierKey, make_scorer: Any) -> Callable[..., None]:
    """Run a scenario against a server on a free port."""

    def run(scenario: Scenario, *, scorer: Any = None, **changes: Any) -> None:
        async def main() -> None:
            config = Settings(port=0, key_file=Path("unused"), **changes)
            verifier = Verifier(scorer or make_scorer(), acceptance=Rank(rank=12))
            async with await serve(config, key=key, verifier=verifier) as server:
                async with asyncio.timeout(20):
                    await scenario(server)

        asyncio.run(main())

    return run
