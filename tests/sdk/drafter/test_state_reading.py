"""The reading of a state, by a network read from a drafter's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.bundle import STARTER, STATE_READING_FILE, DrafterBundle
from ugsd_sdk.drafter.state_reading import StateReading, parse_state_reading
from ugsd_sdk.errors import ModelError

from tests.doubles.state_readings import drafter_folder, reading_fields

DIM = 6


def loaded(folder: Path, fields: Any, *, state_dim: int = DIM) -> StateReading | None:
    return StateReading.load(DrafterBundle(drafter_folder(folder, fields, state_dim=state_dim)))


@given(
    arrays(np.float32, DIM, elements=st.floats(-1024, 1024, width=32)),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_any_state_has_a_distribution(state: Any, hidden: int, seed: int) -> None:
    fields = reading_fields(DIM, hidden=hidden, seed=seed)
    found = parse_state_reading(json.dumps(fields).encode()).read(state)
    assert set(found) == set(EMOTIONS)
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_reading_is_the_stored_network(tmp_path: Path) -> None:
    fields = reading_fields(2, hidden=1)
    first, second = fields["layers"]
    first.update(weights=[[1.0], [-2.0]], bias=[0.5])
    second.update(weights=[[float(n) for n in range(9)]], bias=[0.0] * 9)
    reading = loaded(tmp_path, fields, state_dim=2)
    assert reading is not None
    inner = np.tanh(0.3 + 2 * 0.1 + 0.5)
    expected = np.exp(inner * np.arange(9))
    found = reading.read(np.array([0.3, -0.1], dtype=np.float32))
    for place, emotion in enumerate(EMOTIONS):
        assert found[emotion] == pytest.approx(expected[place] / expected.sum(), rel=1e-5)


def test_drafter_without_the_file_reads_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, None) is None


@pytest.mark.parametrize("name", [STARTER])
def test_bundled_drafters_have_a_reading(name: str) -> None:
    bundle = DrafterBundle.of(name)
    reading = StateReading.load(bundle)
    assert reading is not None
    assert reading.state_dim == bundle.description().state_dim
    assert reading.agreement >= 0.9
    assert reading.distance <= 0.15


def test_state_of_another_size_is_refused(tmp_path: Path) -> None:
    reading = loaded(tmp_path, reading_fields(DIM))
    assert reading is not None
    for shape in (DIM + 1, (1, DIM)):
        with pytest.raises(ValueError, match="6 coordinates"):
            reading.read(np.zeros(shape, dtype=np.float32))


def test_file_about_other_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another size"):
        loaded(tmp_path, reading_fields(DIM + 1))


def test_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    bundle = DrafterBundle(drafter_folder(tmp_path, reading_fields(DIM), state_dim=DIM))
    path = tmp_path / STATE_READING_FILE
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="SHA-256"):
        StateReading.load(bundle)
    path.unlink()
    with pytest.raises(ModelError, match=STATE_READING_FILE):
        StateReading.load(bundle)


def _without_a_layer(fields: dict[str, Any]) -> None:
    del fields["layers"][0]


def _with_a_short_row(fields: dict[str, Any]) -> None:
    fields["layers"][0]["weights"][1].pop()


def _with_an_infinite_weight(fields: dict[str, Any]) -> None:
    fields["layers"][0]["bias"][0] = float("inf")


def _with_a_huge_weight(fields: dict[str, Any]) -> None:
    fields["layers"][1]["bias"][0] = 1e300


def _with_an_unknown_value(fields: dict[str, Any]) -> None:
    fields["values"][0] = "\x1b[31m"


def _with_a_value_twice(fields: dict[str, Any]) -> None:
    fields["values"][0] = fields["values"][1]


def _with_another_format(fields: dict[str, Any]) -> None:
    fields["format"] = 2


def _with_many_layers(fields: dict[str, Any]) -> None:
    square = {"weights": [[0.0] * 3] * 3, "bias": [0.0] * 3}
    fields["layers"][1:1] = [square] * 100


def _with_more(fields: dict[str, Any]) -> None:
    fields["more"] = 1


@pytest.mark.parametrize(
    "damage",
    [
        _without_a_layer, _with_a_short_row, _with_an_infinite_weight, _with_a_huge_weight,
        _with_an_unknown_value, _with_a_value_twice, _with_another_format, _with_many_layers,
        _with_more,
    ],
)  # fmt: skip
def test_damaged_file_is_a_model_error(tmp_path: Path, damage: Any) -> None:
    fields = reading_fields(DIM)
    damage(fields)
    with pytest.raises(ModelError, match="fit it again"):
        loaded(tmp_path, fields)
