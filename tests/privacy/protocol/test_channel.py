from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from hypothesis import assume, given
from hypothesis import strategies as st
from ugsd_privacy.errors import ChannelClosed, FrameRejected, HandshakeFailed, WireError
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol import channel as channel_module
from ugsd_privacy.protocol.channel import (
    CONSTANT_FRAME_BYTES,
    FRAME_BYTES,
    HELLO_BYTES,
    ClientChannel,
    ServerChannel,
    TrafficShape,
)
from ugsd_privacy.protocol.messages import (
    MAX_MESSAGE_BYTES,
    MAX_STATE_DIM,
    Block,
    Cover,
    Verdict,
    encode,
)

Pair = tuple[ClientChannel, ServerChannel]
Connect = Callable[[], Pair]
ANSWER_BYTES = 2 + 1120 + 48 + 128


@pytest.fixture(scope="module")
def connect(verifier_key: VerifierKey) -> Connect:
    def connected() -> Pair:
        client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
        client.receive_hello(server.receive_hello(client.hello(), b"welcome"))
        return client, server

    return connected


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def assert_closed(channel: ClientChannel | ServerChannel) -> None:
    with pytest.raises(ChannelClosed):
        channel.seal(b"x")
    with pytest.raises(ChannelClosed):
        channel.open(bytes(128))


def test_messages_pass_both_ways_after_one_round_trip(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    answer = server.receive_hello(hello, b"welcome")
    assert client.receive_hello(answer) == b"welcome"
    assert (len(hello), len(answer)) == (HELLO_BYTES, ANSWER_BYTES)
    for number in range(300):
        assert server.open(client.seal(b"ask %d" % number)) == b"ask %d" % number
        assert client.open(server.seal(b"reply")) == b"reply"


def test_the_keys_are_those_of_the_written_schedule(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    secret_1, ephemeral = client._secret, client._ephemeral
    assert ephemeral is not None
    answer = server.receive_hello(hello, b"welcome")
    head, welcome = answer[:-128], answer[-128:]
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    answer_info = b"ugsd channel answer\2" + sha256(hello).digest()
    offer = suite.decrypt(hello[2:], verifier_key.hpke, info=b"ugsd channel hello\2")
    secret_2 = suite.decrypt(head[2:], ephemeral.hpke, info=answer_info)
    assert offer == secret_1 + ephemeral.public.raw
    # RFC 5869 by hand: one block of output for a direction's first secret, two for each frame
    salt = sha256(verifier_key.public.raw + hello + head).digest()
    extracted = hmac.digest(salt, secret_1 + secret_2, "sha256")

    def frame_keys(label: bytes) -> Iterator[ChaCha20Poly1305]:
        secret = hmac.digest(extracted, label + b"\2\1", "sha256")
        while True:
            key = hmac.digest(secret, b"ugsd channel frame\2\1", "sha256")
            secret = hmac.digest(secret, key + b"ugsd channel frame\2\2", "sha256")
            yield ChaCha20Poly1305(key)

    key = next(frame_keys(b"ugsd channel verifier to device"))
    opened = key.decrypt(bytes(12), welcome[1:], welcome[:1])
    assert opened == b"\0\7welcome".ljust(111, b"\0")
    client.receive_hello(answer)
    for number, key in zip(range(5), frame_keys(b"ugsd channel device to verifier"), strict=False):
        frame = client.seal(b"message")
        opened = key.decrypt(number.to_bytes(12, "big"), frame[1:], frame[:1])
        assert opened == b"\0\7message".ljust(111, b"\0")


def test_every_size_becomes_the_frame_that_was_foretold(connect: Connect) -> None:
    client, server = connect()
    edges = {size - 19 + step for size in FRAME_BYTES for step in (-1, 0, 1)}
    for n in sorted({0, 1, MAX_MESSAGE_BYTES} | {n for n in edges if n <= MAX_MESSAGE_BYTES}):
        frame = client.seal(b"\7" * n)
        assert len(frame) == client.sealed_size(n)
        assert len(frame) == min(size for size in FRAME_BYTES if size >= n + 19)
        assert server.open(frame) == b"\7" * n


def test_in_constant_shape_every_message_becomes_a_frame_of_one_size(connect: Connect) -> None:
    client, server = connect()
    for n in (0, 1, 109, 110, 493, 494, CONSTANT_FRAME_BYTES - 19):
        for sender, reader in ((client, server), (server, client)):
            frame = sender.seal(b"\7" * n, TrafficShape.CONSTANT)
            assert (
                len(frame) == sender.sealed_size(n, TrafficShape.CONSTANT) == CONSTANT_FRAME_BYTES
            )
            assert TrafficShape.of(frame) is TrafficShape.CONSTANT
            assert reader.open(frame) == b"\7" * n
    assert [
        size for size in FRAME_BYTES if TrafficShape.of(bytes(size)) is TrafficShape.CONSTANT
    ] == [1024]


def test_what_the_constant_frame_cannot_hold_is_refused_and_harms_nothing(connect: Connect) -> None:
    client, server = connect()
    n = CONSTANT_FRAME_BYTES - 18
    for refused in (client.sealed_size, lambda n, shape: client.seal(bytes(n), shape)):
        with pytest.raises(WireError, match="constant size"):
            refused(n, TrafficShape.CONSTANT)
    assert server.open(client.seal(bytes(n))) == bytes(n)


def test_the_constant_size_is_the_least_that_holds_what_the_summary_disclosure_sends() -> None:
    largest = 2**20 - 1
    block = Block(
        caption=2**32 - 1,
        keep=0,
        prefix=(largest,) * 59,
        tokens=(largest,) * 5,
        state_positions=(0,),
        state_dim=MAX_STATE_DIM,
        states=bytes(MAX_STATE_DIM),
    )
    verdict = Verdict(
        caption=2**32 - 1,
        start=100,
        accepted=100,
        correction=largest,
        continuation=(largest,) * 55,
    )
    smaller = max(size for size in FRAME_BYTES if size < CONSTANT_FRAME_BYTES)
    assert smaller < len(encode(block)) + 19 <= CONSTANT_FRAME_BYTES
    assert len(encode(verdict)) < len(encode(block))
    assert len(encode(Cover())) < smaller


def test_a_message_too_long_is_refused_and_harms_nothing(connect: Connect) -> None:
    client, server = connect()
    for refused in (client.sealed_size, lambda n: client.seal(bytes(n))):
        with pytest.raises(WireError):
            refused(MAX_MESSAGE_BYTES + 1)
    assert server.open(client.seal(b"next")) == b"next"


def assert_no_oracle(failure: BaseException, like: BaseException) -> None:
    """Both failures are one: of the same type and text, and with nothing behind them."""
    for error in (failure, like):
        assert error.__context__ is None
        assert error.__cause__ is None
        assert not getattr(error, "__notes__", None)
        assert vars(error) == {}
    assert type(failure) is type(like)
    assert failure.args == like.args


def test_every_flipped_byte_of_the_first_flight_fails_alike(verifier_key: VerifierKey) -> None:
    hello = ClientChannel(verifier_key.public).hello()
    with pytest.raises(HandshakeFailed) as empty:
        ServerChannel(verifier_key).receive_hello(b"", b"")
    for at in range(len(hello)):
        server = ServerChannel(verifier_key)
        with pytest.raises(HandshakeFailed) as failure:
            server.receive_hello(flipped(hello, at), b"")
        assert_no_oracle(failure.value, empty.value)
    assert_closed(server)


def test_every_flipped_byte_of_the_answer_fails_alike(verifier_key: VerifierKey) -> None:
    client = ClientChannel(verifier_key.public)
    client.hello()
    with pytest.raises(HandshakeFailed) as empty:
        client.receive_hello(b"")
    for at in range(ANSWER_BYTES):
        client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
        answer = server.receive_hello(client.hello(), b"welcome")
        with pytest.raises(HandshakeFailed) as failure:
            client.receive_hello(flipped(answer, at))
        assert_no_oracle(failure.value, empty.value)
    assert_closed(client)


def test_every_flipped_byte_of_a_frame_fails_alike_and_closes(connect: Connect) -> None:
    _, server = connect()
    with pytest.raises(FrameRejected) as empty:
        server.open(b"")
    assert str(empty.value) == "a frame was rejected; the channel is closed"
    for at in range(128):
        client, server = connect()
        with pytest.raises(FrameRejected) as failure:
            server.open(flipped(client.seal(b"message"), at))
        assert_no_oracle(failure.value, empty.value)
        assert_closed(server)


@given(st.data())
def test_truncated_and_extended_frames_fail(connect: Connect, data: st.DataObject) -> None:
    client, server = connect()
    frame = client.seal(
        bytes(data.draw(st.integers(0, 600))), data.draw(st.sampled_from(TrafficShape))
    )
    cut = data.draw(st.one_of(st.integers(0, len(frame) - 1), st.sampled_from(FRAME_BYTES)))
    longer = data.draw(st.one_of(st.just(len(frame) + 1), st.sampled_from(FRAME_BYTES)))
    wrong = data.draw(st.sampled_from([frame[:cut], frame.ljust(longer, b"\0"), frame + frame]))
    assume(wrong != frame)
    with pytest.raises(FrameRejected):
        server.open(wrong)
    assert_closed(server)


@given(st.data())
def test_truncated_extended_or_arbitrary_flights_fail(
    verifier_key: VerifierKey, data: st.DataObject
) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    cut = data.draw(st.integers(0, len(hello) - 1))
    junk = data.draw(st.binary(max_size=64))
    wrong = data.draw(st.sampled_from([hello[:cut], hello + b"\0", junk, b"\1\2" + junk]))
    with pytest.raises(HandshakeFailed):
        server.receive_hello(wrong, b"")
    answer = ServerChannel(verifier_key).receive_hello(hello, b"")
    cut = data.draw(st.integers(0, len(answer) - 1))
    with pytest.raises(HandshakeFailed):
        client.receive_hello(data.draw(st.sampled_from([answer[:cut], answer + b"\0", junk])))


@given(st.binary(max_size=600))
def test_arbitrary_frames_are_rejected(verifier_key: VerifierKey, frame: bytes) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    client.receive_hello(server.receive_hello(client.hello(), b""))
    with pytest.raises(FrameRejected):
        server.open(frame)


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 255])
def test_other_types_and_versions_fail(verifier_key: VerifierKey, at: int, value: int) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    for flight, receive in (
        (hello, lambda data: ServerChannel(verifier_key).receive_hello(data, b"")),
        (server.receive_hello(hello, b""), client.receive_hello),
    ):
        if flight[at] == value:
            continue
        with pytest.raises(HandshakeFailed):
            receive(flight[:at] + bytes([value]) + flight[at + 1 :])


@pytest.mark.parametrize("version", [b"\1", b"\3"], ids=["older", "newer"])
@pytest.mark.parametrize("label", ["hello", "answer", "device", "verifier", "frame"])
def test_one_label_of_another_version_fails_even_where_the_versions_byte_is_forged(
    verifier_key: VerifierKey, monkeypatch: pytest.MonkeyPatch, label: str, version: bytes
) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    name = f"_{label.upper()}_INFO"
    ours: bytes = getattr(channel_module, name)
    hello = client.hello()
    with monkeypatch.context() as other:
        other.setattr(channel_module, name, ours[:-1] + version)
        if label == "hello":
            with pytest.raises(HandshakeFailed):
                server.receive_hello(hello, b"")
            return
        answer = server.receive_hello(hello, b"")
    if label == "device":  # the welcome opens; the device's own frames do not
        client.receive_hello(answer)
        with pytest.raises(FrameRejected):
            server.open(client.seal(b"message"))
    else:
        with pytest.raises(HandshakeFailed):
            client.receive_hello(answer)


def test_another_key_than_the_pinned_one_fails_on_both_sides(verifier_key: VerifierKey) -> None:
    impostor = VerifierKey.generate()
    client = ClientChannel(verifier_key.public)
    with pytest.raises(HandshakeFailed):
        ServerChannel(impostor).receive_hello(client.hello(), b"")
    other = ClientChannel(impostor.public)
    answer = ServerChannel(impostor).receive_hello(other.hello(), b"")
    with pytest.raises(HandshakeFailed):
        client.receive_hello(answer)


def test_a_verifier_of_several_keys_serves_devices_that_pinned_any_of_them() -> None:
    old, new, newest = (VerifierKey.generate() for _ in range(3))
    for pinned in (old, new, newest):
        client, server = ClientChannel(pinned.public), ServerChannel(newest, new, old)
        assert server.key is None
        assert client.receive_hello(server.receive_hello(client.hello(), b"hi")) == b"hi"
        assert server.key is pinned
        assert server.open(client.seal(b"1")) == b"1"
        assert client.open(server.seal(b"2")) == b"2"


def test_a_retired_key_fails_as_any_bad_hello_does() -> None:
    old, new, newest = (VerifierKey.generate() for _ in range(3))
    server = ServerChannel(newest, new)
    with pytest.raises(HandshakeFailed) as failure:
        server.receive_hello(ClientChannel(old.public).hello(), b"")
    with pytest.raises(HandshakeFailed) as empty:
        ServerChannel(newest, new).receive_hello(b"", b"")
    assert_no_oracle(failure.value, empty.value)
    assert server.key is None
    assert_closed(server)


def test_the_transcript_is_bound_to_the_key_that_opened_the_hello(
    verifier_key: VerifierKey,
) -> None:
    other = VerifierKey.generate()
    client, server = ClientChannel(verifier_key.public), ServerChannel(other, verifier_key)
    hello = client.hello()
    client._pinned = other.public  # what a device would take that pinned the other
    with pytest.raises(HandshakeFailed):
        client.receive_hello(server.receive_hello(hello, b""))


def test_a_verifier_without_a_key_is_no_verifier() -> None:
    with pytest.raises(TypeError):
        ServerChannel(*[])


def test_a_pinned_key_of_small_order_is_refused(verifier_key: VerifierKey) -> None:
    client = ClientChannel(VerifierPublicKey(verifier_key.public.raw[:-32] + bytes(32)))
    with pytest.raises(HandshakeFailed):
        client.hello()
    assert_closed(client)


def test_an_answer_to_another_hello_fails(verifier_key: VerifierKey) -> None:
    ours, theirs = ClientChannel(verifier_key.public), ClientChannel(verifier_key.public)
    ours.hello()
    with pytest.raises(HandshakeFailed):
        ours.receive_hello(ServerChannel(verifier_key).receive_hello(theirs.hello(), b""))


def test_a_welcome_of_another_session_of_the_same_hello_fails(verifier_key: VerifierKey) -> None:
    client = ClientChannel(verifier_key.public)
    hello = client.hello()
    one, two = (ServerChannel(verifier_key).receive_hello(hello, b"") for _ in range(2))
    with pytest.raises(HandshakeFailed):
        client.receive_hello(one[:-128] + two[-128:])


def test_a_replayed_hello_gives_its_replayer_nothing(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    client.receive_hello(server.receive_hello(hello, b""))
    second = ServerChannel(verifier_key)
    second.receive_hello(hello, b"")
    with pytest.raises(FrameRejected):
        second.open(client.seal(b"message"))


def test_replayed_reordered_dropped_and_reflected_frames_are_rejected(connect: Connect) -> None:
    client, server = connect()
    frame = client.seal(b"1")
    server.open(frame)
    with pytest.raises(FrameRejected):
        server.open(frame)
    client, server = connect()
    _, second = client.seal(b"1"), client.seal(b"2")
    with pytest.raises(FrameRejected):
        server.open(second)
    client, server = connect()
    _, reflected = client.seal(b"0"), client.seal(b"1")  # as many as the server has sent, and one
    with pytest.raises(FrameRejected):
        client.open(reflected)


def test_frames_of_another_session_or_direction_are_rejected(connect: Connect) -> None:
    (client, server), (other_client, other_server) = connect(), connect()
    for device, verifier in ((client, server), (other_client, other_server)):
        device.open(verifier.seal(b"in step"))  # after the welcome, so that both ways are at 2
        verifier.open(device.seal(b"in step"))
        verifier.open(device.seal(b"in step"))
    for reader, foreign in (
        (server, other_client.seal(b"2")),
        (client, other_server.seal(b"2")),
        (other_client, client.seal(b"2")),
        (other_server, server.seal(b"2")),
    ):
        with pytest.raises(FrameRejected):
            reader.open(foreign)


@pytest.mark.parametrize(
    "inside",
    [
        (b"\0\1a" + bytes(106) + b"\1").ljust(111, b"\0"),  # padding that is not zero
        b"\xff\xff" + bytes(109),  # a length beyond the frame
        b"\0\1a" + bytes(236),  # one size larger than needed
        b"\0\1a" + bytes(2028),  # larger than the constant size
        b"\4\0a" + bytes(1004),  # of the constant size, with a length beyond it
        b"\0\1a" + bytes(1003) + b"\1",  # of the constant size, with padding that is not zero
        b"\0\1a" + bytes(100),  # no size of ours
    ],
)
def test_authentic_frames_of_the_wrong_shape_are_rejected(connect: Connect, inside: bytes) -> None:
    client, server = connect()
    direction = client._outgoing
    assert direction is not None
    aead, nonce = direction._next()
    frame = b"\3" + aead.encrypt(nonce, inside, b"\3")
    with pytest.raises(FrameRejected):
        server.open(frame)
    assert_closed(server)


def test_the_states_allow_one_handshake_in_order(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    for early in (lambda: client.seal(b""), lambda: client.open(b""), lambda: server.seal(b"")):
        with pytest.raises(ChannelClosed):
            early()
    with pytest.raises(ChannelClosed):
        client.receive_hello(b"")
    hello = client.hello()
    with pytest.raises(ChannelClosed):
        client.hello()
    answer = server.receive_hello(hello, b"")
    with pytest.raises(ChannelClosed):
        server.receive_hello(hello, b"")
    client.receive_hello(answer)
    with pytest.raises(ChannelClosed):
        client.receive_hello(answer)
    assert server.open(client.seal(b"still here")) == b"still here"
    for channel in (client, server):
        channel.close()
        channel.close()
        assert_closed(channel)


def test_handshake_secrets_are_dropped_after_use(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    client.receive_hello(server.receive_hello(client.hello(), b""))
    assert not client._secret
    assert client._ephemeral is None
    client.close()
    assert client._outgoing is None
    assert client._incoming is None


def test_every_hello_has_its_own_ephemeral_key(verifier_key: VerifierKey) -> None:
    first, second = ClientChannel(verifier_key.public), ClientChannel(verifier_key.public)
    assert first.hello() != second.hello()
    assert first._ephemeral is not None
    assert second._ephemeral is not None
    assert first._ephemeral.public != second._ephemeral.public


def test_a_used_up_counter_ends_the_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = connect()
    monkeypatch.setattr(channel_module, "_MAX_FRAMES", 2)
    server.open(client.seal(b"1"))
    client.seal(b"2")
    with pytest.raises(ChannelClosed):
        client.seal(b"3")
    assert_closed(client)


def test_a_receiver_takes_no_frame_beyond_the_last_number(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = connect()
    first, beyond = client.seal(b"1"), client.seal(b"2")
    monkeypatch.setattr(channel_module, "_MAX_FRAMES", 1)
    assert server.open(first) == b"1"
    with pytest.raises(FrameRejected):
        server.open(beyond)


def test_each_side_tells_how_many_frames_it_has_left(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    assert client.frames_remaining == server.frames_remaining == 0
    client.receive_hello(server.receive_hello(client.hello(), b""))
    assert (client.frames_remaining, server.frames_remaining) == (2**16, 2**16 - 1)
    client.seal(b"1")
    assert (client.frames_remaining, server.frames_remaining) == (2**16 - 1, 2**16 - 1)
    client.close()
    assert client.frames_remaining == 0
