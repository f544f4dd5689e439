"""The forecast of questions: by the hours of earlier days, and by how busy today is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ugsd_sdk.decoding.demand_forecast import Demand

MIDNIGHT = 20_000 * 24
HOUR_S, DAY_S = 3600, 86_400
ENDS_S = float(MIDNIGHT * HOUR_S + DAY_S)


def at(hour: float) -> float:
    return (MIDNIGHT + hour) * HOUR_S


def earlier_days(*counts: tuple[int, int], days: int = 3) -> dict[int, int]:
    return {MIDNIGHT - 24 * day + hour: n for day in range(1, days + 1) for hour, n in counts}


def test_evening_peak_is_expected_until_it_is_over() -> None:
    demand = Demand(earlier_days((20, 300)))
    morning, night = demand.expected(at(9), ENDS_S), demand.expected(at(21), ENDS_S)
    assert 150 < morning < 300
    assert night < morning / 5


def test_busy_morning_raises_the_rest_of_the_day() -> None:
    usual = earlier_days((8, 200), (20, 200))
    busy, quiet = ({**usual, MIDNIGHT + 8: today} for today in (400, 50))
    assert Demand(busy).expected(at(9), ENDS_S) > 2 * Demand(quiet).expected(at(9), ENDS_S)


def test_first_day_goes_on_at_its_rate() -> None:
    demand = Demand({MIDNIGHT + 10: 60}, first_s=at(10))
    assert demand.expected(at(11), ENDS_S) < 0.5 * 60 * 13, "an hour may have been a burst"
    steady = Demand({MIDNIGHT + hour: 60 for hour in range(10, 14)}, first_s=at(10))
    assert 0.6 * 60 * 10 < steady.expected(at(14), ENDS_S) <= 60 * 10
    assert 15 < steady.expected(at(14), at(14.5)) <= 30


def test_one_hour_of_earlier_days_is_one_hour() -> None:
    demand = Demand(earlier_days((8, 100), (9, 40)) | {MIDNIGHT + 8: 50})
    assert 30 < demand.expected(at(8.5), at(9)) < 60


@given(
    st.dictionaries(st.integers(MIDNIGHT - 240, MIDNIGHT + 23), st.integers(0, 10**6)),
    st.floats(0, 23.999),
    st.floats(0, 1),
)
def test_forecast_is_never_negative_and_falls(by_hour, hour, part) -> None:
    demand, now_s = Demand(by_hour, at(0) if by_hour else None), at(hour)
    whole = demand.expected(now_s, ENDS_S)
    assert whole >= demand.expected(now_s, now_s + part * (ENDS_S - now_s)) >= 0
    assert demand.expected(ENDS_S, ENDS_S) == 0


def test_clock_that_was_wrong_does_not_stop_the_forecast() -> None:
    busy = {MIDNIGHT + hour: 60 for hour in range(10)}
    usual = Demand(busy, at(0)).expected(at(10), ENDS_S)
    assert usual > 300
    assert Demand(busy, 100.0).expected(at(10), ENDS_S) > 300
    assert Demand(busy | {MIDNIGHT + 50: 1}, at(0)).expected(at(10), ENDS_S) == usual
