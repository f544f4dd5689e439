"""One session with a verifier: the handshake over a transport, then sealed frames each way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from ugsd_privacy.egress import SealedFrame
from ugsd_privacy.errors import HandshakeFailed, UnknownVersion
from ugsd_privacy.keys.verifier import VerifierPublicKey
from ugsd_privacy.protocol.channel import CHANNEL_VERSION, ClientChannel
from ugsd_privacy.protocol.messages import (
    WIRE_VERSION,
    Cover,
    Refusal,
    Verdict,
    Welcome,
    decode_server_message,
)
from ugsd_privacy.reasons import ReasonCode, reason_label

from ugsd_sdk.errors import VerifierMisbehaved, VerifierMismatch, VerifierUnreachable
from ugsd_sdk.home import OpenHome
from ugsd_sdk.transport import Transport

__all__ = ["ASK_OPERATOR", "PairIdentity", "Session", "open_session"]

ASK_OPERATOR = "check the verifier's address and release, or ask its operator"
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1; how a verifier answers a hello that it cannot read


@dataclass(frozen=True)
class PairIdentity:
    """What a drafter and its verifier must have in common."""

    vocabulary: bytes
    """SHA-256 of the vocabulary file."""
    projection: bytes
    """SHA-256 of the state projection."""
    state_dim: int


@dataclass
class Session:
    """A connection with its end-to-end channel, after the handshake."""

    transport: Transport
    channel: ClientChannel
    home: OpenHome
    welcome: Welcome
    projection: int
    """Index of the drafter's state projection in the welcome's list."""
    started_at_s: float
    unanswered: bool = False
    sent_at_s: float = 0.0

    def send(self, frame: SealedFrame) -> None:
        """Send a block's frame or a cover frame. Call :meth:`receive` once before the next."""
        self.unanswered, self.sent_at_s = True, monotonic()
        self.transport.send(frame)

    def receive(self, timeout_s: float) -> tuple[Verdict | Refusal | Cover, int]:
        """Return the answer to the last frame, and its size on the wire in bytes."""
        data = self.transport.receive(timeout_s)
        message = decode_server_message(self.channel.open(data))
        self.unanswered = False
        if isinstance(message, Welcome):
            raise VerifierMisbehaved(
                f"the verifier answered a block with a second welcome: {ASK_OPERATOR}"
            )
        return message, len(data)

    def close(self) -> None:
        """Close the channel and the transport."""
        self.channel.close()
        self.transport.close()


def open_session(
    transport: Transport,
    pinned: VerifierPublicKey,
    home: OpenHome,
    drafter: Callable[[], PairIdentity],
    *,
    remaining_s: Callable[[], float],
) -> Session:
    """Connect ``transport``, perform the handshake and check the verifier's welcome.

    ``remaining_s`` returns the time left for it. Raises a ``TransportError`` or ``PrivacyError``;
    the caller then closes ``transport``.
    """
    channel = ClientChannel(pinned)
    try:
        transport.connect(remaining_s())
        transport.send(home.egress.seal_hello(channel, timeout_s=remaining_s()))
        answer = transport.receive(remaining_s())
        message = decode_server_message(channel.receive_hello(answer))
    except VerifierUnreachable as error:
        if error.close_code == _POLICY_VIOLATION:
            raise VerifierMismatch(
                "the verifier does not have the pinned key, or does not support channel version "
                f"{CHANNEL_VERSION} of this device: ask its operator for its key and release"
            ) from error
        raise
    except UnknownVersion as error:
        raise VerifierMismatch(
            f"the verifier uses wire version {error.version}, this device {WIRE_VERSION}: "
            "install releases with the same wire version",
            reason=ReasonCode.OTHER_VERSION,
        ) from error
    except HandshakeFailed as error:
        raise VerifierMisbehaved(
            "the verifier's answer to the hello cannot be decrypted: it does not have the pinned "
            "key, or is another release; check address and key"
        ) from error
    ours = drafter()
    welcome = _require_pair(message, ours)
    projection = welcome.projections.index(ours.projection)
    return Session(transport, channel, home, welcome, projection, monotonic())


def _require_pair(message: Welcome | Verdict | Refusal | Cover, ours: PairIdentity) -> Welcome:
    """Return the welcome if the verifier's model belongs to the drafter."""
    if not isinstance(message, Welcome):
        raise VerifierMisbehaved(f"the handshake contains no welcome: {ASK_OPERATOR}")
    belongs = {
        ReasonCode.OTHER_VOCABULARY: message.vocabulary == ours.vocabulary,
        ReasonCode.OTHER_PROJECTION: (
            ours.projection in message.projections and message.state_dim == ours.state_dim
        ),
    }
    for code, is_same in belongs.items():
        if not is_same:
            raise VerifierMismatch(
                f"{reason_label(code)}: use a drafter and a verifier that were trained together",
                reason=code,
            )
    return message
