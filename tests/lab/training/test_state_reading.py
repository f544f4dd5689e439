"""The network that reads states as the verifier does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.vocabulary import BOS, Vocabulary
from ugsd_lab.training import state_reading
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_lab.training.state_reading import (
    as_received,
    fit_state_reading,
    shared_prefixes,
    verifier_readings,
    write_state_reading,
)
from ugsd_privacy.protocol.messages import AskedSlot
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.slot_table import SlotTable, parse_slots
from ugsd_sdk.drafter.state_reading import StateReading
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.verifier import VerifierInfo
from ugsd_server.verifier.onnx import OnnxScorer

from tests.doubles.speech import recorded_clips

PREFIXES = ((), (7,))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_reading, "STEPS", 500)


@pytest.fixture(scope="module")
def table(vocabulary: Vocabulary) -> SlotTable:
    return parse_slots(vocabulary.slots_json, num_tokens=len(vocabulary))


class _Cache:
    def crop(self, length: int) -> None: ...


class PlantedScorer:
    """A verifier of two projections that reads an emotion from the second one's columns, wants one
    word more after longer prefixes, and refuses states anywhere but at the start."""

    def __init__(self, vocabulary: Vocabulary, dim: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._stating = vocabulary.stating_tokens()
        self._weights = 4 * rng.normal(size=(dim, len(EMOTIONS)))
        self._dim = dim
        self.info = VerifierInfo(
            "planted", "CC0-1.0", bytes(32), (bytes(32), b"\1" * 32), BOS, 2, len(vocabulary),
            dim, 96, frozenset(), {AskedSlot.EMOTION: tuple(self._stating.values())},
        )  # fmt: skip

    def new_cache(self) -> _Cache:
        return _Cache()

    def extend(
        self,
        cache: object,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        assert tokens[0] == BOS
        assert has_state.tolist() == [1] + [0] * (len(tokens) - 1)
        assert not states[0, : self._dim].any()
        scores = np.zeros((len(tokens), self.info.vocabulary_size), dtype=np.float32)
        wanted = self.reading(states[0, self._dim :])
        for place, stating in enumerate(self._stating.values()):
            own = stating[0] if len(tokens) == 1 else stating[-1]
            scores[-1, own] = 12 + np.log(wanted[place])
        return scores

    def reading(self, state: NDArray[np.float32]) -> NDArray[np.float64]:
        likely = np.exp(state @ self._weights)
        return np.asarray(likely / likely.sum())


def points(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_probabilities_are_those_of_all_words(vocabulary: Vocabulary, table: SlotTable) -> None:
    scorer, states = PlantedScorer(vocabulary, 5), as_received(points(20, 5, 1))
    found = verifier_readings(scorer, table, states, PREFIXES, projection=1)
    expected = np.stack([scorer.reading(state) for state in states])
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("dim", [2, 6, 25])
def test_network_agrees_on_states_that_it_never_saw(
    vocabulary: Vocabulary, table: SlotTable, tmp_path: Path, dim: int
) -> None:
    scorer = PlantedScorer(vocabulary, dim)
    known, unseen = points(400, dim, 1), points(150, dim, 2)
    fit = fit_state_reading(scorer, table, known, unseen, PREFIXES, projection=1)
    assert fit.agreement >= 0.9
    assert fit.distance <= 0.1
    assert (len(fit.layers[0].weights), len(fit.layers[-1].bias)) == (dim, len(EMOTIONS))

    for name in ("model.json", "vocabulary.json"):
        shutil.copy(STARTER_DRAFTER / name, tmp_path)
    description = json.loads((tmp_path / "model.json").read_text()) | {"state_dim": dim}
    (tmp_path / "model.json").write_text(json.dumps(description))
    write_state_reading(tmp_path, fit)
    reading = StateReading.load(DrafterBundle(tmp_path))
    assert reading is not None
    assert (reading.agreement, reading.distance) == (fit.agreement, fit.distance)
    received = as_received(unseen)
    own = [next(iter(reading.read(state))) for state in received]
    theirs = [EMOTIONS[scorer.reading(state).argmax()] for state in received]
    assert np.mean([a == b for a, b in zip(own, theirs, strict=True)]) >= 0.9


def test_same_data_give_the_same_network(vocabulary: Vocabulary, table: SlotTable) -> None:
    scorer, states = PlantedScorer(vocabulary, 3), points(40, 3, 1)
    one, two = (
        fit_state_reading(scorer, table, states, states, ((),), projection=1, seed=4)
        for _ in range(2)
    )
    assert one == two


def test_prefixes_favour_no_emotion(vocabulary: Vocabulary, table: SlotTable) -> None:
    prefixes = shared_prefixes(vocabulary, table)
    assert len(prefixes) >= state_reading._NUM_PREFIXES
    assert len(set(prefixes)) == len(prefixes)
    for prefix in prefixes:
        assert table.emotions_in(prefix) == set()


@pytest.mark.parametrize("name", [STARTER])
def test_bundled_network_agrees_with_the_bundled_verifier(name: str) -> None:
    bundle, rng = DrafterBundle.of(name), np.random.default_rng(0)
    reading, drafter, scorer = (
        StateReading.load(bundle), OnnxDrafter(bundle.folder), OnnxScorer(STARTER_FOLDER)
    )  # fmt: skip
    assert reading is not None
    drafter.load()
    scorer.load()
    table, projection = drafter.info.slot_table, drafter.info.projection
    assert table is not None
    heard = [drafter.start(drafter.encode([clip])).predict().state for clip in recorded_clips()]
    near = np.repeat(heard, 10, axis=0) + rng.normal(0, 0.03, (10 * len(heard), len(heard[0])))
    prefixes = shared_prefixes(Vocabulary.load(bundle.folder), table)[:4]
    for states, least in (as_received(near), 0.9), (points(100, reading.state_dim, 5), 0.8):
        index = scorer.info.projections.index(projection)
        theirs = verifier_readings(scorer, table, states, prefixes, index)
        own = np.array([[reading.read(state)[value] for value in EMOTIONS] for state in states])
        assert np.mean(own.argmax(1) == theirs.argmax(1)) >= least
        assert np.abs(own - theirs).sum(1).mean() / 2 <= 0.15
    drafter.close()
    scorer.close()
