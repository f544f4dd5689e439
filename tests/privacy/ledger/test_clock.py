"""Setting the clock back or forward gains no hours."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import BudgetExceeded
from ugsd_privacy.ledger.clock import SECONDS_PER_HOUR, Start, Uptime, hour_of, system_uptime

HOUR_S, DAY_S = 3600, 86_400
ONE_A_DAY = BudgetLimits.without_caps(blocks_per_day=1)
times = st.floats(0, 4e9)


@given(
    times, st.none() | st.builds(Uptime, st.sampled_from("ab"), times), times, st.integers(0, 10**6)
)
def test_hours_never_move_backwards(
    now_s: float, uptime: Uptime | None, at_s: float, last_hour: int
) -> None:
    for start in (None, Start("a", 5.0, at_s)):
        assert hour_of(now_s, uptime, start, last_hour)[0] >= last_hour


@given(times, st.lists(st.tuples(st.floats(0, 1e6), times), min_size=1))
def test_clock_change_without_reboot_changes_no_hour(
    first_s: float, later: list[tuple[float, float]]
) -> None:
    hour, start = hour_of(first_s, Uptime("boot", 100.0), None, 0)
    assert (hour, start) == (int(first_s // HOUR_S), Start("boot", 100.0, first_s))
    for elapsed_s, clock_s in later:
        now, new_start = hour_of(clock_s, Uptime("boot", 100.0 + elapsed_s), start, hour)
        assert new_start is None
        assert 0 <= now - hour <= elapsed_s // SECONDS_PER_HOUR + 1


def test_after_a_boot_a_later_clock_is_trusted() -> None:
    start = Start("one", 10.0, 50 * HOUR_S)
    later, new_start = hour_of(70 * HOUR_S, Uptime("two", 3.0), start, 50)
    assert (later, new_start) == (70, Start("two", 3.0, 70 * HOUR_S))
    earlier, new_start = hour_of(0.0, Uptime("two", 3.0), start, 50)
    assert (earlier, new_start) == (50, Start("two", 3.0, 50 * HOUR_S))


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="not Linux")
def test_system_reports_its_uptime() -> None:
    first, second = system_uptime(), system_uptime()
    assert first is not None
    assert second is not None
    assert first.boot == second.boot
    assert first.seconds <= second.seconds <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_clock_set_forward_gains_nothing_without_reboot(world) -> None:
    world.uptime = Uptime("boot", 100.0)
    egress = world.egress(limits=ONE_A_DAY)
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    for days in (1, -1, 400, 20_000, -30_000):
        world.now_s = max(0.0, world.now_s + days * DAY_S)
        world.uptime = Uptime("boot", world.uptime.seconds + 60)
        with pytest.raises(BudgetExceeded, match="blocks_per_day"):
            egress.seal_block(world.channel, caption, world.escalation())
    world.uptime = Uptime("boot", 100.0 + DAY_S)  # a day has really passed
    egress.seal_block(world.channel, caption, world.escalation())
    assert world.verified().total.blocks == 2


def test_clock_that_was_ahead_blocks_only_temporarily(world) -> None:
    true_s, world.now_s = world.now_s, world.now_s + 4000 * DAY_S
    world.uptime = Uptime("boot", 100.0)
    egress = world.egress(limits=ONE_A_DAY)
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    world.now_s = true_s
    world.uptime = Uptime("boot", 100.0 + DAY_S)
    egress.seal_block(world.channel, caption, world.escalation())
    world.uptime = Uptime("another boot", 1.0)  # the latest hour is still the minimum
    with pytest.raises(BudgetExceeded, match="blocks_per_day"):
        egress.seal_block(world.channel, caption, world.escalation())
    world.uptime = Uptime("another boot", 1.0 + DAY_S)
    egress.seal_block(world.channel, caption, world.escalation())


def test_lifetime_cap_holds_across_clock_changes_and_reboots(world) -> None:
    egress = world.egress(limits=BudgetLimits.without_caps(blocks_per_lifetime=3))
    caption = world.connect(egress)
    sealed, refused = 0, set()
    for number in range(12):
        world.now_s += (-1) ** number * number * 300 * DAY_S
        world.uptime = Uptime(f"boot {number}", float(number))
        try:
            egress.seal_block(world.channel, caption, world.escalation())
            sealed += 1
        except BudgetExceeded as refusal:
            refused.add(refusal.cap)
    assert (sealed, refused) == (3, {"blocks_per_lifetime"})


def test_without_uptime_the_clock_never_goes_back(world) -> None:
    egress = world.egress(limits=ONE_A_DAY)
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation())
    world.now_s -= 10 * DAY_S
    with pytest.raises(BudgetExceeded):
        egress.seal_block(world.channel, caption, world.escalation())
    world.now_s += 11 * DAY_S
    egress.seal_block(world.channel, caption, world.escalation())
