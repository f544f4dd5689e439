from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ugsd_privacy.budget import CAPS, MEASURES, WINDOWS, BudgetLimits, Usage, check_caps
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.egress import CaptionHandle
from ugsd_privacy.errors import BudgetExceeded

DELTA = 1e-6
ONE = dp.privacy_cost(sensitivity=2.0, sigma=4.0, vectors=1)
"""Privacy cost of a state with noise of four clip norms."""
COUNTED = [cap for cap in CAPS if not cap.startswith("epsilon")]

usages = st.builds(
    Usage,
    blocks=st.integers(0, 20),
    tokens=st.integers(0, 20),
    frames=st.integers(0, 20),
    bytes=st.integers(0, 20),
    privacy_cost=st.sampled_from([0, ONE, 3 * ONE, dp.UNBOUNDED_COST]),
)
caps = {cap: st.none() | st.integers(0, 40) for cap in CAPS}
limits = st.builds(BudgetLimits, **caps)
used = st.fixed_dictionaries(dict.fromkeys(WINDOWS, usages))


@given(limits, usages, used)
def test_passed_check_exceeds_no_cap(
    limits: BudgetLimits, wanted: Usage, used: dict[str, Usage]
) -> None:
    def passes(cap: str) -> bool:
        measure, window = cap.split("_per_")
        limit = getattr(limits, cap)
        if limit is None:
            return True
        if measure == "epsilon":
            total = used[window].privacy_cost + wanted.privacy_cost
            return not wanted.privacy_cost or dp.epsilon_of_privacy_cost(total, DELTA) <= limit
        more = getattr(wanted, measure)
        return bool(more == 0 or getattr(used[window], measure) + more <= limit)

    passed = [cap for cap in CAPS if not passes(cap)]
    if not passed:
        check_caps(limits, wanted, used)
        return
    with pytest.raises(BudgetExceeded) as refusal:
        check_caps(limits, wanted, used)
    measure, window = passed[0].split("_per_")
    assert refusal.value.cap == passed[0]
    assert refusal.value.used == used[window].measured(measure, DELTA)
    assert refusal.value.limit == getattr(limits, passed[0])
    assert refusal.value.wanted > 0


@pytest.mark.parametrize("cap", COUNTED)
def test_each_cap_may_be_used_up_exactly(cap: str) -> None:
    limits = BudgetLimits.without_caps(**{cap: 5})
    two, three = (Usage(n, n, n, n) for n in (2, 3))
    check_caps(limits, three, dict.fromkeys(WINDOWS, two))
    with pytest.raises(BudgetExceeded, match=cap) as refusal:
        check_caps(limits, three, dict.fromkeys(WINDOWS, three))
    assert refusal.value.cap == cap


@pytest.mark.parametrize("window", WINDOWS)
def test_epsilon_cap_may_be_used_up_exactly(window: str) -> None:
    cap = f"epsilon_per_{window}"
    three = dp.epsilon_of_privacy_cost(3 * ONE, DELTA)
    limits = BudgetLimits.without_caps(**{cap: three})
    check_caps(limits, Usage(privacy_cost=ONE), {window: Usage(privacy_cost=2 * ONE)})
    with pytest.raises(BudgetExceeded, match=cap) as refusal:
        check_caps(limits, Usage(privacy_cost=ONE), {window: Usage(privacy_cost=3 * ONE)})
    assert refusal.value.used == three
    check_caps(limits, Usage(blocks=1), {window: Usage(privacy_cost=3 * ONE)})


@pytest.mark.parametrize("window", WINDOWS)
def test_epsilon_cap_blocks_states_without_noise(window: str) -> None:
    limits = BudgetLimits.without_caps(**{f"epsilon_per_{window}": 1e300})
    with pytest.raises(BudgetExceeded, match="epsilon") as refusal:
        check_caps(limits, Usage(privacy_cost=dp.UNBOUNDED_COST), {window: Usage()})
    assert refusal.value.wanted == float("inf")


def test_window_that_is_not_charged_has_no_caps() -> None:
    check_caps(BudgetLimits(bytes_per_caption=0), Usage(bytes=10), {"day": Usage()})


def test_zero_blocks_everything_and_none_blocks_nothing() -> None:
    closed = BudgetLimits.without_caps(**dict.fromkeys(CAPS, 0))
    for wanted in (Usage(blocks=1), Usage(frames=1), Usage(privacy_cost=1)):
        with pytest.raises(BudgetExceeded):
            check_caps(closed, wanted, dict.fromkeys(WINDOWS, Usage()))
    huge = Usage(2**60, 2**60, 2**60, 2**60, dp.UNBOUNDED_COST)
    check_caps(BudgetLimits.without_caps(), huge, dict.fromkeys(WINDOWS, huge))


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks_per_day": -1},
        {"blocks_per_day": 1.5},
        {"blocks_per_day": True},
        {"blocks_per_week": 1},
        {"epsilon_per_day": -0.1},
        {"epsilon_per_day": float("inf")},
        {"delta": 0},
        {"delta": None},
    ],
)
def test_unknown_or_invalid_caps_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BudgetLimits.model_validate(wrong)


@given(limits, st.dictionaries(st.sampled_from(CAPS), st.integers(0, 40)))
def test_owner_caps_only_tighten(limits: BudgetLimits, own: dict[str, int]) -> None:
    both = limits.with_stricter_caps(own)
    for cap in CAPS:
        set_caps = [v for v in (getattr(limits, cap), own.get(cap)) if v is not None]
        assert getattr(both, cap) == (min(set_caps) if set_caps else None)


@given(limits, used)
def test_remaining_and_used_add_up_to_cap(limits: BudgetLimits, used: dict[str, Usage]) -> None:
    remaining = limits.remaining(used)
    assert set(remaining) == {cap for cap in CAPS if getattr(limits, cap) is not None}
    for cap, value in remaining.items():
        measure, window = cap.split("_per_")
        amount = used[window].measured(measure, DELTA)
        assert value == max(0, getattr(limits, cap) - amount)


@given(usages, usages, usages)
def test_usage_addition_is_commutative_and_bounded(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c) == c + b + a
    assert (a + b).privacy_cost <= dp.UNBOUNDED_COST
    assert (a + b).measured("epsilon", DELTA) >= a.measured("epsilon", DELTA)


RANGES = {
    "blocks": (0, 6),
    "tokens": (0, 40),
    "frames": (0, 8),
    "bytes": (0, 9000),
    "epsilon": (0, 4),
}
RECORDINGS = (b"r" * 16, b"s" * 16)


@settings(max_examples=25)
@given(st.data())
def test_no_sequence_of_egress_exceeds_a_cap(
    new_world: Callable[[Path], object], data: st.DataObject
) -> None:
    """The test itself counts what the server opens, and compares it with the caps."""
    drawn = {
        cap: data.draw(st.none() | st.integers(*RANGES[cap.split("_per_")[0]])) for cap in CAPS
    }
    sigma = data.draw(st.sampled_from([None, 4.0]))
    limits = BudgetLimits.without_caps(**drawn)
    with tempfile.TemporaryDirectory() as directory:
        world = new_world(Path(directory) / "ledger")
        usage: dict[tuple[str, object], Usage] = {}

        def count(amount: Usage, caption: CaptionHandle | None) -> None:
            hour = int(world.now_s // 3600)
            windows = [("hour", hour), ("day", hour // 24), ("lifetime", 0)]
            if caption is not None:
                windows.append(("caption", caption.id))
                windows += [("recording", caption.recording)] * bool(caption.recording)
            for window in windows:
                usage[window] = usage.get(window, Usage()) + amount

        with world.ledger:
            egress = world.egress(limits=limits, sigma=sigma)
            try:
                captions = [world.connect(egress)]
            except BudgetExceeded:
                return
            count(Usage(frames=1, bytes=2386), None)
            for step in data.draw(st.lists(st.sampled_from("bbbbcrrhd"), max_size=15)):
                if step in "cr":
                    recording = data.draw(st.sampled_from(RECORDINGS)) if step == "r" else None
                    captions.append(egress.begin_caption(world.channel, recording=recording))
                elif step in "hd":
                    world.now_s += 3600 if step == "h" else 86_400
                else:
                    caption = data.draw(st.sampled_from(captions))
                    size = data.draw(st.integers(1, 20))
                    try:
                        frame = egress.seal_block(world.channel, caption, world.escalation(size))
                    except BudgetExceeded:
                        continue
                    assert world.server.open(frame.data)
                    cost = dp.UNBOUNDED_COST if sigma is None else size * ONE
                    count(Usage(1, size, 1, len(frame.data), cost), caption)
                    assert egress.usage(caption) == usage["caption", caption.id]
        for (window, _), total in usage.items():
            for measure in MEASURES:
                cap = drawn[f"{measure}_per_{window}"]
                assert cap is None or total.measured(measure, DELTA) <= cap
