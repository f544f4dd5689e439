"""What is said of a connection that fails; each call makes an error of its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from ugsd_sdk.errors import TransportError, VerifierMisbehaved, VerifierUnreachable

__all__ = [
    "always",
    "broke_protocol",
    "closed_here",
    "closed_there",
    "flooded",
    "forked",
    "lost",
    "no_resources",
    "nobody_at",
    "sent_text",
    "without_tls",
]


def nobody_at(where: str) -> VerifierUnreachable:
    return VerifierUnreachable(
        f"no verifier answers at {where}: check its address and that it runs"
    )


def closed_there(code: int) -> TransportError:
    return VerifierUnreachable("the verifier closed the connection", close_code=code)


def always(error: TransportError) -> Callable[[], TransportError]:
    return lambda: error


def lost() -> TransportError:
    return VerifierUnreachable("the connection to the verifier was lost")


def no_resources() -> TransportError:
    return VerifierUnreachable("this process cannot have another socket or thread: close some")


def closed_here() -> TransportError:
    return VerifierUnreachable("the connection is closed")


def forked() -> TransportError:
    return VerifierUnreachable(
        "the connection belongs to the process that this one was forked from"
    )


def sent_text() -> TransportError:
    return VerifierMisbehaved("the verifier sent text: its frames are binary")


def broke_protocol() -> TransportError:
    return VerifierMisbehaved("the verifier broke the websocket protocol")


def flooded() -> TransportError:
    return VerifierMisbehaved("the verifier sends more than anybody asked for, or reads nothing")


def without_tls(error: ssl.SSLError, where: str) -> VerifierUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = (
            f"the TLS certificate of {where} is not trusted: check the address, "
            "and that this machine knows who issued the certificate"
        )
    else:
        message = f"no TLS with {where}: a verifier without TLS has a ws:// address"
    return VerifierUnreachable(message, reason="tls failed")
