"""Helpers of the tests of the channel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ugsd_privacy.errors import ChannelClosed
from ugsd_privacy.protocol.channel import (
    ClientChannel,
    ServerChannel,
)

Pair = tuple[ClientChannel, ServerChannel]
Connect = Callable[[], Pair]
ANSWER_BYTES = 2 + 1120 + 48 + 128


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def assert_closed(channel: ClientChannel | ServerChannel) -> None:
    with pytest.raises(ChannelClosed):
        channel.seal(b"x")
    with pytest.raises(ChannelClosed):
        channel.open(bytes(128))


def assert_no_oracle(failure: BaseException, like: BaseException) -> None:
    """Check that both failures have the same type and text, and no cause or details."""
    for error in (failure, like):
        assert error.__context__ is None
        assert error.__cause__ is None
        assert not getattr(error, "__notes__", None)
        assert vars(error) == {}
    assert type(failure) is type(like)
    assert failure.args == like.args
