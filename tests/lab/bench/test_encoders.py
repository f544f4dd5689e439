"""Audio encoders are ranked by what can be read from them and by what they cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ugsd_lab.bench import encoders
from ugsd_lab.bench.encoder_cost import EncoderCost, exported, measure_encoder
from ugsd_lab.bench.encoders import (
    LAYERS,
    READ_OUTS,
    EncoderRow,
    bench_encoders,
    frontier,
    tables,
)
from ugsd_lab.bench.layer_embeddings import MAX_LAYERS, WINDOWS_S
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import EMOTIONS, Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.audio_encoder import AudioEncoder

from tests.lab.bench.small_whisper import write_whisper

CLIPS = [
    replace(clip, corpus="nemo", name=clip.path.stem) if number % 3 == 0 else clip
    for number, clip in enumerate(load_corpora(None))
]
READABLE = ((2,), WINDOWS_S[0])
"""Layers and window of the planted encoder from which emotion can be read."""
CHEAP = {
    (layers, window_s): EncoderCost(1.0 + max(layers), 1.0, 1.0)
    for layers in LAYERS
    for window_s in WINDOWS_S
}


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


def planted(clips: Sequence[Clip], *_: object, **__: object) -> np.ndarray:
    """Return embeddings of noise. READABLE ones also hold emotion, in other places for nEMO."""
    rng = np.random.default_rng(0)
    out = rng.standard_normal((len(clips), len(WINDOWS_S), 1 + MAX_LAYERS, 2 * len(EMOTIONS)))
    layers, window_s = READABLE
    for row, clip in enumerate(clips):
        place = EMOTIONS.index(clip.emotion or "") + len(EMOTIONS) * (clip.corpus == "nemo")
        out[row, WINDOWS_S.index(window_s), layers[0], place] += 20
    return out.astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> list[EncoderRow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "embed_layers", planted)
        return bench_encoders(CLIPS, [Path("planted")], quiet, costs=lambda *_: CHEAP)


def test_readable_encoder_comes_first(rows: list[EncoderRow]) -> None:
    assert rows[0].layers in {READABLE[0], (1, 2), (2, 3)}
    assert rows[0].window_s == READABLE[1]
    assert len(rows) == len(CHEAP)
    assert rows[0].emotion["drafter, unenrolled"]["emodb"] > 0.95
    assert rows[-1].emotion["drafter, unenrolled"]["emodb"] < 0.4


def test_only_the_bound_knows_every_corpus(rows: list[EncoderRow]) -> None:
    drafter, bound = (rows[0].emotion[f"{name}, unenrolled"] for name in ("drafter", "bound"))
    assert drafter["nemo"] < 0.5 < 0.95 < bound["nemo"]
    assert rows[0].mean(READ_OUTS[3]) == pytest.approx((bound["nemo"] + bound["emodb"]) / 2)


def test_tables_name_every_encoder_and_corpus(rows: list[EncoderRow]) -> None:
    summary, *each = tables(rows)
    assert [table.title for table in each] == ["emodb", "nemo"]
    assert all(len(table.rows) == len(rows) for table in (summary, *each))
    assert {len(row) for row in summary.rows} == {len(summary.header)}


def row(name: str, encode_ms: float, emotion: float) -> EncoderRow:
    accuracy = {one.name: {"emodb": emotion} for one in READ_OUTS}
    return EncoderRow(name, (0,), 4.5, EncoderCost(encode_ms, 1.0, 1.0), accuracy)


def test_frontier_has_what_nothing_beats() -> None:
    found = frontier(
        [
            row("fast", 1, 0.5),
            row("slow and worse", 9, 0.6),
            row("best", 5, 0.7),
            row("as good but slower", 6, 0.7),
            row("as fast but worse", 1, 0.4),
        ]
    )
    assert [one.whisper for one in found if one.is_on_frontier] == ["best", "fast"]
    assert [one.whisper for one in found][:2] == ["best", "as good but slower"]


def test_equal_encoders_are_both_on_the_frontier() -> None:
    assert all(one.is_on_frontier for one in frontier([row("a", 1, 0.5), row("b", 1, 0.5)]))


def test_missing_speakers_are_refused() -> None:
    few = [clip for clip in CLIPS if clip.split == "train"]
    with pytest.raises(EvaluationError, match="development speakers"):
        bench_encoders(few, [Path("planted")], quiet, costs=lambda *_: CHEAP)


@pytest.mark.slow
def test_cost_is_that_of_the_exported_graph(tmp_path: Path) -> None:
    whisper = write_whisper(tmp_path / "small.safetensors")
    costs = []
    for layers in (0, MAX_LAYERS):
        graph = exported(tmp_path / str(layers), AudioEncoder.from_whisper(whisper, (layers,)))
        costs.append(measure_encoder(graph, WINDOWS_S[0], runs=3))
        assert costs[-1].file_mb == graph.stat().st_size / 1e6
    none, three = costs
    assert min(three.encode_ms, none.encode_ms) > 0
    assert three.file_mb > none.file_mb
    assert three.memory_mb >= 0


def test_command_prints_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoders, "_costs", lambda *_: CHEAP)
    whisper = str(write_whisper(tmp_path / "small.safetensors"))
    limits = ["--limit", "3", "--workers", "1", "--json"]
    assert main(["bench", "encoders", "--whisper", whisper, *limits]) == 0

    found = json.loads(capsys.readouterr().out)["encoders"]
    assert {(tuple(one["layers"]), one["window_s"]) for one in found} == set(CHEAP)
    assert [one["mean"]["drafter"] for one in found] == sorted(
        (one["mean"]["drafter"] for one in found), reverse=True
    )
