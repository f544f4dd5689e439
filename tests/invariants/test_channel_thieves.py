"""Attackers who recorded a session and steal the verifier's static key or secrets in memory.

Each test is the attack, by someone who recorded every byte, and its positive control: the same
attack with the one secret that cannot be stolen, which succeeds.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
LABELS = (b"ugsd channel device to verifier\2", b"ugsd channel verifier to device\2")
FRAMES = 6
"""Frames in each direction, not counting the verifier's welcome."""


class Session:
    """A recorded session: both flights, and frames in both directions."""

    def __init__(self, verifier_key: VerifierKey) -> None:
        self.verifier_key = verifier_key
        self.device = ClientChannel(verifier_key.public)
        self.verifier = ServerChannel(verifier_key)
        self.hello = self.device.hello()
        self.device_secrets = self.device._secret, self.device._ephemeral
        answer = self.verifier.receive_hello(self.hello, b"welcome")
        self.device.receive_hello(answer)
        self.head, welcome = answer[:1170], answer[1170:]
        self.to_verifier: list[bytes] = []
        self.to_device = [welcome]

    def talk(self, frames: int = FRAMES) -> None:
        for _ in range(frames):
            self.to_verifier.append(self.device.seal(b"a block"))
            self.verifier.open(self.to_verifier[-1])
            self.to_device.append(self.verifier.seal(b"a verdict"))
            self.device.open(self.to_device[-1])

    @property
    def frames(self) -> list[bytes]:
        return self.to_verifier + self.to_device

    def first_secrets(self, ikm: bytes) -> list[bytes]:
        """Run the key schedule on a guess at both secrets; the transcript is public."""
        salt = sha256(self.verifier_key.public.raw + self.hello + self.head).digest()
        return [HKDF(SHA256(), 32, salt, label).derive(ikm) for label in LABELS]


def ratchet(secret: bytes, steps: int = FRAMES + 2) -> Iterator[bytes]:
    """Yield the keys that follow from a secret."""
    for _ in range(steps):
        derived = HKDFExpand(SHA256(), 64, b"ugsd channel frame\2").derive(secret)
        secret = derived[32:]
        yield derived[:32]


def opened(frames: list[bytes], secrets: list[bytes]) -> set[bytes]:
    """Return the frames that open with a key among ``secrets`` or one that follows from them, under
    any nonce of this session."""
    keys = [key for secret in secrets for key in (secret, *ratchet(secret))]
    found = set()
    for aead in map(ChaCha20Poly1305, keys):
        for frame in frames:
            for number in range(2 * FRAMES + 2):
                try:
                    aead.decrypt(number.to_bytes(12, "big"), frame[1:], frame[:1])
                except InvalidTag:
                    continue
                found.add(frame)
    return found


def in_memory(channel: ClientChannel | ServerChannel) -> list[bytes]:
    """Return everything that a thief of a process' memory finds behind a channel: its bytes, 32 at
    a time."""
    code = type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType
    seen: dict[int, object] = {}
    stack: list[object] = [channel]
    while stack:
        thing = stack.pop()
        if id(thing) not in seen and not isinstance(thing, code):
            seen[id(thing)] = thing
            stack += gc.get_referents(thing)
    assert not any(isinstance(thing, ChaCha20Poly1305) for thing in seen.values())
    found = [bytes(t) for t in seen.values() if isinstance(t, (bytes, bytearray)) and len(t) >= 32]
    return [data[at : at + 32] for data in found if len(data) <= 64 for at in (0, len(data) - 32)]


def test_stolen_static_key_opens_no_recorded_frame() -> None:
    session = Session(VerifierKey.generate())
    session.talk()
    static = session.verifier_key.hpke
    answer_info = b"ugsd channel answer\2" + sha256(session.hello).digest()
    # The thief reads the first flight: the device's secret, and its ephemeral public key.
    offer = SUITE.decrypt(session.hello[2:], static, info=b"ugsd channel hello\2")
    secret_1, ephemeral_public = offer[:32], offer[32:]
    device_secret, ephemeral = session.device_secrets
    assert ephemeral is not None
    assert (secret_1, ephemeral_public) == (device_secret, ephemeral.public.raw)
    # The answer does not open with the static key.
    with pytest.raises(InvalidTag):
        SUITE.decrypt(session.head[2:], static, info=answer_info)
    # So the thief guesses the other secret from everything known, or answers the hello again.
    again = ServerChannel(session.verifier_key)
    again.receive_hello(session.hello, b"")
    pieces = [bytes(32), secret_1, session.head[-48:-16], session.head[2:34], *in_memory(again)]
    pieces += [ephemeral_public[-32:], sha256(session.hello + session.head).digest()]
    guesses = [b"", *pieces]
    secrets = [s for guess in guesses for s in session.first_secrets(secret_1 + guess)]
    assert not opened(session.frames, secrets + pieces)
    # Only the ephemeral private key, which nobody stored, opens the frames.
    secret_2 = SUITE.decrypt(session.head[2:], ephemeral.hpke, info=answer_info)
    assert opened(session.frames, session.first_secrets(secret_1 + secret_2)) == set(session.frames)


def test_handshake_secrets_are_dropped_by_both_sides() -> None:
    session = Session(VerifierKey.generate())
    device_secret, ephemeral = session.device_secrets
    assert ephemeral is not None
    answer_info = b"ugsd channel answer\2" + sha256(session.hello).digest()
    secret_2 = SUITE.decrypt(session.head[2:], ephemeral.hpke, info=answer_info)
    first = session.first_secrets(device_secret + secret_2)
    dropped = {device_secret, secret_2, first[1], *(key for s in first for key in ratchet(s, 1))}
    for side in (session.device, session.verifier):
        found = in_memory(side)
        assert first[0] in found, "the secret of the unused direction is still there"
        assert not dropped & set(found)
    session.device.close()
    assert not set(in_memory(session.device)) & {first[0], *ratchet(first[0])}
    assert session.device._ephemeral is None


@pytest.mark.parametrize("side", ["device", "verifier"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_stolen_memory_opens_no_earlier_frame(side: str, after: int) -> None:
    session = Session(VerifierKey.generate())
    session.talk(after)
    before = session.frames
    stolen = in_memory(session.device if side == "device" else session.verifier)
    assert stolen
    session.talk(2)
    assert not opened(before, stolen)
    assert opened(session.frames, stolen) == set(session.frames) - set(before)


def test_frame_key_opens_no_other_frame() -> None:
    session = Session(VerifierKey.generate())
    direction = session.device._outgoing
    assert direction is not None
    keys = list(ratchet(direction._secret, FRAMES))
    session.talk()
    for key, frame in zip(keys, session.to_verifier, strict=True):
        assert opened(session.frames, [key]) == {frame}
    assert all(one != two for one, two in pairwise(keys))


def test_stolen_memory_opens_no_later_session() -> None:
    key = VerifierKey.generate()
    old = Session(key)
    old.talk(1)
    stolen = in_memory(old.device) + in_memory(old.verifier)
    new = Session(key)
    new.talk(2)
    offer = SUITE.decrypt(new.hello[2:], key.hpke, info=b"ugsd channel hello\2")  # static key too
    secrets = [s for piece in stolen for s in new.first_secrets(offer[:32] + piece)]
    assert not opened(new.frames, stolen + secrets)
    old.talk(1)
    assert opened(old.frames, stolen), "the old session stays readable"
