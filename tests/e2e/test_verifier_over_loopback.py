"""Captions over real sockets, with the real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
QUICK = VerifierSettings(deadline_s=0.3, caption_deadline_s=0.6, connect_timeout_s=2)
PATIENT = Settings(verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20))


@pytest.fixture
def new_captioner(drafter: ScriptedDrafter, tmp_path: Path) -> Callable[..., Captioner]:
    def new(url: str, key: str, **changes: Any) -> Captioner:
        given: dict[str, Any] = {
            "verifier": url,
            "verifier_key": key,
            "home": tmp_path / "home",
            "policy": AlwaysEscalate(),
            "config": Settings(verifier=QUICK),
        }
        return Captioner(drafter, **(given | changes))

    return new


@pytest.fixture
def drafter_text(drafter: ScriptedDrafter, voice: Voice) -> str:
    with Captioner(drafter) as captioner:
        return captioner.caption(voice, 16_000).text


@pytest.mark.parametrize(
    "disclosure", [one for one in Disclosure if one is not Disclosure.DISTRIBUTIONS]
)
def test_real_server_verifies_corrects_and_continues(
    run_server: Any, new_captioner: New, voice: Voice, tmp_path: Path, disclosure: Disclosure
) -> None:
    server = run_server()
    policy = AlwaysEscalate(disclosure)
    with new_captioner(server.url, server.public_key, policy=policy, config=PATIENT) as captioner:
        captioner.wait_until_connected(10)
        captions = [
            captioner.caption(voice * np.float32(gain), 16_000) for gain in (1, 0.8, 0.6, 0.4)
        ]
    sources = {token.source for caption in captions for token in caption.tokens}
    assert sources >= {TokenSource.VERIFIED, TokenSource.CORRECTED}
    for caption in captions:
        assert caption.unverified_reason is None
        assert caption.usage.num_frames == len(caption.receipts) >= 1
        assert (caption.usage.num_disclosed_states > 0) == (disclosure is not Disclosure.TOKENS)
    public = LogKey.load(tmp_path / "home" / "log.key").public
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        assert verify_log(ledger, public).total.blocks == sum(c.usage.num_blocks for c in captions)


def test_device_and_server_agree_on_kept_tokens(
    run_server: Any, new_captioner: New, voice: Voice
) -> None:
    server = run_server(rank=400)  # accepts everything, so that every block is sent
    with new_captioner(server.url, server.public_key, config=PATIENT) as captioner:
        captioner.wait_until_connected(10)
        caption = captioner.caption(voice, 16_000)
    assert caption.unverified_reason is None
    assert caption.usage.num_blocks == 5
    assert caption.usage.num_disclosed_tokens == 24
    assert {token.source for token in caption.tokens} == {TokenSource.VERIFIED}


def test_wrong_pinned_key_is_reported(run_server: Any, new_captioner: New, voice: Voice) -> None:
    server = run_server()
    other = VerifierKey.generate().public.to_text()
    with new_captioner(server.url, other) as captioner:
        with pytest.raises(Exception, match="pinned key"):
            captioner.wait_until_connected(5)
        caption = captioner.caption(voice, 16_000)
    assert why_of(caption.unverified_reason) == "wrong_verifier_key"
    assert caption.usage.num_frames == 0


def test_slow_server_costs_only_the_deadline(
    run_server: Any, new_captioner: New, voice: Voice, drafter_text: str
) -> None:
    server = run_server(delay_s=5)
    with new_captioner(server.url, server.public_key) as captioner:
        captioner.wait_until_connected(10)
        started = time.monotonic()
        caption = captioner.caption(voice, 16_000)
        elapsed = time.monotonic() - started
    assert (caption.text, why_of(caption.unverified_reason)) == (drafter_text, "deadline")
    assert 0.2 < elapsed < 1.9, "less than the default deadline, and than the server takes"
    assert caption.usage.num_frames == len(caption.receipts) == 1


def test_exhausted_budget_stops_at_the_cap(
    run_server: Any, new_captioner: New, voice: Voice
) -> None:
    server = run_server(rank=400)
    waits = VerifierSettings(deadline_s=10, caption_deadline_s=20)
    settings = Settings(verifier=waits, limits=BudgetLimits(tokens_per_day=12))
    with new_captioner(server.url, server.public_key, config=settings) as captioner:
        captioner.wait_until_connected(10)
        first, second = (captioner.caption(voice, 16_000) for _ in range(2))
    assert (
        why_of(first.unverified_reason)
        == why_of(second.unverified_reason)
        == "cap_exceeded: tokens_per_day"
    )
    assert (first.usage.num_blocks, second.usage.num_blocks) == (2, 0)


def test_captioners_in_turn_share_home_and_log(
    run_server: Any, new_captioner: New, voice: Voice, tmp_path: Path
) -> None:
    server = run_server()
    for _ in range(2):
        with new_captioner(server.url, server.public_key) as captioner:
            captioner.wait_until_connected(10)
            captioner.caption(voice, 16_000)
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        assert verify_log(ledger, LogKey.load(tmp_path / "home" / "log.key").public).size >= 4


def test_upgrade_request_is_minimal_and_constant(new_captioner: New, voice: Voice) -> None:
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            peer, _ = server.accept()
            with peer:
                requests.append(peer.recv(65_536))

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"ws://127.0.0.1:{server.getsockname()[1]}"
        with new_captioner(url, VerifierKey.generate().public.to_text()) as captioner:
            captioner.caption(voice, 16_000)
        thread.join()
    lines = requests[0].decode().split("\r\n")
    names = sorted(line.split(":")[0].lower() for line in lines[1:] if line)
    assert lines[0] == "GET / HTTP/1.1"
    assert names == ["connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"]
