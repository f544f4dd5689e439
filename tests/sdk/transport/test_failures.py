"""Errors of a connection: each caller gets a new one, which names the next step."""

from __future__ import annotations

import ssl

import pytest
from ugsd_privacy.errors import BudgetExceeded, UnknownVersion
from ugsd_sdk.concurrency.fresh_errors import fresh
from ugsd_sdk.errors import TransportError, VerifierMismatch, VerifierRefused, VerifierUnreachable
from ugsd_sdk.transport import failures
from ugsd_sdk.transport.connection import Connection
from websockets.uri import parse_uri

MAKERS = {
    "broke_protocol": failures.broke_protocol,
    "closed_here": failures.closed_here,
    "closed_there": lambda: failures.closed_there(1000),
    "flooded": failures.flooded,
    "forked": failures.forked,
    "lost": failures.lost,
    "no_resources": failures.no_resources,
    "no_tunnel": lambda: failures.no_tunnel("localhost:3128", 407),
    "nobody_at": lambda: failures.nobody_at("localhost"),
    "sent_text": failures.sent_text,
    "without_tls": lambda: failures.without_tls(ssl.SSLError(), "localhost"),
}


def test_every_failure_is_tested() -> None:
    assert set(failures.__all__) == {*MAKERS, "always"}


@pytest.mark.parametrize("name", MAKERS)
def test_every_failure_names_the_next_step(name: str) -> None:
    cause, colon, step = str(MAKERS[name]()).partition(": ")
    assert all((cause, colon, step))


@pytest.mark.parametrize(
    "error",
    [
        BudgetExceeded("hour.frames", limit=1, used=1, wanted=1),
        VerifierRefused("overloaded"),
        UnknownVersion(3),
        VerifierUnreachable("gone: try again", close_code=1008, reason="tls failed"),
        VerifierMismatch("another: ask"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fresh_error_equals_the_original(error: Exception) -> None:
    error.__cause__ = ValueError("why")
    new = fresh(error)
    assert new is not error
    assert (type(new), str(new), vars(new)) == (type(error), str(error), vars(error))
    assert new.__cause__ is error.__cause__
    assert new.__traceback__ is None


def test_callers_never_share_an_error() -> None:
    connection = Connection(parse_uri("ws://127.0.0.1:1"))
    raised = []
    for call in (lambda: connection.open(5), lambda: connection.send(b""), connection.close):
        try:
            call()
        except TransportError as error:
            raised.append(error)
    with pytest.raises(TransportError) as last:
        connection.receive(0)
    assert len({id(error) for error in [*raised, last.value]}) == 3
    assert len({str(error) for error in [*raised, last.value]}) == 1
