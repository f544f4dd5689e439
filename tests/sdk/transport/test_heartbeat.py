"""Pings are sent on a fixed schedule, measure the round trip, and find a peer that has gone."""

from __future__ import annotations

import time

import pytest
from ugsd_sdk.concurrency.uptime import uptime_s
from ugsd_sdk.transport.heartbeat import LOST_AFTER_S, PING_BYTES, PING_INTERVAL_S, Heartbeat

START_S = 1000.0


def number(n: int) -> bytes:
    return n.to_bytes(PING_BYTES, "big")


def beating(seconds: float, *, answer_after_s: float | None = 0.1) -> tuple[Heartbeat, list[float]]:
    """Return a heartbeat after ``seconds`` in steps of 50 ms, and the times of its pings."""
    heart, times, answers = Heartbeat(START_S), [], []
    for step in range(int(seconds / 0.05) + 1):
        now_s = START_S + step * 0.05
        if answers and answers[0][0] <= now_s:
            heart.pong(answers.pop(0)[1], now_s)
        if (payload := heart.ping(now_s)) is not None:
            times.append(now_s - START_S)
            if answer_after_s is not None:
                answers.append((now_s + answer_after_s, payload))
    return heart, times


@pytest.mark.parametrize("answer_after_s", [0.1, 0.9, 4.0, None])
def test_pings_follow_the_clock_alone(answer_after_s: float | None) -> None:
    _, times = beating(21, answer_after_s=answer_after_s)
    assert times == pytest.approx([n * PING_INTERVAL_S for n in range(5)], abs=0.06)


def test_pings_count_up_in_constant_size() -> None:
    heart = Heartbeat(START_S)
    sent = [heart.ping(START_S + n * PING_INTERVAL_S) for n in range(300)]
    assert sent == [number(n) for n in range(300)]
    assert heart.ping(START_S) is None, "not before it is due"


def test_pongs_measure_the_round_trip() -> None:
    heart, _ = beating(30, answer_after_s=0.2)
    assert heart.round_trip is not None
    assert heart.round_trip.expected_s == pytest.approx(0.2, abs=0.06)


def test_pong_to_no_ping_is_ignored() -> None:
    heart = Heartbeat(START_S)
    heart.pong(number(0), START_S)
    heart.ping(START_S)
    for payload in (number(1), b"", b"\0"):
        heart.pong(payload, START_S + 0.1)
    assert heart.round_trip is None
    assert heart.is_late(START_S + 1.1)


def test_repeated_pong_measures_once() -> None:
    heart = Heartbeat(START_S)
    heart.ping(START_S)
    heart.pong(number(0), START_S + 0.1)
    once = heart.round_trip
    heart.pong(number(0), START_S + 3)
    assert heart.round_trip == once


def test_pong_answers_earlier_pings_too() -> None:
    heart = Heartbeat(START_S)
    heart.ping(START_S)
    heart.ping(START_S + PING_INTERVAL_S)
    heart.pong(number(1), START_S + PING_INTERVAL_S + 0.1)
    assert not heart.is_late(START_S + PING_INTERVAL_S + 4)


def test_silence_is_late_and_then_lost() -> None:
    heart = Heartbeat(START_S)
    heart.ping(START_S)
    assert not heart.is_late(START_S + 0.9)
    assert heart.is_late(START_S + 1.1)
    heart.ping(START_S + PING_INTERVAL_S)
    assert not heart.is_lost(START_S + LOST_AFTER_S - 0.1)
    assert heart.wakes_s <= START_S + LOST_AFTER_S
    assert heart.is_lost(START_S + LOST_AFTER_S + 0.1)


def test_slow_network_is_not_late() -> None:
    heart, _ = beating(4.9, answer_after_s=2.0)
    heart.ping(START_S + PING_INTERVAL_S)
    assert not heart.is_late(START_S + PING_INTERVAL_S + 2.5)


def test_sleep_loses_a_connection_whose_pings_were_answered() -> None:
    heart, _ = beating(9)
    assert not heart.is_lost(START_S + 9)
    assert not heart.is_lost(START_S + 15), "a nap"
    woken_s = START_S + 3600
    assert heart.is_lost(woken_s)


def test_clock_counts_at_least_the_time_awake() -> None:
    awake_s, first_s = time.monotonic(), uptime_s()
    time.sleep(0.01)
    assert uptime_s() - first_s >= 0.01
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert first_s >= awake_s


def test_schedule_makes_up_for_no_missed_ping() -> None:
    heart = Heartbeat(START_S)
    heart.ping(START_S)
    late_s = START_S + 3 * PING_INTERVAL_S + 1
    assert heart.ping(late_s) == number(1)
    assert heart.ping(late_s + 0.1) is None
    assert heart.ping(late_s + PING_INTERVAL_S) == number(2)
