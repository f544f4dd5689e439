"""The benchmark of many callers and users, measured small."""

from __future__ import annotations

import sys

import pytest
from ugsd_lab.bench import callers, user_memory
from ugsd_lab.bench.machine_load import MachineLoad


def test_all_systems_make_all_captions() -> None:
    rounds: list[int] = []
    study = callers.bench_callers(2, 2, 4, lambda _, done, *__: rounds.append(done))
    assert rounds == [1, 2]
    one, locked, together = study.systems
    assert (one.callers, locked.callers, together.callers) == (1, 2, 2)
    assert one.ratio == one.ratio_low == one.ratio_high == 1
    for system in study.systems:
        assert 0 < system.p50_ms <= system.p95_ms
        assert system.ratio_low <= system.ratio <= system.ratio_high
    ratio = together.captions_per_s / one.captions_per_s
    assert together.ratio_low <= ratio * 1.05
    assert together.ratio_high >= ratio / 1.05
    (table,) = callers.tables(study)
    assert [row[0] for row in table.rows] == [one.system, locked.system, together.system]
    assert [bool(row[-1]) for row in table.rows] == [False, False, True]
    assert callers.notes(study)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_users_is_measured() -> None:
    found = user_memory.measure_user_memory(2, lambda *_: None)
    alone, connected, all_users = found
    assert (alone.users, connected.users, all_users.users) == (2, 2, 2)
    assert alone.threads == pytest.approx(0)
    assert connected.threads == pytest.approx(1), "each connection has a thread"
    (table,) = user_memory.tables(found)
    assert len(table.rows) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_load_is_shared_by_all() -> None:
    before = tuple(0 for _ in MachineLoad.counters())
    load = MachineLoad.since(before, seconds=1, own_cpu_s=0)
    assert 0 <= load.idle <= 1
    assert load.idle + load.others == pytest.approx(1)
