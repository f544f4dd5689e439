"""The link's states follow only the transitions in the diagram."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection import link_state
from ugsd_sdk.connection.link_state import TRANSITIONS, LinkState
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.errors import TransportError, VerifierUnreachable

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[LinkState]:
    """Every state that a link enters, in order."""
    seen: list[LinkState] = []
    become = VerifierConnection._become

    def recording(self: VerifierConnection, state: LinkState) -> None:
        become(self, state)
        seen.append(self.state)

    monkeypatch.setattr(VerifierConnection, "_become", recording)
    return seen


def link_of(captioner: Captioner) -> VerifierConnection:
    link = captioner._pipeline().links.first
    assert link is not None
    return link


def test_link_connects_and_closes(new_captioner: New, states: list[LinkState]) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        assert link_of(captioner).state is LinkState.READY
    assert set(states[2:]) == {LinkState.CLOSED}
    assert states[:2] == [LinkState.CONNECTING, LinkState.READY]


def test_failed_attempt_backs_off(new_captioner: New, states: list[LinkState]) -> None:
    def nobody() -> Any:
        raise VerifierUnreachable("nobody is there")

    with new_captioner(verifier=nobody) as captioner:
        with pytest.raises(TransportError):
            captioner.wait_until_connected()
        link = link_of(captioner)
        assert link.state is LinkState.BACKING_OFF
        link._circuit.retry_at_s = float("inf")
        link.start_connecting()
        assert link.state is LinkState.BACKING_OFF, "it tried before the delay was over"
        link._circuit.retry_at_s = 0.0
        link.start_connecting()
        assert states[-1] in {LinkState.CONNECTING, LinkState.BACKING_OFF}
        assert states.count(LinkState.CONNECTING) >= 2


def test_dropped_session_backs_off(new_captioner: New) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link = link_of(captioner)
        link.drop(VerifierUnreachable("lost"))
        assert link.state is LinkState.BACKING_OFF
        captioner.wait_until_connected()
        assert link.state is LinkState.READY


def test_old_session_is_replaced_from_idle(
    new_captioner: New, states: list[LinkState], voice: Voice
) -> None:
    with new_captioner() as captioner:
        captioner.wait_until_connected()
        link_of(captioner)._session_lifetime_s = 0.0
        del states[:]
        captioner.caption(voice, 16_000)
        assert states == [LinkState.IDLE, LinkState.CONNECTING, LinkState.READY]


def test_closed_link_stays_closed(new_captioner: New) -> None:
    captioner = new_captioner()
    captioner.wait_until_connected()
    link = link_of(captioner)
    captioner.close()
    link.start_connecting()
    link.drop(VerifierUnreachable("late"))
    assert link.state is LinkState.CLOSED


def test_diagram_has_every_state() -> None:
    assert set(TRANSITIONS) == set(LinkState)
    diagram = link_state.__doc__ or ""
    assert all(state.name in diagram for state in LinkState)
