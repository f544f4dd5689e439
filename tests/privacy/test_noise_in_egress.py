"""The noise that the egress adds, charges and logs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import dequantise, exponent_of
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.errors import BudgetExceeded
from ugsd_privacy.protocol.messages import (
    MAX_EXPONENT,
    AskedSlot,
    Disclosure,
    decode_device_message,
)

DELTA = 1e-6
ONE = dp.privacy_cost(sensitivity=2.0, sigma=4.0, vectors=1)
STATE = np.full((1, 16), 0.1, np.float32)
SUMMARY = Escalation(Disclosure.SUMMARY, 0, (), (7,), (0,), STATE)
WEIGHTS = dataclasses.replace(
    SUMMARY,
    disclosure=Disclosure.DISTRIBUTIONS,
    slot=AskedSlot.EMOTION,
    draft_weights=bytes([3, 0, 252]),
)
TOKENS = dataclasses.replace(
    SUMMARY, disclosure=Disclosure.TOKENS, state_positions=(), states=STATE[:0]
)


def sent_states(world, egress: Egress, caption, escalation: Escalation = SUMMARY):
    frame = egress.seal_block(world.channel, caption, escalation)
    block = decode_device_message(world.server.open(frame.data))
    return dequantise(block.states, block.state_dim, block.exponent)


def last_record(world) -> EgressRecord:
    return world.record(-1)


def test_states_are_sent_with_fresh_charged_noise(world) -> None:
    egress = world.egress(sigma=0.25, limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    states = np.stack([sent_states(world, egress, caption)[0] for _ in range(300)])
    assert len({row.tobytes() for row in states}) == 300
    off = states - STATE
    assert abs(off.mean()) < 0.02
    assert abs(off.std() - 0.25) < 0.02
    record = last_record(world)
    assert record.sigma == 0.25
    assert record.spend == dp.privacy_cost(sensitivity=2.0, sigma=0.25, vectors=1)


def test_strong_noise_is_neither_clamped_nor_biased(world) -> None:
    egress = world.egress(sigma=8.0, limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    states = np.concatenate([sent_states(world, egress, caption) for _ in range(200)])
    assert last_record(world).exponent == exponent_of(8.0) == 6
    assert np.mean(np.abs(states) >= 2**6) < 0.01
    assert abs(states.mean() - 0.1) < 4 * 8 / math.sqrt(states.size)
    assert abs(states.std() - 8) < 0.5


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=arrays(np.float32, (1, 4), elements=st.floats(-1, 1, width=32)))
def test_exponent_depends_on_sigma_alone(world, state) -> None:
    found = set()
    for sigma in (None, 0.5, 128.0):
        egress = world.egress(sigma=sigma, limits=BudgetLimits.without_caps())
        caption = world.connect(egress)
        sent_states(world, egress, caption, dataclasses.replace(SUMMARY, states=state))
        found.add((sigma, last_record(world).exponent))
    assert found == {(None, 0), (0.5, 2), (128.0, MAX_EXPONENT)}


def test_draft_weights_remove_the_bound_despite_noise(world) -> None:
    egress = world.egress(sigma=4.0, limits=BudgetLimits.without_caps(epsilon_per_day=100))
    caption = world.connect(egress)
    with pytest.raises(BudgetExceeded, match="epsilon_per_day"):
        egress.seal_block(world.channel, caption, WEIGHTS)
    egress = world.egress(sigma=4.0, limits=BudgetLimits.without_caps())
    egress.seal_block(world.channel, caption, WEIGHTS)
    without_states = dataclasses.replace(WEIGHTS, state_positions=(), states=STATE[:0])
    for escalation, sigma in ((WEIGHTS, 4.0), (without_states, None)):
        egress.seal_block(world.channel, caption, escalation)
        record = last_record(world)
        assert (record.spend, record.sigma) == (dp.UNBOUNDED_COST, sigma)
    assert world.egress().used()["day"].measured("epsilon", DELTA) == math.inf


def test_noise_uses_only_the_callers_randomness(world) -> None:
    twice = []
    for _ in range(2):
        egress = world.egress(sigma=1.0, entropy=lambda n: bytes(range(1, 200))[:n].ljust(n, b"k"))
        twice.append(sent_states(world, egress, world.connect(egress)).tobytes())
    assert twice[0] == twice[1] != STATE.tobytes()


def test_no_noise_is_charged_without_states(world) -> None:
    egress = world.egress(sigma=1.0, limits=BudgetLimits.without_caps(epsilon_per_caption=0))
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, TOKENS)
    assert (last_record(world).sigma, last_record(world).spend) == (None, 0)
    assert egress.usage(caption).privacy_cost == 0


@pytest.mark.parametrize("window", ["caption", "hour", "day", "lifetime"])
def test_epsilon_cap_limits_number_of_states(world, window: str) -> None:
    three = dp.epsilon_of_privacy_cost(3 * ONE, DELTA)
    limits = BudgetLimits.without_caps(**{f"epsilon_per_{window}": three})
    egress = world.egress(sigma=4.0, limits=limits)
    caption = world.connect(egress)
    for _ in range(3):
        egress.seal_block(world.channel, caption, SUMMARY)
    with pytest.raises(BudgetExceeded) as refusal:
        egress.seal_block(world.channel, caption, SUMMARY)
    assert refusal.value.cap == f"epsilon_per_{window}"
    egress.seal_block(world.channel, caption, TOKENS)


def test_states_of_block_compose_like_single_states(world) -> None:
    egress = world.egress(sigma=4.0, limits=BudgetLimits.without_caps())
    caption = world.connect(egress)
    egress.seal_block(world.channel, caption, world.escalation(5))
    five = egress.usage(caption).privacy_cost
    other = egress.begin_caption(world.channel)
    for _ in range(5):
        egress.seal_block(world.channel, other, SUMMARY)
    assert abs(egress.usage(other).privacy_cost - five) <= 5
    assert math.isclose(five / 1e9, 5 * (2 / 4.0) ** 2, rel_tol=1e-8)


def test_noise_of_several_sizes_composes(world) -> None:
    sigmas = (1.0, 4.0, 0.5)
    for sigma in sigmas:
        egress = world.egress(sigma=sigma, user="ada", limits=BudgetLimits.without_caps())
        sent_states(world, egress, world.connect(egress))
    spent = world.egress(user="ada").used()["lifetime"].privacy_cost
    assert spent == sum(dp.privacy_cost(sensitivity=2.0, sigma=s, vectors=1) for s in sigmas)
    mu = math.sqrt(sum((2 / s) ** 2 for s in sigmas))
    assert dp.delta_from_mu(epsilon=dp.epsilon_of_privacy_cost(spent, DELTA), mu=mu) <= DELTA
    assert world.verified().total.privacy_cost == spent


def test_one_state_without_noise_removes_the_bound(world) -> None:
    for sigma in (4.0, None, 4.0):
        egress = world.egress(sigma=sigma, user="ada", limits=BudgetLimits.without_caps())
        sent_states(world, egress, world.connect(egress))
    used = world.egress(user="ada").used()["day"]
    assert used.measured("epsilon", DELTA) == math.inf
    assert world.verified().total == used


@pytest.mark.parametrize("sigma", [0, -1.0, 128.1, 1e300, float("nan"), float("inf")])
def test_invalid_sigma_is_refused_by_constructor(world, sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma"):
        world.egress(sigma=sigma)
