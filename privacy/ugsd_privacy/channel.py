"""The end-to-end session between a device and the verifier whose key it pins. Sans-I/O.

Both sides turn bytes into bytes; the caller moves them, in order, over any transport::

    device                                                      verifier
    hello() ------- type, version, HPKE(secret 1, ephemeral key) -------> receive_hello()
    receive_hello() <--- type, version, HPKE(secret 2), frame(welcome) --
    seal() ------------------------ frame(message) ---------------------> open()
    open() <----------------------- frame(message) ----------------------- seal()

HPKE (RFC 9180, base mode) runs over the X-Wing KEM (draft-connolly-cfrg-xwing-kem), so a session
stands while either ML-KEM-768 or X25519 does. The first flight goes to the pinned static key, the
answer to an ephemeral key that only the first flight's reader learns. Traffic keys come from both
secrets, by HKDF-SHA256 (RFC 5869) salted with the hash of the transcript: the pinned key, the first
flight and the answer. So only the holder of the static key can answer, and a later theft of that
key opens no finished session. The first flight alone is not forward secret and carries no content.

A frame is a header byte and ChaCha20-Poly1305 (RFC 8439) over a length, the message and zeros, up
to the smallest of ``FRAME_BYTES`` that holds it, or to ``CONSTANT_FRAME_BYTES``. Its nonce is a
counter per direction that is never sent, so replayed, reordered, dropped or spliced frames fail.
Every failure closes the channel and looks the same. Python cannot wipe memory: secrets are dropped
as soon as they are used, no more.

This is channel version 1, written down in docs/wire.md and held by the vectors in
tests/privacy/vectors.

States, named for what is known::

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
from enum import Enum, StrEnum, auto
from typing import Literal, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ugsd_privacy.errors import ChannelClosed, FrameRejected, HandshakeFailed, WireError
from ugsd_privacy.keys import VerifierKey, VerifierPublicKey
from ugsd_privacy.wire import MAX_MESSAGE_BYTES

__all__ = [
    "CHANNEL_VERSION",
    "CONSTANT_FRAME_BYTES",
    "FRAME_BYTES",
    "HELLO_BYTES",
    "ClientChannel",
    "ServerChannel",
    "Shape",
]

CHANNEL_VERSION = 1
"""Version of handshake and frames: second byte of both flights, last of each key's label."""

FRAME_BYTES = (128, 256, 512, 1024, 2048, 4096, 8192, 16_640)
"""The only sizes that a frame has, its overhead of 19 bytes included."""

CONSTANT_FRAME_BYTES = 1024
"""The one size in constant shape: the least that holds 64 tokens of any ids, prefix and block
together, and a state of ``MAX_STATE_DIM`` coordinates. A verdict of 64 tokens is shorter."""

_HELLO, _ANSWER, _FRAME = b"\x01", b"\x02", b"\x03"
_VERSION = bytes([CHANNEL_VERSION])
_SECRET_BYTES = 32
_PUBLIC_KEY_BYTES = 1216
_HPKE_BYTES = 1120 + 16  # X-Wing ciphertext and Poly1305 tag
_LENGTH_BYTES = 2
_FRAME_OVERHEAD_BYTES = len(_FRAME) + _LENGTH_BYTES + 16
_ANSWER_HEAD_BYTES = 2 + _HPKE_BYTES + _SECRET_BYTES
_MAX_FRAMES = 2**48

HELLO_BYTES = 2 + _HPKE_BYTES + _SECRET_BYTES + _PUBLIC_KEY_BYTES
"""Size of every first flight."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_HELLO_INFO = b"ugsd channel hello" + _VERSION
_ANSWER_INFO = b"ugsd channel answer" + _VERSION
_DEVICE_KEY_INFO = b"ugsd channel device to verifier" + _VERSION
_VERIFIER_KEY_INFO = b"ugsd channel verifier to device" + _VERSION


class Shape(StrEnum):
    """What the sizes of frames tell."""

    PADDED = "padded"
    """A frame is the smallest that holds its message."""
    CONSTANT = "constant"
    """Every frame is of ``CONSTANT_FRAME_BYTES``."""

    @staticmethod
    def of(frame: bytes) -> Shape:
        """The shape that the answer to ``frame`` has. Why by size: a verifier needs no other sign,
        and whoever sees the frame knows the size of the answer already."""
        return Shape.CONSTANT if len(frame) == CONSTANT_FRAME_BYTES else Shape.PADDED


class _State(Enum):
    KNOWS_VERIFIER = auto()
    AWAITS_HELLO = auto()
    AWAITS_ANSWER = auto()
    SHARES_KEYS = auto()
    CLOSED = auto()


class _Direction:
    """One direction's key and counter."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._frames = 0

    def seal(self, message: bytes, shape: Shape) -> bytes:
        padded = len(message).to_bytes(_LENGTH_BYTES, "big") + message
        padded = padded.ljust(_frame_size(len(message), shape) - len(_FRAME) - 16, b"\0")
        return _FRAME + self._aead.encrypt(self._nonce(), padded, _FRAME)

    def open(self, frame: bytes) -> bytes:
        """Raises anything at all for a frame that is not the next one."""
        if len(frame) not in FRAME_BYTES or frame[:1] != _FRAME:
            raise ValueError
        padded = self._aead.decrypt(self._nonce(), frame[1:], _FRAME)
        length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
        message = padded[_LENGTH_BYTES : _LENGTH_BYTES + length]
        due = _frame_size(length, Shape.of(frame))
        if len(frame) != due or any(padded[_LENGTH_BYTES + length :]):
            raise ValueError
        return message

    def _nonce(self) -> bytes:
        if self._frames >= _MAX_FRAMES:
            raise ValueError
        nonce = self._frames.to_bytes(12, "big")
        self._frames += 1
        return nonce


class _Channel:
    """What both sides share once they share keys. Not safe to use from two threads at once."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._outgoing: _Direction | None = None
        self._incoming: _Direction | None = None
        self._flights = 0

    @property
    def sealed_count(self) -> int:
        """How many flights and frames this side has made. Why: the door sees whether one exists."""
        return self._flights

    def sealed_size(self, n: int, shape: Shape = Shape.PADDED) -> int:
        """Bytes of the frame that a message of ``n`` bytes becomes. Raises as :meth:`seal`."""
        return _frame_size(n, shape)

    def seal(self, message: bytes, shape: Shape = Shape.PADDED) -> bytes:
        """Make the next frame, which is to be sent before any later one.

        Raises :class:`WireError` for a message of more than ``MAX_MESSAGE_BYTES``, or more than a
        frame of the constant size holds, and :class:`ChannelClosed` unless both sides share keys.
        """
        _frame_size(len(message), shape)
        if self._state is not _State.SHARES_KEYS or self._outgoing is None:
            raise ChannelClosed("no session: shake hands on a new channel")
        self._flights += 1
        try:
            return self._outgoing.seal(message, shape)
        except Exception:
            self.close()
            raise ChannelClosed("the session is used up: shake hands on a new channel") from None

    def open(self, frame: bytes) -> bytes:
        """Read the peer's next frame.

        Raises :class:`FrameRejected`, and closes the channel, for any other bytes, and
        :class:`ChannelClosed` unless both sides share keys.
        """
        if self._state is not _State.SHARES_KEYS or self._incoming is None:
            raise ChannelClosed("no session: shake hands on a new channel")
        try:
            return self._incoming.open(frame)
        except Exception:  # whatever was wrong with it, the peer learns one thing
            self.close()
            raise FrameRejected("a frame was rejected; the channel is closed") from None

    def close(self) -> None:
        """Drop all keys. May be called again."""
        self._state = _State.CLOSED
        self._outgoing = self._incoming = None

    def _require(self, state: _State) -> None:
        if self._state is not state:
            raise ChannelClosed("one channel serves one handshake: use a new channel")

    def _fail(self) -> NoReturn:
        self.close()
        raise HandshakeFailed(
            "the handshake failed; check the pinned key and both versions"
        ) from None

    def _share(self, secrets: bytes, salt: bytes, *, role: Literal["device", "verifier"]) -> None:
        to_verifier = _Direction(_derive(secrets, salt, _DEVICE_KEY_INFO))
        to_device = _Direction(_derive(secrets, salt, _VERIFIER_KEY_INFO))
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
        """Take the session's next caption ordinal, from 0."""
        return next(self._captions)

    def hello(self) -> bytes:
        """Make the first flight, ``HELLO_BYTES`` long; :meth:`receive_hello` takes the answer.

        Raises :class:`HandshakeFailed` if the pinned key cannot be sealed to, and
        :class:`ChannelClosed` on a second call.
        """
        self._require(_State.KNOWS_VERIFIER)
        self._flights += 1
        try:
            self._secret = os.urandom(_SECRET_BYTES)
            self._ephemeral = VerifierKey.generate()
            offer = self._secret + self._ephemeral.public.raw
            sealed = _SUITE.encrypt(offer, self._pinned.hpke, info=_HELLO_INFO)
        except Exception:
            self._fail()
        self._hello = _HELLO + _VERSION + sealed
        self._state = _State.AWAITS_ANSWER
        return self._hello

    def receive_hello(self, data: bytes) -> bytes:
        """Take the verifier's answer and return its welcome; then :meth:`seal` and :meth:`open`.

        Raises :class:`HandshakeFailed`, and closes the channel, unless the holder of the pinned key
        answered this very hello; :class:`ChannelClosed` before :meth:`hello` and on a second call.
        """
        self._require(_State.AWAITS_ANSWER)
        try:
            return self._read_answer(data)
        except Exception:  # whatever was wrong with it, the peer learns one thing
            self._fail()
        finally:
            self._forget()

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
        """Drop all keys. May be called again."""
        super().close()
        self._forget()

    def _forget(self) -> None:
        self._secret = self._hello = b""
        self._ephemeral = None


class ServerChannel(_Channel):
    """The verifier's side of one session; one of ``keys`` is what its device pinned."""

    def __init__(self, *keys: VerifierKey) -> None:
        super().__init__(_State.AWAITS_HELLO)
        self._keys = keys

    def receive_hello(self, data: bytes, welcome: bytes) -> bytes:
        """Take a device's first flight; return the answer, which carries ``welcome``.

        Raises :class:`HandshakeFailed`, and closes the channel, for anything but a first flight to
        one of its keys in this version; :class:`ChannelClosed` on a second call; :class:`WireError`
        for a welcome of more than ``MAX_MESSAGE_BYTES``.
        """
        self._require(_State.AWAITS_HELLO)
        _frame_size(len(welcome), Shape.PADDED)
        try:
            return self._answer(data, welcome)
        except Exception:  # whatever was wrong with it, the peer learns one thing
            self._fail()

    def _answer(self, data: bytes, welcome: bytes) -> bytes:
        if len(data) != HELLO_BYTES or data[:2] != _HELLO + _VERSION:
            raise ValueError
        key, offer = self._opened(data[2:])
        ephemeral = VerifierPublicKey(offer[_SECRET_BYTES:])
        ours = os.urandom(_SECRET_BYTES)
        head = _ANSWER + _VERSION + _SUITE.encrypt(ours, ephemeral.hpke, info=_answer_info(data))
        salt = _transcript(key.public, data, head)
        self._share(offer[:_SECRET_BYTES] + ours, salt, role="verifier")
        return head + self.seal(welcome)

    def _opened(self, sealed: bytes) -> tuple[VerifierKey, bytes]:
        """The first key that opens the offer, and the offer."""
        for key in self._keys:
            try:
                return key, _SUITE.decrypt(sealed, key.hpke, info=_HELLO_INFO)
            except Exception:  # noqa: S112  # sealed to another one
                continue
        raise ValueError


def _frame_size(n: int, shape: Shape) -> int:
    if n > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {n} bytes; a frame holds at most {MAX_MESSAGE_BYTES}")
    smallest = next(size for size in FRAME_BYTES if n + _FRAME_OVERHEAD_BYTES <= size)
    if shape is Shape.PADDED:
        return smallest
    if smallest > CONSTANT_FRAME_BYTES:
        most = CONSTANT_FRAME_BYTES - _FRAME_OVERHEAD_BYTES
        raise WireError(f"message of {n} bytes; a frame of the constant size holds at most {most}")
    return CONSTANT_FRAME_BYTES


def _answer_info(hello: bytes) -> bytes:
    return _ANSWER_INFO + hashlib.sha256(hello).digest()


def _transcript(pinned: VerifierPublicKey, hello: bytes, answer: bytes) -> bytes:
    """SHA-256 over parts of fixed sizes, so that no two transcripts read alike."""
    return hashlib.sha256(pinned.raw + hello + answer).digest()


def _derive(secrets: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secrets)
