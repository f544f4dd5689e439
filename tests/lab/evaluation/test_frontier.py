"""The frontier: gates, exact mixtures, tables and pictures, on real speech and planted numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import Pair, study
from ugsd_lab.evaluation.frontier import (
    Frontier,
    frontier_of,
    measured_frontier,
    recorded_clips,
    write_measured,
)
from ugsd_lab.evaluation.frontier_figures import Identified
from ugsd_lab.evaluation.frontier_gates import GATES, asked_shares, min_gain_of
from ugsd_lab.evaluation.frontier_outcomes import Exposure, Outcomes, Recorded
from ugsd_lab.evaluation.frontier_plot import draw_frontier
from ugsd_lab.evaluation.frontier_printing import as_json, as_markdown
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.systems import EvaluationHarness, Stage, System
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.decoding.measured_frontier import MeasuredFrontier
from ugsd_sdk.decoding.policy import GainPolicy, NeverEscalate

from tests.lab.evaluation.runs import few_clips

SUMMARY, NOISED = Exposure(Disclosure.SUMMARY), Exposure(Disclosure.SUMMARY, 0.5)
PAIR = Pair(STARTER_DRAFTER)


def leaks(*corpora: str) -> dict[str, Identified]:
    return {name: Identified(name, 4, 0.2, 0.1, 0.3) for name in corpora}


@pytest.fixture(scope="module")
def measures(cache: Path) -> Iterator[Path]:
    """A measures file for the frontier, with the invented prosody of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ugsd_lab.evaluation.frontier.measure_all", study.measure_all)
        yield cache


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [clip for clip in few_clips() if clip.split == "test"]


@pytest.fixture(scope="module")
def recorded(clips: list[Clip], measures: Path) -> Recorded:
    return recorded_clips(
        clips,
        PAIR,
        cache=measures,
        progress=lambda *_: None,
        limit=4,
        exposures=[SUMMARY, NOISED],
        draws=1,
    )


@pytest.fixture(scope="module")
def frontier(recorded: Recorded) -> Frontier:
    some = leaks("emodb", "elsewhere")
    return frontier_of(recorded, dict.fromkeys(recorded.asked, some))


def planted(
    emotion_alone: list[float], emotion_asked: list[float], scores: list[float]
) -> Recorded:
    """Return captions of two domains in turn, each with one claim, and a question of 100 bytes."""
    count = len(scores)
    zeros, ones = np.zeros(count), np.ones(count)

    def outcomes(emotion: list[float], sent: float) -> Outcomes:
        right = np.array(emotion)
        changed = (right != np.array(emotion_alone)).astype(float)
        return Outcomes(
            right, right, ones, sent * ones, sent * ones, 100 * sent * ones, changed, ones + sent
        )

    return Recorded(
        corpora=tuple("emodb" if row % 2 else "nemo" for row in range(count)),
        speakers=tuple(f"{row % 2}/{row % 4}" for row in range(count)),
        in_domain=np.arange(count) % 2 == 1,
        uncertainty=np.array(scores),
        entropy=zeros,
        gain=np.array(scores),
        alone=outcomes(emotion_alone, 0),
        asked={SUMMARY: outcomes(emotion_asked, 1)},
    )


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.floats(0, 1, allow_subnormal=False),
)
def test_highest_scores_ask_first_and_rate_is_met(scores: list[int], rate: float) -> None:
    values = np.array(scores, dtype=float)
    weights = np.full(len(values), 1 / len(values))
    shares = asked_shares(values, rate, weights)
    assert shares @ weights == pytest.approx(rate)
    assert np.all((shares >= 0) & (shares <= 1 + 1e-12))
    for score in values:
        assert np.ptp(shares[values == score]) == 0, "ties ask equally often"
        if shares[values == score][0] > 0:
            assert np.all(shares[values > score] > 1 - 1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 1))
def test_setting_asks_at_least_the_rate(scores: list[float], rate: float) -> None:
    values = np.array(scores)
    weights = np.full(len(values), 1 / len(values))
    min_gain = min_gain_of(values, rate, weights)
    assert (values > min_gain) @ weights >= rate - 1e-9
    assert min_gain == round(min_gain, 3)


def test_oracle_beats_and_random_interpolates() -> None:
    alone, asked = [0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]
    recorded = planted(alone, asked, [0.9, 0.1, 0.8, 0.2])
    found = frontier_of(recorded, {SUMMARY: leaks("emodb", "nemo")})
    for gate in GATES:
        points = found.of(gate.name, SUMMARY)
        ends = [points[0].figures["both"].emotion, points[-1].figures["both"].emotion]
        assert ends == [0.5, 0.75], gate.name
    half = {gate.name: found.of(gate.name, SUMMARY) for gate in GATES}
    at = {name: min(own, key=lambda one: abs(one.rate - 0.5)) for name, own in half.items()}
    assert at["random"].figures["both"].emotion == pytest.approx(0.625)
    assert at["random"].figures["out"].bytes_sent == pytest.approx(50)
    assert at["oracle"].figures["both"].emotion == 1
    assert at["expected gain"].figures["out"].asked == 1
    assert at["expected gain"].figures["in"].asked == 0
    assert at["expected gain"].figures["out"].leakage == pytest.approx(0.2)
    assert at["expected gain"].figures["both"].leakage == pytest.approx(0.2)


def test_corpus_of_two_speakers_is_used_last() -> None:
    recorded = planted([0.0] * 4, [1.0] * 4, [0.1, 0.2, 0.3, 0.4])
    few = Identified("emodb", 2, 0.9, 0.8, 1.0)
    found = frontier_of(recorded, {SUMMARY: {**leaks("nemo"), "emodb": few}})
    assert found.populations["in"].attacked_speakers == 2
    assert found.populations["out"].attacked == "nemo"
    with pytest.raises(EvaluationError, match="nemo were not attacked"):
        frontier_of(recorded, {SUMMARY: leaks("emodb")})


def test_mixtures_equal_whole_runs(
    recorded: Recorded, frontier: Frontier, clips: list[Clip], tmp_path: Path
) -> None:
    """The device decides by the gain; the frontier only mixes the captions of two runs."""
    harness = EvaluationHarness(PAIR, tmp_path)
    stage = Stage(lambda *_: None, "captioning", 10 * len(clips))
    names = set(recorded.speakers)
    by_rate = frontier.of("expected gain", SUMMARY)
    point = by_rate[len(by_rate) // 2]
    assert point.min_gain is not None
    scored = harness.drafter.encode_clips(study.limited(clips, 4), stage)
    min_gain = point.min_gain
    system = System("gain", lambda: GainPolicy(NeverEscalate(), min_gain))
    outputs = harness.run(system, scored, stage)
    assert {f"{clip.corpus}/{clip.speaker}" for clip in scored} == names
    for domain, is_in in (("in", True), ("out", False)):
        own = [clip for clip in scored if (clip.corpus == "emodb") == is_in]
        made = [outputs[clip.id] for clip in own]
        figures = point.figures[domain]  # type: ignore[index]
        assert figures.emotion == pytest.approx(
            np.mean([emotion_right(outputs[clip.id].text, clip.emotion or "") for clip in own]),
            abs=1e-4,
        )
        usages = [one.caption.usage for one in made if one.caption is not None]
        assert figures.bytes_sent == pytest.approx(np.mean([u.bytes_sent for u in usages]))
        assert figures.tokens == pytest.approx(
            np.mean([u.num_disclosed_tokens for u in usages]), abs=1e-4
        )
        assert figures.numbers == pytest.approx(
            np.mean([6 * u.num_disclosed_states for u in usages]), abs=1e-4
        )


def test_table_has_every_setting_and_is_read_back(frontier: Frontier, tmp_path: Path) -> None:
    measured = measured_frontier(frontier, PAIR, "ugsd-lab frontier")
    path = tmp_path / "frontier.json"
    write_measured(measured, path)
    assert MeasuredFrontier.model_validate_json(path.read_text(), strict=True) == measured
    assert path.stat().st_size < 60_000
    assert [one.min_gain for one in measured.settings].count(None) == 1
    assert {one.sigma for one in measured.settings} == {None, 0.5}
    assert -1.0 in {one.min_gain for one in measured.settings}
    with pytest.raises(EvaluationError, match="name another file"):
        write_measured(measured, tmp_path / "nowhere" / "frontier.json")


def test_tables_list_only_undominated_settings(frontier: Frontier) -> None:
    measured = measured_frontier(frontier, PAIR, "ugsd-lab frontier")
    text = as_markdown(frontier, measured)
    for domain, name in (("in", "in-domain"), ("out", "out-of-domain"), ("both", "both domains")):
        count = len(measured.undominated(domain))  # type: ignore[arg-type]
        assert f"**{name} (" in text
        assert (
            f"{count} settings that no other beats; {len(measured.settings) - count} more" in text
        )
    assert "never asks" in text
    for gate in GATES:
        assert f"| {gate.name} |" in text
    points = as_json(frontier)["points"]
    assert len(points) == len(frontier.points)
    json.dumps(points)


def test_picture_names_gates_noises_and_domains(frontier: Frontier, tmp_path: Path) -> None:
    path = tmp_path / "frontier.svg"
    draw_frontier(path, frontier)
    root = ElementTree.parse(path).getroot()
    found = {"".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {gate.name for gate in GATES} <= found
    assert {"no noise: no bound", "sigma 0.5: epsilon 26"} <= found
    assert {"bytes per caption", "captions with the right emotion"} <= found
    assert any(text.startswith("out-of-domain (elsewhere)") for text in found)
    again = tmp_path / "again.svg"
    draw_frontier(again, frontier)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--plot", "curve.pdf"], ".svg or .png"),
        (["--json", "--markdown"], "name one"),
        (["--drafter", "nowhere"], "starter, free"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", *arguments]) == 1
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("output", ["--json", "--markdown", ""])
def test_command_writes_table_and_picture(
    output: str, recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("ugsd_lab.evaluation.frontier.recorded_clips", lambda *_, **__: recorded)
    monkeypatch.setattr("ugsd_lab.attacks.study.prepare", lambda *_: None)
    monkeypatch.setattr(
        "ugsd_lab.attacks.identification.identifications",
        lambda *_: {exposure: leaks("emodb", "elsewhere") for exposure in recorded.asked},
    )
    written = {name: tmp_path / f"frontier.{name}" for name in ("svg", "json")}
    arguments = ["--plot", str(written["svg"]), "--out", str(written["json"]), "--limit", "8"]
    assert main(["frontier", *arguments, *filter(None, [output])]) == 0
    table = MeasuredFrontier.model_validate_json(written["json"].read_text(), strict=True)
    assert table.command == "ugsd-lab frontier --drafter starter --limit 8"
    assert written["svg"].stat().st_size > 1000
    printed = capsys.readouterr().out
    if output == "--json":
        assert json.loads(printed)["points"]
    else:
        assert "settings that no other" in printed
