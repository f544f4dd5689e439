"""Connections are used by one caption at a time, and a verifier that is gone is gone for all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import Refusal, RefusalCode
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.connection.circuit import FAILURES_TO_OPEN, Circuit
from ugsd_sdk.connection.connection_pool import ConnectionPool
from ugsd_sdk.connection.link_state import LinkState
from ugsd_sdk.errors import VerifierTimeout, VerifierUnreachable
from ugsd_sdk.settings.config import Settings, VerifierSettings

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]


class Link:
    """A connection that is used by nobody else, or the test fails."""

    def __init__(self) -> None:
        self.state = LinkState.IDLE
        self.busy, self.is_awaiting_answer = threading.Lock(), False

    def start_connecting(self) -> None:
        self.state = LinkState.READY

    def stop(self) -> None:
        self.state = LinkState.CLOSED

    close = stop


def new_pool(size: int) -> tuple[ConnectionPool, list[Link]]:
    made: list[Link] = []

    def new() -> Any:
        made.append(Link())
        return made[-1]

    return ConnectionPool(new, size=size), made


def test_no_two_captions_share_a_connection() -> None:
    pool, made = new_pool(3)

    def use(_: int) -> None:
        with pool.acquired(20) as link:
            assert link.busy.acquire(blocking=False)  # type: ignore[attr-defined]
            threading.Event().wait(0.001)
            link.busy.release()  # type: ignore[attr-defined]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(200)))
    assert 1 <= len(made) <= 3


def test_one_caption_after_another_needs_one_connection() -> None:
    pool, made = new_pool(4)
    for _ in range(5):
        with pool.acquired(0):
            pass
    assert len(made) == 1


def test_connected_ones_are_lent_first() -> None:
    pool, made = new_pool(4)
    one, two = pool.acquire(0), pool.acquire(0)
    made[0].start_connecting()
    pool.release(one)
    pool.release(two)
    assert pool.acquire(0) is one


def test_full_pool_is_waited_for_and_named() -> None:
    pool, _ = new_pool(1)
    with pool.acquired(0), pytest.raises(VerifierTimeout, match="connections_per_user"):
        pool.acquire(0.05)
    threading.Timer(0.05, pool.stop).start()
    with pool.acquired(0), pytest.raises(VerifierUnreachable, match="closed"):
        pool.acquire(20)


def test_gone_verifier_costs_few_captions_of_all_users(new_captioner: New, voice: Voice) -> None:
    tried = []

    def gone() -> Any:
        tried.append(1)
        raise VerifierUnreachable("gone: try again")

    with new_captioner(verifier=gone) as captioner:
        reasons = [
            why_of(captioner.caption(voice, 16_000, user=f"user{index}").unverified_reason)
            for index in range(12)
        ]
    assert len(tried) <= FAILURES_TO_OPEN
    assert set(reasons[FAILURES_TO_OPEN:]) <= {
        "circuit_open: verifier_unreachable",
        "verifier_unreachable",
    }


def test_budget_of_one_user_delays_no_other(new_captioner: New, voice: Voice) -> None:
    settings = Settings(users={"ada": {"bytes_per_day": 0}})
    with new_captioner(config=settings) as captioner:
        for _ in range(FAILURES_TO_OPEN + 1):
            caption = captioner.caption(voice, 16_000, user="ada")
            assert why_of(caption.unverified_reason) == "cap_exceeded: bytes_per_day"
        assert captioner.caption(voice, 16_000, user="ben").unverified_reason is None


def test_session_lost_while_idle_is_no_failure(new_captioner: New, fake: Any, voice: Voice) -> None:
    transports = []

    def transport() -> Any:
        transports.append(fake.transport())
        return transports[-1]

    users = [f"user{index}" for index in range(FAILURES_TO_OPEN + 2)]
    with new_captioner(verifier=transport) as captioner:
        for _ in range(2):  # the second time after a restart of the verifier
            for user in users:
                assert captioner.caption(voice, 16_000, user=user).unverified_reason is None
            for one in transports:
                one.close()


def test_unnamed_people_use_several_connections(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    meeting, honest = threading.Barrier(2, timeout=10), fake.answer

    def answer(block: Any) -> Any:
        if block.start == 0:
            meeting.wait()
        return honest(block)

    fake.answer = answer
    patient = Settings(verifier=VerifierSettings(deadline_s=30, caption_deadline_s=30))
    with new_captioner(config=patient) as captioner, ThreadPoolExecutor(2) as threads:
        both = [threads.submit(captioner.caption, voice, 16_000) for _ in range(2)]
        assert [caption.result(20).unverified_reason for caption in both] == [None, None]


def test_only_one_trial_runs_at_a_time() -> None:
    circuit = Circuit(first_back_off_s=0.0)
    for _ in range(FAILURES_TO_OPEN):
        assert circuit.begin() is not None
        circuit.fail(VerifierUnreachable("gone: try again"))
    assert circuit.is_open
    trial = circuit.begin()
    assert trial is not None
    assert [circuit.begin() for _ in range(2)] == [None, None]
    trial.end()
    assert circuit.begin() is not None
    circuit.succeed()
    assert not circuit.is_open
    assert circuit.begin() is not None


def test_success_during_a_trial_leaves_none_behind() -> None:
    circuit = Circuit(first_back_off_s=0.0)
    for _ in range(FAILURES_TO_OPEN):
        circuit.fail(VerifierUnreachable("gone: try again"))
    trial = circuit.begin()
    assert trial is not None
    circuit.succeed()
    other = circuit.begin()
    assert other is not None
    for _ in range(FAILURES_TO_OPEN):
        circuit.fail(VerifierUnreachable("gone: try again"))
    other.end()
    assert circuit.begin() is None, "the trial of before still runs"
    trial.end()
    assert circuit.begin() is not None


def test_success_ends_the_delay_of_all() -> None:
    circuit = Circuit(first_back_off_s=100.0, jitter=lambda: 0.99)
    for _ in range(FAILURES_TO_OPEN):
        circuit.fail(VerifierUnreachable("gone: try again"))
    assert circuit.begin() is None
    circuit.succeed()
    assert circuit.begin() is not None


def test_refused_questions_of_one_silence_no_other(
    new_captioner: New, fake: Any, voice: Voice
) -> None:
    honest = fake.answer
    fake.answer = lambda block: Refusal(code=RefusalCode.INTERNAL)
    with new_captioner() as captioner:
        for _ in range(2 * FAILURES_TO_OPEN):
            refused = captioner.caption(voice, 16_000, user="ada").unverified_reason
            assert refused is not None
        fake.answer = honest
        for user in ("ben", "eve"):
            assert captioner.caption(voice, 16_000, user=user).unverified_reason is None
