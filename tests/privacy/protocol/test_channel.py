"""The handshake of a session: its order, its keys and its secrets."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from ugsd_privacy.errors import ChannelClosed, HandshakeFailed
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.channel import (
    HELLO_BYTES,
    ClientChannel,
    ServerChannel,
)

from tests.privacy.protocol.channel_pairs import (
    ANSWER_BYTES,
    assert_closed,
    assert_no_oracle,
)


def test_messages_pass_both_ways_after_handshake(verifier_key: VerifierKey) -> None:
    client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
    hello = client.hello()
    answer = server.receive_hello(hello, b"welcome")
    assert client.receive_hello(answer) == b"welcome"
    assert (len(hello), len(answer)) == (HELLO_BYTES, ANSWER_BYTES)
    for number in range(300):
        assert server.open(client.seal(b"ask %d" % number)) == b"ask %d" % number
        assert client.open(server.seal(b"reply")) == b"reply"


def test_keys_follow_the_specified_schedule(verifier_key: VerifierKey) -> None:
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


def test_key_other_than_pinned_fails_on_both_sides(verifier_key: VerifierKey) -> None:
    impostor = VerifierKey.generate()
    client = ClientChannel(verifier_key.public)
    with pytest.raises(HandshakeFailed):
        ServerChannel(impostor).receive_hello(client.hello(), b"")
    other = ClientChannel(impostor.public)
    answer = ServerChannel(impostor).receive_hello(other.hello(), b"")
    with pytest.raises(HandshakeFailed):
        client.receive_hello(answer)


def test_verifier_with_several_keys_serves_each_pin() -> None:
    old, new, newest = (VerifierKey.generate() for _ in range(3))
    for pinned in (old, new, newest):
        client, server = ClientChannel(pinned.public), ServerChannel(newest, new, old)
        assert server.key is None
        assert client.receive_hello(server.receive_hello(client.hello(), b"hi")) == b"hi"
        assert server.key is pinned
        assert server.open(client.seal(b"1")) == b"1"
        assert client.open(server.seal(b"2")) == b"2"


def test_retired_key_fails_like_any_bad_hello() -> None:
    old, new, newest = (VerifierKey.generate() for _ in range(3))
    server = ServerChannel(newest, new)
    with pytest.raises(HandshakeFailed) as failure:
        server.receive_hello(ClientChannel(old.public).hello(), b"")
    with pytest.raises(HandshakeFailed) as empty:
        ServerChannel(newest, new).receive_hello(b"", b"")
    assert_no_oracle(failure.value, empty.value)
    assert server.key is None
    assert_closed(server)


def test_transcript_includes_the_key_that_opened_hello(
    verifier_key: VerifierKey,
) -> None:
    other = VerifierKey.generate()
    client, server = ClientChannel(verifier_key.public), ServerChannel(other, verifier_key)
    hello = client.hello()
    client._pinned = other.public  # as if the device had pinned the other key
    with pytest.raises(HandshakeFailed):
        client.receive_hello(server.receive_hello(hello, b""))


def test_verifier_needs_a_key() -> None:
    with pytest.raises(TypeError):
        ServerChannel(*[])


def test_pinned_key_of_small_order_is_refused(verifier_key: VerifierKey) -> None:
    client = ClientChannel(VerifierPublicKey(verifier_key.public.raw[:-32] + bytes(32)))
    with pytest.raises(HandshakeFailed):
        client.hello()
    assert_closed(client)


def test_states_allow_one_handshake_in_order(verifier_key: VerifierKey) -> None:
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
