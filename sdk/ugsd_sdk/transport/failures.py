"""The errors of a failed connection; each call creates a new one."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from ugsd_privacy.reasons import ReasonCode

from ugsd_sdk.concurrency.fresh_errors import fresh
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
    "no_tunnel",
    "nobody_at",
    "sent_text",
    "without_tls",
]

_CHECK_PEER = "check that the address is a verifier's, or ask its operator"


def nobody_at(where: str) -> VerifierUnreachable:
    return VerifierUnreachable(
        f"no verifier answers at {where}: check its address and whether it is running"
    )


def closed_there(code: int) -> TransportError:
    return VerifierUnreachable(
        "the verifier closed the connection: try again, or ask its operator", close_code=code
    )


def always(error: TransportError) -> Callable[[], TransportError]:
    return lambda: fresh(error)


def lost() -> TransportError:
    return VerifierUnreachable(
        "the connection to the verifier was lost: check the network, and try again"
    )


def no_tunnel(proxy: str, status: int | None) -> VerifierUnreachable:
    """Return the error for a proxy that answered ``CONNECT`` with ``status``, or with no HTTP."""
    answer = "does not answer as an HTTP proxy" if status is None else f"answers with {status}"
    return VerifierUnreachable(
        f"the proxy {proxy} opens no tunnel to the verifier, it {answer}: "
        "check verifier.proxy, or ask the proxy's operator"
    )


def no_resources() -> TransportError:
    return VerifierUnreachable(
        "this process cannot open another socket or thread: close some, or raise its limits"
    )


def closed_here() -> TransportError:
    return VerifierUnreachable("the connection is closed: connect again")


def forked() -> TransportError:
    return VerifierUnreachable(
        "the connection belongs to the parent process: create a captioner after the fork"
    )


def sent_text() -> TransportError:
    return VerifierMisbehaved(
        f"the verifier sent a text message instead of a binary one: {_CHECK_PEER}"
    )


def broke_protocol() -> TransportError:
    return VerifierMisbehaved(f"the verifier violated the websocket protocol: {_CHECK_PEER}")


def flooded() -> TransportError:
    return VerifierMisbehaved(
        f"the verifier sends too much unsolicited data, or reads nothing: {_CHECK_PEER}"
    )


def without_tls(error: ssl.SSLError, where: str) -> VerifierUnreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = (
            f"the TLS certificate of {where} is not trusted: check the address, "
            "and whether this machine trusts the certificate's issuer"
        )
    else:
        message = f"TLS with {where} failed: if the verifier has no TLS, use a ws:// address"
    return VerifierUnreachable(message, reason=ReasonCode.TLS_FAILED)
