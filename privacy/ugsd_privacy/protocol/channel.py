"""The end-to-end session between a device and the verifier whose key it pins. Sans-I/O.

Both sides turn bytes into bytes; the caller moves them, in order, over any transport::

    device                                                      verifier
    hello() ------- type, version, HPKE(secret 1, ephemeral key) -------> receive_hello()
    receive_hello() <--- type, version, HPKE(secret 2), frame(welcome) --
    seal() ------------------------ frame(message) ---------------------> open()
    open() <----------------------- frame(message) ----------------------- seal()

HPKE (RFC 9180, base mode) runs over the X-Wing KEM (draft-connolly-cfrg-xwing-kem), so a session
is secure while either ML-KEM-768 or X25519 is. The first flight is sealed to the pinned static key,
the answer to an ephemeral key that only the reader of the first flight learns. Each direction's
secret is derived from both secrets by HKDF-SHA256 (RFC 5869), salted with the hash of the
transcript: the pinned key, the first flight and the answer. So only the holder of the static key
can answer, and stealing that key later does not open finished sessions. The first flight itself is
not forward secret, and carries no content.

A frame is a header byte and ChaCha20-Poly1305 (RFC 8439) over a length, the message and zeros, up
to the smallest of ``FRAME_BYTES`` that holds it, or to ``CONSTANT_FRAME_BYTES``. Each frame has its
own key: a direction's secret yields, one way, one frame's key and the secret that replaces it, so
that secrets taken from memory do not open earlier frames. They open every later one until a new
handshake, which is required after 2**16 frames in one direction. The nonce is a counter per
direction that is never sent, so replayed, reordered, dropped or spliced frames are rejected. Every
failure closes the channel and looks the same. Python cannot wipe memory: secrets are only dropped
as soon as they are used.

This is channel version 2, as specified in docs/wire.md and tested by the vectors in
tests/conformance/vectors.

States, named after what is known::

    client   KNOWS_VERIFIER --hello--> AWAITS_ANSWER --receive_hello--> SHARES_KEYS
    server   AWAITS_HELLO ------------receive_hello-------------------> SHARES_KEYS
    both     SHARES_KEYS --seal, open--> SHARES_KEYS
             any --failure, close--> CLOSED
    A call that its state does not allow raises ChannelClosed and changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from contextlib import suppress
from enum import Enum, auto
from typing import Literal

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from ugsd_privacy.errors import ChannelClosed, FrameRejected, HandshakeFailed, WireError
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.protocol.messages import MAX_MESSAGE_BYTES
from ugsd_privacy.protocol.traffic_shape import CONSTANT_FRAME_BYTES, TrafficShape

__all__ = [
    "CHANNEL_VERSION",
    "FRAME_BYTES",
    "HELLO_BYTES",
    "ClientChannel",
    "ServerChannel",
    "frame_size",
]

CHANNEL_VERSION = 2
"""Version of handshake and frames: the second byte of both flights, and the last of each label."""

FRAME_BYTES = (128, 256, 512, 1024, 2048, 4096, 8192, 16_640)
"""All sizes of frames, including the overhead of 19 bytes."""

_HELLO, _ANSWER, _FRAME = b"\x01", b"\x02", b"\x03"
_VERSION = bytes([CHANNEL_VERSION])
_SECRET_BYTES = 32
_PUBLIC_KEY_BYTES = 1216
_HPKE_BYTES = 1120 + 16  # X-Wing ciphertext and Poly1305 tag
_LENGTH_BYTES = 2
_FRAME_OVERHEAD_BYTES = len(_FRAME) + _LENGTH_BYTES + 16
_ANSWER_HEAD_BYTES = 2 + _HPKE_BYTES + _SECRET_BYTES
_MAX_FRAMES = 2**16

HELLO_BYTES = 2 + _HPKE_BYTES + _SECRET_BYTES + _PUBLIC_KEY_BYTES
"""Size of every first flight."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_HELLO_INFO = b"ugsd channel hello" + _VERSION
_ANSWER_INFO = b"ugsd channel answer" + _VERSION
_DEVICE_INFO = b"ugsd channel device to verifier" + _VERSION
_VERIFIER_INFO = b"ugsd channel verifier to device" + _VERSION
_FRAME_INFO = b"ugsd channel frame" + _VERSION


class _State(Enum):
    KNOWS_VERIFIER = auto()
    AWAITS_HELLO = auto()
    AWAITS_ANSWER = auto()
    SHARES_KEYS = auto()
    CLOSED = auto()


class _Direction:
    """The secret and frame counter of one direction."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._frames = 0

    @property
    def remaining(self) -> int:
        return _MAX_FRAMES - self._frames

    def seal(self, message: bytes, shape: TrafficShape) -> bytes:
        padded = len(message).to_bytes(_LENGTH_BYTES, "big") + message
        padded = padded.ljust(frame_size(len(message), shape) - len(_FRAME) - 16, b"\0")
        aead, nonce = self._next()
        return _FRAME + aead.encrypt(nonce, padded, _FRAME)

    def open(self, frame: bytes) -> bytes:
        """Open the next frame. Raises any exception for other bytes."""
        if len(frame) not in FRAME_BYTES or frame[:1] != _FRAME:
            raise ValueError
        aead, nonce = self._next()
        padded = aead.decrypt(nonce, frame[1:], _FRAME)
        length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
        message = padded[_LENGTH_BYTES : _LENGTH_BYTES + length]
        expected = frame_size(length, TrafficShape.of(frame))
        if len(frame) != expected or any(padded[_LENGTH_BYTES + length :]):
            raise ValueError
        return message

    def _next(self) -> tuple[ChaCha20Poly1305, bytes]:
        """Return the next frame's cipher and nonce, and replace the secret they came from.

        Key and next secret are the two blocks of one HKDF-Expand (RFC 5869 §2.3). Neither reveals
        the other, so whoever learns a frame's key can read only that frame.
        """
        if not self.remaining:
            raise ValueError
        derived = HKDFExpand(SHA256(), 2 * _SECRET_BYTES, _FRAME_INFO).derive(self._secret)
        key, self._secret = derived[:_SECRET_BYTES], derived[_SECRET_BYTES:]
        nonce = self._frames.to_bytes(12, "big")
        self._frames += 1
        return ChaCha20Poly1305(key), nonce


class _Channel:
    """What both sides have in common. Not safe to use from two threads at once."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._outgoing: _Direction | None = None
        self._incoming: _Direction | None = None
        self._flights = 0
        self._process = os.getpid()

    @property
    def sealed_count(self) -> int:
        """How many flights and frames this side has sealed; the egress checks if one exists."""
        return self._flights

    @property
    def frames_remaining(self) -> int:
        """How many more frames this side may seal; 0 unless both sides share keys."""
        return 0 if self._outgoing is None else self._outgoing.remaining

    def sealed_size(self, n: int, shape: TrafficShape = TrafficShape.PADDED) -> int:
        """Return the size of the frame for a message of ``n`` bytes. Raises as :meth:`seal`."""
        return frame_size(n, shape)

    def seal(self, message: bytes, shape: TrafficShape = TrafficShape.PADDED) -> bytes:
        """Seal ``message`` into the next frame. Frames must be sent in the order of sealing.

        Raises :class:`WireError` if the message is longer than ``MAX_MESSAGE_BYTES`` or than a
        frame of ``shape`` holds, and :class:`ChannelClosed` unless both sides share keys.
        """
        frame_size(len(message), shape)
        if self._state is not _State.SHARES_KEYS or self._outgoing is None:
            raise ChannelClosed("no session: do a handshake on a new channel")
        self._require_own_process()
        self._flights += 1
        with suppress(Exception):
            return self._outgoing.seal(message, shape)
        self.close()
        raise ChannelClosed("the session has no frames left: do a handshake on a new channel")

    def open(self, frame: bytes) -> bytes:
        """Open the peer's next frame and return its message.

        Raises :class:`FrameRejected` and closes the channel for any other bytes, and raises
        :class:`ChannelClosed` unless both sides share keys.
        """
        if self._state is not _State.SHARES_KEYS or self._incoming is None:
            raise ChannelClosed("no session: do a handshake on a new channel")
        self._require_own_process()
        with suppress(Exception):  # every failure gets the same error, without its cause
            return self._incoming.open(frame)
        self.close()
        raise FrameRejected("a frame was rejected; the channel is closed")

    def close(self) -> None:
        """Drop all keys. Safe to call twice."""
        self._state = _State.CLOSED
        self._outgoing = self._incoming = None

    def _require_own_process(self) -> None:
        """Refuse to work in a forked child, which has its parent's keys and counters: if both
        sealed, one key and nonce would encrypt two frames."""
        if self._process != os.getpid():
            raise ChannelClosed(
                "this session belongs to the parent of this forked process: do a handshake on a "
                "new channel"
            )

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise ChannelClosed("a channel does one handshake only: use a new channel")

    def _failed(self) -> HandshakeFailed:
        """Close, and return the one error of all failures; raise it outside of any handler, so that
        it has no cause."""
        self.close()
        return HandshakeFailed("the handshake failed; check the pinned key and both versions")

    def _share(self, secrets: bytes, salt: bytes, *, role: Literal["device", "verifier"]) -> None:
        to_verifier = _Direction(_derive(secrets, salt, _DEVICE_INFO))
        to_device = _Direction(_derive(secrets, salt, _VERIFIER_INFO))
        device = role == "device"
        self._outgoing, self._incoming = (
            (to_verifier, to_device) if device else (to_device, to_verifier)
        )
        self._state = _State.SHARES_KEYS


class ClientChannel(_Channel):
    """The device's side of one session with the verifier of the ``pinned`` key."""

    def __init__(self, pinned: VerifierPublicKey) -> None:
        super().__init__(_State.KNOWS_VERIFIER)
        self._pinned = pinned
        self._secret = b""
        self._ephemeral: VerifierKey | None = None
        self._hello = b""
        self._captions = itertools.count()

    @property
    def pinned(self) -> VerifierPublicKey:
        """The verifier's key."""
        return self._pinned

    def next_caption(self) -> int:
        """Return the session's next caption ordinal, starting at 0."""
        return next(self._captions)

    def hello(self) -> bytes:
        """Return the first flight, ``HELLO_BYTES`` long; :meth:`receive_hello` takes the answer.

        Raises :class:`HandshakeFailed` if the pinned key cannot be sealed to, and
        :class:`ChannelClosed` on a second call.
        """
        self._require(_State.KNOWS_VERIFIER)
        self._flights += 1
        with suppress(Exception):
            return self._make_hello()
        raise self._failed()

    def _make_hello(self) -> bytes:
        self._secret = os.urandom(_SECRET_BYTES)
        self._ephemeral = VerifierKey.generate()
        offer = self._secret + self._ephemeral.public.raw
        sealed = _SUITE.encrypt(offer, self._pinned.hpke, info=_HELLO_INFO)
        self._hello = _HELLO + _VERSION + sealed
        self._state = _State.AWAITS_ANSWER
        return self._hello

    def receive_hello(self, data: bytes) -> bytes:
        """Open the verifier's answer and return its welcome; then call :meth:`seal`, :meth:`open`.

        Raises :class:`HandshakeFailed` and closes the channel unless the holder of the pinned key
        answered this hello. Raises :class:`ChannelClosed` before :meth:`hello` and on a second
        call.
        """
        self._require(_State.AWAITS_ANSWER)
        with suppress(Exception):
            try:
                return self._read_answer(data)
            finally:
                self._forget()
        raise self._failed()

    def _read_answer(self, data: bytes) -> bytes:
        head, frame = data[:_ANSWER_HEAD_BYTES], data[_ANSWER_HEAD_BYTES:]
        if head[:2] != _ANSWER + _VERSION or self._ephemeral is None:
            raise ValueError
        theirs = _SUITE.decrypt(head[2:], self._ephemeral.hpke, info=_answer_info(self._hello))
        if len(theirs) != _SECRET_BYTES:
            raise ValueError
        salt = _transcript(self._pinned, self._hello, head)
        self._share(self._secret + theirs, salt, role="device")
        return self.open(frame)

    def close(self) -> None:
        """Drop all keys. Safe to call twice."""
        super().close()
        self._forget()

    def _forget(self) -> None:
        self._secret = self._hello = b""
        self._ephemeral = None


class ServerChannel(_Channel):
    """The verifier's side of one session.

    A verifier has several keys while it serves an old one beside a new one. The hello does not say
    which of them the device pinned, so each is tried in turn.
    """

    def __init__(self, key: VerifierKey, *others: VerifierKey) -> None:
        super().__init__(_State.AWAITS_HELLO)
        self._keys = (key, *others)
        self._key: VerifierKey | None = None

    @property
    def key(self) -> VerifierKey | None:
        """The key that the device pinned; None until its hello is opened."""
        return self._key

    def receive_hello(self, data: bytes, welcome: bytes) -> bytes:
        """Open a device's first flight and return the answer, which carries ``welcome``.

        Raises :class:`HandshakeFailed` and closes the channel for anything but a first flight of
        this version to one of the keys. Raises :class:`ChannelClosed` on a second call, and
        :class:`WireError` for a welcome longer than ``MAX_MESSAGE_BYTES``.
        """
        self._require(_State.AWAITS_HELLO)
        frame_size(len(welcome), TrafficShape.PADDED)
        with suppress(Exception):
            return self._answer(data, welcome)
        raise self._failed()

    def _answer(self, data: bytes, welcome: bytes) -> bytes:
        if len(data) != HELLO_BYTES or data[:2] != _HELLO + _VERSION:
            raise ValueError
        key, offer = self._read_offer(data[2:])
        ephemeral = VerifierPublicKey(offer[_SECRET_BYTES:])
        ours = os.urandom(_SECRET_BYTES)
        head = _ANSWER + _VERSION + _SUITE.encrypt(ours, ephemeral.hpke, info=_answer_info(data))
        salt = _transcript(key.public, data, head)
        self._share(offer[:_SECRET_BYTES] + ours, salt, role="verifier")
        self._key = key
        return head + self.seal(welcome)

    def _read_offer(self, sealed: bytes) -> tuple[VerifierKey, bytes]:
        for key in self._keys:
            with suppress(Exception):
                return key, _SUITE.decrypt(sealed, key.hpke, info=_HELLO_INFO)
        raise ValueError


def frame_size(n: int, shape: TrafficShape) -> int:
    """Return the size in bytes of the frame for a message of ``n`` bytes. Raises
    :class:`WireError` if no frame of ``shape`` holds it."""
    if n > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {n} bytes; a frame holds at most {MAX_MESSAGE_BYTES} bytes")
    smallest = next(size for size in FRAME_BYTES if n + _FRAME_OVERHEAD_BYTES <= size)
    if shape is TrafficShape.PADDED:
        return smallest
    if smallest > CONSTANT_FRAME_BYTES:
        most = CONSTANT_FRAME_BYTES - _FRAME_OVERHEAD_BYTES
        raise WireError(f"message of {n} bytes; a frame of constant size holds at most {most}")
    return CONSTANT_FRAME_BYTES


def _answer_info(hello: bytes) -> bytes:
    return _ANSWER_INFO + hashlib.sha256(hello).digest()


def _transcript(pinned: VerifierPublicKey, hello: bytes, answer: bytes) -> bytes:
    """Hash the transcript; its parts have fixed sizes, so no two transcripts collide."""
    return hashlib.sha256(pinned.raw + hello + answer).digest()


def _derive(secrets: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secrets)
