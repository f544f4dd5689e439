"""Law 1 from outside: a recording proxy sees every byte that is sent and looks it up in the log."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_privacy.protocol.channel import HELLO_BYTES
from ugsd_privacy.protocol.messages import Block, Cover, decode_device_message
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES
from websockets.sync.client import connect

from tests.doubles.recording_proxy import BINARY, CLOSE, PING, PONG, RecordingProxy
from tests.invariants.law_world import (
    CLIP,
    USER,
    World,
    assert_every_byte_is_logged,
    waveforms,
)

Voice = NDArray[np.float32]


@pytest.fixture
def world(
    run_server: Any, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    messages: list[bytes] = []

    def noted(message: bytes) -> Block | Cover:
        messages.append(message)
        return decode_device_message(message)

    monkeypatch.setattr("ugsd_server.session.decode_device_message", noted)
    soundfile.write(tmp_path / CLIP, voice, 16_000, subtype="FLOAT")
    server = run_server(rank=400)  # accepts everything, so that every block is sent
    with RecordingProxy(server.url, lambda sent: world.look_up(sent)) as proxy:  # noqa: PLW0108
        world = World(tmp_path / "canary-home", tmp_path / CLIP, server.public_key, proxy, messages)
        yield world
        world.close()


def names(world: World) -> Iterator[bytes]:
    """Yield names of the user and their files, in the forms in which they might be sent."""
    for text in (USER, CLIP, str(world.home), str(world.clip), "canary"):
        yield from (text.encode(), base64.b64encode(text.encode()).rstrip(b"="))


def test_every_byte_sent_was_logged_before(world: World, voice: Voice) -> None:
    for _ in range(2):
        report = world.run(captions=3)
        assert report is not None
        assert report["unverified_reason"] == [None] * 3
        assert report["stopped"] == []
        assert report["connected"] == [["127.0.0.1", world.proxy.port]]
        assert report["stopped_on_purpose"] == [
            "socket.connect",
            "socket.sendto",
            "subprocess.Popen",
            "open",
            "os.mkdir",
        ], "the guard does not stop everything"
    conversations, records = world.proxy.finished(), world.verified_records()
    sent = [frame for conversation in conversations for frame in conversation.of(BINARY)]
    for conversation in conversations:
        assert_every_byte_is_logged(conversation, world.proxy.port)
        assert len(conversation.of(PONG)) == len(conversation.of(CLOSE)) == 1
        assert conversation.of(PING), "a ping of the device's own"
    assert [frame.record for frame in sent] == records, "each record exactly once, in order"
    assert [record.kind for record in records] == (["hello"] + ["block"] * 15) * 2
    assert sum(len(frame.payload) for frame in sent) == sum(r.frame_bytes for r in records)
    blocks = [decode_device_message(message) for message in world.messages]
    carried = ("slot", "tokens", "state_positions", "state_dim", "projection", "exponent")
    carried += ("caption", "keep", "prefix", "continue_to")
    assert [[getattr(block, name) for name in carried] for block in blocks] == [
        [getattr(record, name) for name in carried] for record in records if record.kind == "block"
    ], "the server reads what the log records"
    sent_bytes = b"".join(bytes(conversation.raw) for conversation in conversations)
    for secret in [*names(world), *waveforms(voice)]:
        assert secret not in sent_bytes + b"".join(world.messages)


ANYTHING = {"send", "half a send", "anchor", "sql BEGIN IMMEDIATE", "sql COMMIT"}
FIRST_TIME = {"open ledger.sqlite3", "open ledger.anchor", "os.link .log.key"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", ["padded", "constant"])
def test_killed_device_sent_nothing_unlogged(world: World, tmp_path: Path, shape: str) -> None:
    captions, doubtful = {"padded": (1, [15]), "constant": (2, [0, None])}[shape]
    report = world.run(captions=captions, shape=shape, doubtful=doubtful)
    assert report is not None
    steps = report["steps"]
    assert set(steps) >= ANYTHING
    assert all(any(step.startswith(start) for step in steps) for start in FIRST_TIME)
    assert steps.count("send") >= 4, "an upgrade, a hello and two frames"
    whole = world.verified_records()
    lost = 0
    # The shape matters from the first byte on: what is before it is the same for both.
    first = 0 if shape == "padded" else steps.index("send")
    for kill, step in list(enumerate(steps))[first:]:
        if step.startswith("sql CREATE") and steps[kill - 1].startswith("sql CREATE"):
            continue  # in one transaction
        world.moved_to(tmp_path / f"canary-home-{kill}")
        before = len(world.proxy.finished())
        world.run(captions=captions, shape=shape, doubtful=doubtful, kill=kill)
        seen = world.proxy.finished()[before:]
        for conversation in seen:
            assert_every_byte_is_logged(conversation, world.proxy.port, cut=step == "half a send")
        sent = [frame.record for c in seen for frame in c.of(BINARY)]
        logged = world.verified_records()
        assert sent == logged[: len(sent)], step
        assert len(logged) - len(sent) <= 1, "more than the interrupted egress was charged"
        lost += len(logged) - len(sent)
        report = world.run(captions=1, shape=shape, doubtful=[0])
        assert report is not None
        assert report["unverified_reason"] in ([None], ["constant_shape"]), f"not after {step}"
        assert len(world.verified_records()) > len(logged)
    assert 0 < lost < len(steps), "no kill between the log and the wire"
    assert len(steps) > 20 * (len(whole) - 1), "steps were missed"


LAST_BLOCK = 20
DOUBTFUL: list[list[int | None]] = [[None], [0], [LAST_BLOCK], [None, 10, 0], [5, None]]
"""For each caption of a run: the position of its first doubtful block, or none."""


def test_constant_shape_hides_whether_captions_escalate(world: World) -> None:
    kinds = []
    for doubtful in DOUBTFUL:
        report = world.run(captions=3, shape="constant", doubtful=doubtful)
        assert report is not None
        firsts = [doubtful[i % len(doubtful)] for i in range(3)]
        assert report["unverified_reason"] == [
            None if first in {None, LAST_BLOCK} else "constant_shape" for first in firsts
        ]
        kinds += ["hello"] + ["cover" if first is None else "block" for first in firsts]
    shapes = []
    for conversation in world.proxy.finished():
        assert_every_byte_is_logged(conversation, world.proxy.port)
        sizes = [len(frame.payload) for frame in conversation.of(BINARY)]
        shapes.append((sizes, conversation.answer_sizes()))
    sent, answered = shapes[0]
    assert shapes == [shapes[0]] * len(DOUBTFUL), "a network sees no difference"
    assert sent == [HELLO_BYTES] + [CONSTANT_FRAME_BYTES] * 3
    assert answered[1:] == [CONSTANT_FRAME_BYTES] * 3
    records = world.verified_records()
    assert [record.kind for record in records] == kinds
    assert all(not record.tokens for record in records if record.kind == "cover")


def test_proxy_would_notice_an_unlogged_byte(world: World) -> None:
    with connect(world.proxy.url, compression=None, proxy=None) as connection:
        connection.send(b"a voice")
        connection.send("a name")
    conversation = world.proxy.finished()[0]
    assert [frame.record for frame in conversation.of(BINARY, 0x1)] == [None, None]
    assert b"User-Agent" in conversation.request
    with pytest.raises(AssertionError):
        assert_every_byte_is_logged(conversation, world.proxy.port)
