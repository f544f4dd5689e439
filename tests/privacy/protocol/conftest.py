"""Fixtures of the tests of the protocol."""

from __future__ import annotations

import pytest
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import (
    ClientChannel,
    ServerChannel,
)

from tests.privacy.protocol.channel_pairs import Connect, Pair


@pytest.fixture(scope="module")
def connect(verifier_key: VerifierKey) -> Connect:
    def connected() -> Pair:
        client, server = ClientChannel(verifier_key.public), ServerChannel(verifier_key)
        client.receive_hello(server.receive_hello(client.hello(), b"welcome"))
        return client, server

    return connected
