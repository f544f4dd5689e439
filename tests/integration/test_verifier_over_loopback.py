"""Captions over real sockets: with the real server, without one, and with peers that fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.channel import ServerChannel
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.keys import LogKey, VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.wire import WIRE_VERSION, Disclosure, Welcome, encode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.config import Settings, VerifierSettings
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import TransportError, Unreachable
from ugsd_sdk.events import Source
from ugsd_sdk.policy import AlwaysEscalate
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
QUICK = VerifierSettings(deadline_s=0.3, caption_deadline_s=0.6, connect_timeout_s=2)
PATIENT = Settings.of(verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20))


@pytest.fixture
def new_captioner(drafter: ScriptedDrafter, tmp_path: Path) -> Callable[..., Captioner]:
    def new(url: str, key: str, **changes: Any) -> Captioner:
        given: dict[str, Any] = {
            "verifier": url,
            "verifier_key": key,
            "home": tmp_path / "home",
            "policy": AlwaysEscalate(),
            "config": Settings.of(verifier=QUICK),
        }
        return Captioner(drafter, **(given | changes))

    return new


@pytest.fixture
def alone(drafter: ScriptedDrafter, voice: Voice) -> str:
    with Captioner(drafter) as captioner:
        return captioner.caption(voice, 16_000).text


@pytest.mark.parametrize("disclosure", list(Disclosure))
def test_the_real_server_verifies_corrects_and_continues(
    run_server: Any, new_captioner: New, voice: Voice, tmp_path: Path, disclosure: Disclosure
) -> None:
    server = run_server()
    policy = AlwaysEscalate(disclosure)
    with new_captioner(server.url, server.public_key, policy=policy, config=PATIENT) as captioner:
        captioner.connect(10)
        captions = [captioner.caption(voice, 16_000) for _ in range(2)]
    for caption in captions:
        assert caption.degraded is None
        assert {token.source for token in caption.tokens} >= {Source.VERIFIED, Source.CORRECTED}
        assert caption.escalation.frames == len(caption.receipts) >= 1
        assert (caption.escalation.disclosed_states > 0) == (disclosure is not Disclosure.TOKENS)
    public = LogKey.load(tmp_path / "home" / "log.key").public
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        assert verify_log(ledger, public).total.blocks == sum(c.escalation.blocks for c in captions)


def test_a_block_by_block_conversation_agrees_on_what_is_held(
    run_server: Any, new_captioner: New, voice: Voice
) -> None:
    server = run_server(rank=400)  # accepts everything, so that every block is sent
    with new_captioner(server.url, server.public_key, config=PATIENT) as captioner:
        captioner.connect(10)
        caption = captioner.caption(voice, 16_000)
    assert caption.degraded is None
    assert caption.escalation.blocks == 5
    assert caption.escalation.disclosed_tokens == 24
    assert {token.source for token in caption.tokens} == {Source.VERIFIED}


def test_a_dead_port_costs_no_time(new_captioner: New, voice: Voice, alone: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
    key = VerifierKey.generate().public.to_text()
    with new_captioner(url, key) as captioner:
        with pytest.raises(Unreachable, match="check its address"):
            captioner.connect(5)
        caption = captioner.caption(voice, 16_000)
    assert (caption.text, caption.degraded) == (alone, "verifier unreachable")
    assert caption.latency_ms.wait < 200
    assert caption.escalation.frames == 0


def test_a_wrong_pinned_key_is_told(run_server: Any, new_captioner: New, voice: Voice) -> None:
    server = run_server()
    other = VerifierKey.generate().public.to_text()
    with new_captioner(server.url, other) as captioner:
        with pytest.raises(Exception, match="pinned key"):
            captioner.connect(5)
        caption = captioner.caption(voice, 16_000)
    assert caption.degraded == "wrong verifier key"
    assert caption.escalation.frames == 0


def test_a_slow_server_is_not_waited_for(
    run_server: Any, new_captioner: New, voice: Voice, alone: str
) -> None:
    server = run_server(delay_s=5)
    with new_captioner(server.url, server.public_key) as captioner:
        captioner.connect(10)
        started = time.monotonic()
        caption = captioner.caption(voice, 16_000)
        elapsed = time.monotonic() - started
    assert (caption.text, caption.degraded) == (alone, "deadline")
    assert 0.2 < elapsed < 1.0
    assert caption.escalation.frames == len(caption.receipts) == 1


def test_an_exhausted_budget_stops_at_the_cap(
    run_server: Any, new_captioner: New, voice: Voice
) -> None:
    server = run_server(rank=400)
    waits = VerifierSettings(deadline_s=10, caption_deadline_s=20)
    settings = Settings.of(verifier=waits, limits=BudgetLimits(tokens_per_day=12))
    with new_captioner(server.url, server.public_key, config=settings) as captioner:
        captioner.connect(10)
        first, second = (captioner.caption(voice, 16_000) for _ in range(2))
    assert first.degraded == second.degraded == "budget: tokens_per_day"
    assert (first.escalation.blocks, second.escalation.blocks) == (2, 0)


def test_captioners_in_turn_share_one_home_and_one_log(
    run_server: Any, new_captioner: New, voice: Voice, tmp_path: Path
) -> None:
    server = run_server()
    for _ in range(2):
        with new_captioner(server.url, server.public_key) as captioner:
            captioner.connect(10)
            captioner.caption(voice, 16_000)
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        assert verify_log(ledger, LogKey.load(tmp_path / "home" / "log.key").public).size >= 4


# -- peers that fail


def greeting(
    drafter: ScriptedDrafter, key: VerifierKey
) -> Callable[[ServerConnection], ServerChannel]:
    """Shakes hands as the real server does."""
    info = drafter.info
    welcome = Welcome(
        version=WIRE_VERSION,
        vocabulary=info.vocabulary,
        projection=info.projection,
        state_dim=info.state_dim,
        max_tokens=info.max_tokens,
    )

    def greet(connection: ServerConnection) -> ServerChannel:
        channel = ServerChannel(key)
        hello = connection.recv()
        assert isinstance(hello, bytes)
        connection.send(channel.receive_hello(hello, encode(welcome)))
        return channel

    return greet


def hang(connection: ServerConnection) -> None:
    try:
        while True:
            connection.recv()
    except ConnectionClosed:
        return


def garbage_instead_of_a_welcome(connection: ServerConnection) -> None:
    connection.recv()
    connection.send(b"\x02\x00" + bytes(1300))
    hang(connection)


def text_instead_of_a_welcome(connection: ServerConnection) -> None:
    connection.recv()
    connection.send("hello, device")
    hang(connection)


def a_frame_beyond_every_size(connection: ServerConnection) -> None:
    connection.recv()
    connection.send(bytes(2**19))
    hang(connection)


def closing_as_one_that_cannot_read_the_hello(connection: ServerConnection) -> None:
    connection.recv()
    connection.close(1008)


def closing_at_once(connection: ServerConnection) -> None:
    connection.close()


def cutting_the_line(connection: ServerConnection) -> None:
    connection.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (garbage_instead_of_a_welcome, "verifier misbehaved"),
        (text_instead_of_a_welcome, "verifier misbehaved"),
        (a_frame_beyond_every_size, "verifier misbehaved"),
        (closing_as_one_that_cannot_read_the_hello, "wrong verifier key"),
        (closing_at_once, "verifier unreachable"),
        (cutting_the_line, "verifier unreachable"),
    ],
)
def test_a_peer_that_fails_the_handshake_gets_no_block(
    run_peer: Any, new_captioner: New, voice: Voice, alone: str, handler: Any, reason: str
) -> None:
    key = VerifierKey.generate().public.to_text()
    with new_captioner(run_peer(handler), key, config=PATIENT) as captioner:
        with pytest.raises((TransportError, PrivacyError)):
            captioner.connect(10)
        caption = captioner.caption(voice, 16_000)
    assert (caption.text, caption.degraded) == (alone, reason)
    assert caption.escalation.frames == 0


def test_a_peer_that_never_answers_the_hello_is_not_waited_for(
    run_peer: Any, new_captioner: New, voice: Voice, alone: str
) -> None:
    with new_captioner(run_peer(hang), VerifierKey.generate().public.to_text()) as captioner:
        caption = captioner.caption(voice, 16_000)
    assert (caption.text, caption.degraded) == (alone, "verifier unreachable")
    assert caption.latency_ms.wait < 800


def answer_garbage(connection: ServerConnection, channel: ServerChannel) -> None:
    connection.recv()
    connection.send(bytes(128))
    hang(connection)


def answer_sealed_garbage(connection: ServerConnection, channel: ServerChannel) -> None:
    connection.recv()
    connection.send(channel.seal(b"\xa1\x64kind\x67verdict"))
    hang(connection)


def answer_nothing(connection: ServerConnection, channel: ServerChannel) -> None:
    hang(connection)


def close_midway(connection: ServerConnection, channel: ServerChannel) -> None:
    connection.recv()


def cut_midway(connection: ServerConnection, channel: ServerChannel) -> None:
    connection.recv()
    connection.socket.shutdown(socket.SHUT_RDWR)


def replay_the_block(connection: ServerConnection, channel: ServerChannel) -> None:
    connection.send(connection.recv())
    hang(connection)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answer_garbage, "verifier misbehaved"),
        (answer_sealed_garbage, "verifier misbehaved"),
        (answer_nothing, "deadline"),
        (close_midway, "verifier unreachable"),
        (cut_midway, "verifier unreachable"),
        (replay_the_block, "verifier misbehaved"),
    ],
)
def test_a_peer_that_fails_after_the_handshake_costs_one_block(
    run_peer: Any,
    new_captioner: New,
    drafter: ScriptedDrafter,
    voice: Voice,
    alone: str,
    handler: Any,
    reason: str,
) -> None:
    key = VerifierKey.generate()
    greet = greeting(drafter, key)

    def serve(connection: ServerConnection) -> None:
        handler(connection, greet(connection))

    config = Settings.of(verifier=QUICK) if handler is answer_nothing else PATIENT
    with new_captioner(run_peer(serve), key.public.to_text(), config=config) as captioner:
        captioner.connect(10)
        caption = captioner.caption(voice, 16_000)
    assert (caption.text, caption.degraded) == (alone, reason)
    assert caption.escalation.frames == len(caption.receipts) == 1


@pytest.fixture
def black_hole() -> Iterator[str]:
    """Accepts connections at the kernel and never speaks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"


def test_a_peer_that_never_speaks_costs_one_caption_one_deadline(
    black_hole: str, new_captioner: New, voice: Voice, alone: str
) -> None:
    with new_captioner(black_hole, VerifierKey.generate().public.to_text()) as captioner:
        first, second = (captioner.caption(voice, 16_000) for _ in range(2))
    assert first.text == second.text == alone
    assert first.degraded == second.degraded == "verifier unreachable"
    assert first.latency_ms.wait < 600
    assert second.latency_ms.wait < 100


def test_a_redirect_is_not_followed(new_captioner: New, voice: Voice) -> None:
    followed = threading.Event()
    with (
        socket.create_server(("127.0.0.1", 0)) as elsewhere,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        elsewhere.settimeout(1)
        target = f"ws://127.0.0.1:{elsewhere.getsockname()[1]}/"

        def redirect() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                reply = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
                peer.sendall(reply.encode())
                try:
                    elsewhere.accept()[0].close()
                    followed.set()
                except TimeoutError:
                    return

        thread = threading.Thread(target=redirect)
        thread.start()
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with new_captioner(url, VerifierKey.generate().public.to_text()) as captioner:
            assert captioner.caption(voice, 16_000).degraded == "verifier unreachable"
        thread.join()
    assert not followed.is_set()


def test_the_upgrade_request_is_minimal_and_constant(new_captioner: New, voice: Voice) -> None:
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            peer, _ = server.accept()
            with peer:
                requests.append(peer.recv(65_536))

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with new_captioner(url, VerifierKey.generate().public.to_text()) as captioner:
            captioner.caption(voice, 16_000)
        thread.join()
    lines = requests[0].decode().split("\r\n")
    names = sorted(line.split(":")[0].lower() for line in lines[1:] if line)
    assert lines[0] == "GET / HTTP/1.1"
    assert names == ["connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"]
