"""Distils the verifier's reading of a state into a network that a device can run.

The owner of a device is shown which emotions the numbers that were sent reveal. The teacher is the
verifier: its probabilities of the emotions, given one state and nothing else of the clip. They are
averaged over several wordings, because the verifier may weigh the words that precede the emotion.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import log
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from ugsd_privacy.dp.mechanism import clip, dequantise, quantise
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import NUM_OPENINGS, NUM_VARIANTS, CaptionPlan
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.drafter.bundle import STATE_READING_FILE
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_server.verifier import CausalScorer
from ugsd_server.verifier.acceptance import probabilities
from ugsd_server.verifier.onnx import OnnxScorer

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.models.export import list_file
from ugsd_lab.training.profiles import running_profiles

__all__ = [
    "NetworkLayer",
    "StateReadingFit",
    "as_received",
    "fit_state_reading",
    "shared_prefixes",
    "verifier_readings",
    "write_state_reading",
    "write_state_readings",
]

HIDDEN = 32
"""Units of the hidden layer."""
STEPS = 2000
_NUM_PREFIXES = 2
_RANDOM_SHARE, _NOISED_SHARE = 0.5, 0.5
"""Random directions and noised states, as a share of the clips' own states."""
_LEAST_SIGMA, _MOST_SIGMA = 0.02, 8.0
_MOST_CLIPS = 1000
"""Clips of a split whose states are read; the verifier is asked about each several times."""
_DECIMALS = 5


@dataclass(frozen=True)
class NetworkLayer:
    """One linear layer: x -> x @ weights + bias."""

    weights: tuple[tuple[float, ...], ...]
    """(inputs, outputs)"""
    bias: tuple[float, ...]
    """(outputs,)"""


@dataclass(frozen=True)
class StateReadingFit:
    """The contents of ``state_reading.json``."""

    slot: str
    values: tuple[str, ...]
    """What the probabilities are of, in the order of the last layer's outputs."""
    layers: tuple[NetworkLayer, ...]
    """With tanh between them, and softmax after the last."""
    agreement: float
    """Share of held-out states for which verifier and network have the same likeliest value."""
    distance: float
    """Mean total variation distance of their probabilities on held-out states, 0 to 1."""


def as_received(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return states (n, d) as a verifier receives them without noise: clipped and rounded."""
    return dequantise(quantise(clip(states, 1.0), 1.0), states.shape[1])


def shared_prefixes(vocabulary: Vocabulary, table: SlotTable) -> list[tuple[int, ...]]:
    """Return the tokens before the first one that states the emotion, in those wordings of the
    first clause that begin alike for every emotion. Other beginnings favour some emotions."""
    found: dict[tuple[int, ...], set[str]] = {}
    wordings = product(range(NUM_OPENINGS), range(NUM_VARIANTS), EMOTIONS)
    for opening, variant, emotion in wordings:
        plan = CaptionPlan(CaptionLength.NORMAL, {}, opening=opening, variant=variant)
        tokens = vocabulary.encode(clauses(emotion, plan)[:1])
        stated = next(at for at, token in enumerate(tokens) if table.emotion_in([token]))
        found.setdefault(tuple(tokens[:stated]), set()).add(emotion)
    return [prefix for prefix, emotions in found.items() if emotions == set(EMOTIONS)]


def verifier_readings(
    scorer: CausalScorer,
    table: SlotTable,
    states: NDArray[np.float32],
    prefixes: Sequence[Sequence[int]],
    projection: int = 0,
) -> NDArray[np.float64]:
    """Return the verifier's probabilities (n, emotions) for states (n, d), each the state of
    position 0: of the tokens that state one emotion, normalised, and averaged over ``prefixes``.
    ``projection`` is the index of the states' own among those that the verifier reads."""
    dim, width = states.shape[1], scorer.info.input_dim
    own = slice(projection * dim, (projection + 1) * dim)
    stated = [table.emotion_in([token]) for token in range(scorer.info.vocabulary_size)]
    states_value = np.array([[one == emotion for emotion in EMOTIONS] for one in stated], float)
    readings = np.zeros((len(states), len(EMOTIONS)))
    for prefix, (row, state) in product(prefixes, enumerate(states)):
        tokens = np.array([scorer.info.bos, *prefix], dtype=np.int64)
        given = np.zeros((len(tokens), width), dtype=np.float32)
        has_state = np.zeros(len(tokens), dtype=np.float32)
        given[0, own], has_state[0] = state, 1
        scores = scorer.extend(scorer.new_cache(), tokens, given, has_state)
        by_value = probabilities(scores[-1], None) @ states_value
        readings[row] += by_value / by_value.sum() / len(prefixes)
    return readings


def fit_state_reading(
    scorer: CausalScorer,
    table: SlotTable,
    states: NDArray[np.float32],
    held_out: NDArray[np.float32],
    prefixes: Sequence[Sequence[int]],
    *,
    projection: int = 0,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> StateReadingFit:
    """Fit a network to the verifier's readings of ``states`` (n, d) of clips, of these with noise,
    and of random directions, so that it holds everywhere. It is compared with the verifier on the
    states ``held_out`` (m, d). ``projection`` is the index of the states' own."""
    rng = np.random.default_rng(seed)
    known, unseen = as_received(states), as_received(held_out)
    asked = np.concatenate([known, _noised(known, rng), _directions(known, rng)])
    taught = verifier_readings(scorer, table, asked, prefixes, projection)
    layers = _fit_network(asked, taught, seed, progress)
    expected = verifier_readings(scorer, table, unseen, prefixes, projection)
    found = _run(layers, unseen)
    return StateReadingFit(
        slot=Slot.EMOTION.value,
        values=EMOTIONS,
        layers=layers,
        agreement=float(np.mean(found.argmax(1) == expected.argmax(1))),
        distance=float(np.abs(found - expected).sum(1).mean() / 2),
    )


def write_state_reading(folder: Path, reading: StateReadingFit) -> None:
    """Write ``state_reading.json`` into a drafter's folder, and list it in its ``model.json``."""
    text = json.dumps({"format": 1, **asdict(reading)}, separators=(",", ":"))
    (folder / STATE_READING_FILE).write_text(text + "\n")
    list_file(folder, STATE_READING_FILE)


def write_state_readings(
    drafters: Path,
    verifier: Path,
    names: Sequence[str],
    clips: Sequence[Clip],
    embeddings: NDArray[np.float32],
    progress: Progress,
) -> dict[str, StateReadingFit]:
    """Fit and write the state reading of each drafter ``names`` below ``drafters``, for the
    verifier in the folder ``verifier``.

    ``embeddings`` (n, E) are those of ``clips``, whose test speakers are held out.
    """
    scorer = OnnxScorer(verifier)
    scorer.load()
    fits = {}
    for name in names:
        drafter = OnnxDrafter(drafters / name)
        drafter.load()
        table, projection = drafter.info.slot_table, drafter.info.projection
        assert table is not None  # noqa: S101  # bundled drafters have slots
        known, held_out = (
            _states(drafter, clips, embeddings, splits)
            for splits in (("train", "calibration"), ("test",))
        )
        drafter.close()
        prefixes = shared_prefixes(Vocabulary.load(drafters / name), table)[:_NUM_PREFIXES]
        fits[name] = fit_state_reading(
            scorer,
            table,
            known,
            held_out,
            prefixes,
            projection=scorer.info.projections.index(projection),
            progress=progress,
        )
        write_state_reading(drafters / name, fits[name])
    scorer.close()
    return fits


def _states(
    drafter: OnnxDrafter,
    clips: Sequence[Clip],
    embeddings: NDArray[np.float32],
    splits: Sequence[str],
) -> NDArray[np.float32]:
    """Return the states of at most ``_MOST_CLIPS`` clips of ``splits``, with the speaker profile
    that a device has when it hears them."""
    rows = [row for row, one in enumerate(clips) if one.split in splits]
    profiles = running_profiles([clips[row] for row in rows], embeddings[rows])
    chosen = np.random.default_rng(0).permutation(len(rows))[:_MOST_CLIPS]
    return np.stack(
        [
            drafter.start(drafter.condition(embeddings[rows[at]], profiles[at])).predict().state
            for at in chosen.tolist()
        ]
    )


def _noised(states: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return some of the states with noise of any strength."""
    chosen = states[rng.permutation(len(states))[: round(len(states) * _NOISED_SHARE)]]
    low, high = log(_LEAST_SIGMA), log(_MOST_SIGMA)
    sigma = np.exp(rng.uniform(low, high, size=(len(chosen), 1)))
    noised: NDArray[np.float32] = (chosen + sigma * rng.normal(size=chosen.shape)).astype("f4")
    return noised


def _directions(states: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return random points of the unit sphere."""
    points = rng.normal(size=(round(len(states) * _RANDOM_SHARE), states.shape[1]))
    return as_received((points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32))


def _fit_network(
    states: NDArray[np.float32], taught: NDArray[np.float64], seed: int, progress: Progress
) -> tuple[NetworkLayer, ...]:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(states.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, taught.shape[1])
    )
    inputs, targets = torch.from_numpy(states), torch.from_numpy(taught.astype(np.float32))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=STEPS + 1)
    for step in range(STEPS):
        loss = nn.functional.cross_entropy(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress("state reading", step + 1, STEPS, "")
    return tuple(_layer(one) for one in network if isinstance(one, nn.Linear))


def _layer(linear: nn.Linear) -> NetworkLayer:
    weights = linear.weight.detach().numpy().T.astype(np.float64).round(_DECIMALS)
    bias = linear.bias.detach().numpy().astype(np.float64).round(_DECIMALS)
    return NetworkLayer(tuple(map(tuple, weights.tolist())), tuple(bias.tolist()))


def _run(layers: Sequence[NetworkLayer], states: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the network's probabilities (n, C) for states (n, d)."""
    x = states.astype(np.float64)
    for layer in layers[:-1]:
        x = np.tanh(x @ np.array(layer.weights) + np.array(layer.bias))
    scores = x @ np.array(layers[-1].weights) + np.array(layers[-1].bias)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))
