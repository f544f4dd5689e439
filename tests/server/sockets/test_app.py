"""The server over real sockets: answers, limits and shutdown."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.messages import (
    Cover,
    Refusal,
    RefusalCode,
    Verdict,
    decode_server_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape
from ugsd_server.app import RunningServer, serve
from ugsd_server.errors import ListenFailed
from ugsd_server.settings import Settings
from ugsd_server.verifier.engine import Verifier
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

REFUSED = (OSError, InvalidMessage)


def test_device_over_loopback_gets_welcome_and_answers(
    run: Any, dial: Any, make_block: Any
) -> None:
    async def scenario(server: RunningServer) -> None:
        device = await dial(server.url, server.public_key)
        assert (device.welcome.state_dim, device.welcome.max_tokens) == (3, 20)
        assert await device.ask(make_block((2, 3, 4))) == Verdict(
            caption=0, start=0, accepted=3, correction=None, continuation=()
        )
        assert isinstance(await device.ask(make_block((5,), keep=3)), Verdict)
        assert await device.ask(make_block((5,), keep=9)) == Refusal(
            code=RefusalCode.UNKNOWN_PREFIX
        )

    run(scenario)


def test_upgrade_response_has_only_required_headers(run: Any) -> None:
    async def scenario(server: RunningServer) -> None:
        connection = await connect(server.url, proxy=None)  # offers compression
        assert connection.response is not None
        names = {name.lower() for name in connection.response.headers}
        assert names == {"connection", "sec-websocket-accept", "upgrade"}

    run(scenario)


def test_fifty_concurrent_devices_are_all_answered(run: Any, dial: Any, make_block: Any) -> None:
    async def one(server: RunningServer) -> None:
        device = await dial(server.url, server.public_key)
        for turn in range(3):
            answer = await device.ask(make_block((2, 3), keep=2 * turn))
            assert isinstance(answer, Verdict)
        await device.socket.close()

    async def scenario(server: RunningServer) -> None:
        await asyncio.gather(*(one(server) for _ in range(50)))
        assert (server.metrics.sessions_opened, server.metrics.verdicts) == (50, 150)

    run(scenario)


def test_connection_beyond_limit_is_refused_until_one_closes(
    run: Any, dial: Any, make_block: Any
) -> None:
    async def scenario(server: RunningServer) -> None:
        first = await dial(server.url, server.public_key)
        second = socket.create_connection(("127.0.0.1", server.port))  # silent, but it counts
        with pytest.raises(REFUSED):
            await dial(server.url, server.public_key)
        assert server.metrics.connections_refused == 1
        assert isinstance(await first.ask(make_block()), Verdict)
        second.close()
        while True:
            await asyncio.sleep(0.01)
            try:
                third = await dial(server.url, server.public_key)
                break
            except REFUSED:
                continue
        assert isinstance(await third.ask(make_block()), Verdict)

    run(scenario, max_connections=2)


class Gate:
    """Blocks a scorer's forward passes until ``open`` is set."""

    def __init__(self, scorer: Any) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        extend = scorer.extend

        def wait(*args: Any) -> Any:
            self.entered.set()
            assert self.open.wait(15)
            return extend(*args)

        scorer.extend = wait


def test_busy_model_delays_neither_handshakes_nor_refusals(
    run: Any, dial: Any, make_block: Any, make_scorer: Any
) -> None:
    scorer = make_scorer()
    gate = Gate(scorer)

    async def scenario(server: RunningServer) -> None:
        first = await dial(server.url, server.public_key)
        asking = asyncio.create_task(first.ask(make_block()))
        await asyncio.to_thread(gate.entered.wait)
        second = await dial(server.url, server.public_key)
        assert await second.ask(make_block()) == Refusal(code=RefusalCode.OVERLOADED)
        assert await second.ask(make_block((99,), keep=1)) == Refusal(code=RefusalCode.OVERLOADED)
        gate.open.set()
        assert isinstance(await asking, Verdict)
        assert isinstance(await second.ask(make_block()), Verdict)

    run(scenario, scorer=scorer, max_pending=1)


def test_device_lost_during_verification_frees_its_slot(
    run: Any, dial: Any, make_block: Any, make_scorer: Any
) -> None:
    scorer = make_scorer()
    gate = Gate(scorer)

    async def scenario(server: RunningServer) -> None:
        first = await dial(server.url, server.public_key)
        await first.socket.send(first.channel.seal(encode(make_block())))
        await asyncio.to_thread(gate.entered.wait)
        first.socket.transport.abort()
        gate.open.set()
        second = await dial(server.url, server.public_key)
        answer = Refusal(code=RefusalCode.OVERLOADED)
        while answer == Refusal(code=RefusalCode.OVERLOADED):
            answer = await second.ask(make_block())
        assert isinstance(answer, Verdict)

    run(scenario, scorer=scorer, max_pending=1)


def test_closing_answers_pending_block_and_closes_all_connections(
    run: Any, dial: Any, make_block: Any, make_scorer: Any
) -> None:
    scorer = make_scorer()
    gate = Gate(scorer)

    async def scenario(server: RunningServer) -> None:
        busy = await dial(server.url, server.public_key)
        idle = await dial(server.url, server.public_key)
        silent = socket.create_connection(("127.0.0.1", server.port))
        asking = asyncio.create_task(busy.ask(make_block()))
        await asyncio.to_thread(gate.entered.wait)
        url = server.url
        closing = asyncio.create_task(server.close())
        assert await idle.closed() == (1001, "")
        with pytest.raises(OSError):  # noqa: PT011
            await connect(url, proxy=None)
        gate.open.set()
        assert isinstance(await asking, Verdict)
        assert await busy.closed() == (1001, "")
        async with asyncio.timeout(3):
            await closing
        assert not scorer.loaded
        silent.close()

    run(scenario, scorer=scorer)


def test_closing_takes_no_longer_than_drain_timeout(
    run: Any, dial: Any, make_block: Any, make_scorer: Any
) -> None:
    scorer = make_scorer()
    gate = Gate(scorer)

    async def scenario(server: RunningServer) -> None:
        devices = [await dial(server.url, server.public_key) for _ in range(3)]
        for device in devices:
            await device.socket.send(device.channel.seal(encode(make_block())))
        await asyncio.to_thread(gate.entered.wait)
        closing = asyncio.create_task(server.close())
        for device in devices:
            assert await device.closed() == (1006, "")
        gate.open.set()
        await closing

    run(scenario, scorer=scorer, drain_timeout_s=0.2)


def test_port_in_use_is_named(run: Any, key: VerifierKey, make_scorer: Any) -> None:
    async def scenario(server: RunningServer) -> None:
        config = Settings(port=server.port, key_file=Path("unused"))
        with pytest.raises(ListenFailed, match=rf"port {server.port}: Address already in use"):
            await serve(config, key=key, verifier=Verifier(make_scorer()))
        config = Settings(host="no.such.host.invalid", port=0, key_file=Path("unused"))
        with pytest.raises(ListenFailed, match=r"no\.such\.host\.invalid port 0: "):
            await serve(config, key=key, verifier=Verifier(make_scorer()))

    run(scenario)


async def timed(device: Any, message: bytes, shape: TrafficShape) -> tuple[Any, int, float]:
    """Return the answer, its frame's size and the seconds until it arrived."""
    started_s = asyncio.get_running_loop().time()
    await device.socket.send(device.channel.seal(message, shape))
    frame = await device.socket.recv()
    elapsed_s = asyncio.get_running_loop().time() - started_s
    return decode_server_message(device.channel.open(frame)), len(frame), elapsed_s


def test_constant_frames_are_answered_at_one_pace(
    run: Any, dial: Any, make_block: Any, make_scorer: Any
) -> None:
    scorer = make_scorer()
    extend, pace_s = scorer.extend, 0.6

    def slow(*arguments: Any) -> Any:
        threading.Event().wait(delay_s)
        return extend(*arguments)

    scorer.extend = slow

    async def scenario(server: RunningServer) -> None:
        nonlocal delay_s
        device = await dial(server.url, server.public_key)
        kinds = set()
        for message in (
            encode(Cover()),
            encode(make_block((2,))),
            encode(make_block((5,), keep=9)),
        ):
            answer, size, elapsed_s = await timed(device, message, TrafficShape.CONSTANT)
            assert size == CONSTANT_FRAME_BYTES
            assert pace_s - 0.01 <= elapsed_s < 2 * pace_s
            kinds.add(type(answer))
        assert kinds == {Cover, Verdict, Refusal}
        _, size, elapsed_s = await timed(
            device, encode(make_block((3,), caption=1)), TrafficShape.PADDED
        )
        assert (size, elapsed_s < pace_s) == (128, True), "an answer in padded shape is not delayed"
        delay_s = 1.3 * pace_s
        answer, _, elapsed_s = await timed(
            device, encode(make_block((3,), caption=2)), TrafficShape.CONSTANT
        )
        assert isinstance(answer, Verdict)
        assert elapsed_s >= 2 * pace_s - 0.01, "a late answer waits for the next period"
        assert server.metrics.late_answers == 1

    delay_s = 0.0
    run(scenario, scorer=scorer, reply_after_ms=1000 * pace_s)


def test_without_reply_delay_answers_are_immediate(run: Any, dial: Any) -> None:
    async def scenario(server: RunningServer) -> None:
        device = await dial(server.url, server.public_key)
        times_s = []
        for _ in range(3):
            answer, _, elapsed_s = await timed(device, encode(Cover()), TrafficShape.CONSTANT)
            assert answer == Cover()
            times_s.append(elapsed_s)
        assert min(times_s) < 0.14, "a busy machine may delay some, but not all"
        assert server.metrics.cover_frames == 3

    run(scenario)
