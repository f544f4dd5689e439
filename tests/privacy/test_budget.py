from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ugsd_privacy.budget import BudgetLimits, Usage, check_caps
from ugsd_privacy.errors import BudgetExceeded

MEASURES = ("blocks", "tokens", "bytes")
CAPS = [f"{measure}_per_{window}" for window in ("caption", "day") for measure in MEASURES]
NO_CAPS: dict[str, int | None] = dict.fromkeys(CAPS)

usages = st.builds(Usage, *(st.integers(0, 20) for _ in MEASURES))
limits = st.builds(BudgetLimits, **{cap: st.none() | st.integers(0, 40) for cap in CAPS})


@given(limits, usages, usages, usages)
def test_a_passed_check_leaves_no_cap_overspent(
    limits: BudgetLimits, wanted: Usage, caption: Usage, day: Usage
) -> None:
    used = {"caption": caption, "day": day}

    def passes(cap: str) -> bool:
        measure, window = cap.split("_per_")
        limit, more = getattr(limits, cap), getattr(wanted, measure)
        return limit is None or more == 0 or getattr(used[window], measure) + more <= limit

    passed = [cap for cap in CAPS if not passes(cap)]
    if not passed:
        check_caps(limits, wanted, caption=caption, day=day)
        return
    with pytest.raises(BudgetExceeded) as refusal:
        check_caps(limits, wanted, caption=caption, day=day)
    measure, window = passed[0].split("_per_")
    assert refusal.value.cap == passed[0]
    assert refusal.value.used == getattr(used[window], measure)
    assert refusal.value.wanted == getattr(wanted, measure)
    assert refusal.value.limit == getattr(limits, passed[0])


@pytest.mark.parametrize("cap", CAPS)
def test_each_cap_refuses_by_its_name_and_may_be_used_up(cap: str) -> None:
    limits = BudgetLimits.model_validate(NO_CAPS | {cap: 5})
    two, three = (Usage(n, n, n) for n in (2, 3))
    check_caps(limits, three, caption=two, day=two)
    with pytest.raises(BudgetExceeded, match=cap) as refusal:
        check_caps(limits, three, caption=three, day=three)
    assert refusal.value.cap == cap


def test_a_hello_is_charged_to_no_caption() -> None:
    limits = BudgetLimits(bytes_per_caption=0)
    check_caps(limits, Usage(bytes=10), caption=None, day=Usage())


def test_zero_lets_nothing_leave_and_none_anything() -> None:
    closed = BudgetLimits.model_validate(dict.fromkeys(CAPS, 0))
    with pytest.raises(BudgetExceeded):
        check_caps(closed, Usage(1, 1, 1), caption=Usage(), day=Usage())
    huge = Usage(2**60, 2**60, 2**60)
    check_caps(BudgetLimits.model_validate(NO_CAPS), huge, caption=huge, day=huge)


@pytest.mark.parametrize(
    "wrong", [{"blocks_per_day": -1}, {"blocks_per_day": 1.5}, {"frames_per_day": 1}]
)
def test_unknown_or_senseless_caps_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BudgetLimits.model_validate(wrong)


@settings(max_examples=15)
@given(st.data())
def test_no_sequence_of_passages_overspends(
    new_world: Callable[[Path], object], data: st.DataObject
) -> None:
    ranges = {"blocks": (0, 6), "tokens": (0, 40), "bytes": (0, 9000)}
    limits = BudgetLimits.model_validate(
        {
            f"{measure}_per_{window}": data.draw(st.none() | st.integers(*ranges[measure]))
            for measure in MEASURES
            for window in ("caption", "day")
        }
    )
    with tempfile.TemporaryDirectory() as directory:
        world = new_world(Path(directory) / "ledger")
        spent: dict[object, Usage] = {}
        with world.ledger:
            egress = world.egress(limits=limits)
            try:
                captions = [world.connect(egress)]
            except BudgetExceeded:
                return
            spent["day", 0] = egress.usage_today()
            for step in data.draw(st.lists(st.sampled_from("bbbbcd"), max_size=15)):
                if step == "c":
                    captions.append(egress.begin_caption(world.channel))
                elif step == "d":
                    world.now_s += 86_400
                else:
                    caption = data.draw(st.sampled_from(captions))
                    size = data.draw(st.integers(1, 20))
                    try:
                        frame = egress.seal_block(world.channel, caption, world.escalation(size))
                    except BudgetExceeded:
                        continue
                    assert world.server.open(frame.data)
                    cost = Usage(1, size, len(frame.data))
                    day = ("day", int(world.now_s - 43_200) // 86_400 - 20_000)
                    for window in (caption.id, day):
                        spent[window] = spent.get(window, Usage()) + cost
                    assert egress.usage(caption) == spent[caption.id]
                    assert egress.usage_today() == spent[day]
        for window, used in spent.items():
            kind = "day" if isinstance(window, tuple) else "caption"
            for measure in MEASURES:
                cap = getattr(limits, f"{measure}_per_{kind}")
                assert cap is None or getattr(used, measure) <= cap
