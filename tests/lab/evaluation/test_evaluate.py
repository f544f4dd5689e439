"""Every way of decoding on real speech."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from ugsd_lab.cli import main
from ugsd_lab.data.captions import attributes_named
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.data.prosody import Measures, Norms
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation import SYSTEMS, Pair, Result, as_json, evaluate, pair_of
from ugsd_lab.evaluation.baselines import (
    RECIPE,
    RECIPES,
    BlockPolicy,
    entropy_threshold,
    majority_caption,
    sample,
)
from ugsd_lab.evaluation.curves import Curve, Point, drafts_of, oracle_system, predictor_quality
from ugsd_lab.evaluation.matching import RATES, DisclosureMatch
from ugsd_lab.evaluation.plots import draw_evaluation
from ugsd_lab.evaluation.printing import as_markdown, print_result, ranking
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import CachedDrafter, EvaluationHarness, Stage
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order
from ugsd_lab.training.starter import STARTER_DRAFTER, load_norms
from ugsd_sdk.decoding.events import TokenSource
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate
from ugsd_sdk.drafter import AudioEmbedding, DrafterInfo
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

SCORED = 5
"""Clips of each speaker that are evaluated."""
BETWEEN = ("random, matched here", "fixed block, matched here")


def first(clips: Sequence[Clip], count: int) -> list[Clip]:
    """So many of each speaker's, of every feeling."""
    speakers = dict.fromkeys((clip.corpus, clip.speaker) for clip in clips)
    own = [[c for c in clips if (c.corpus, c.speaker) == speaker] for speaker in speakers]
    return [clip for of in own for clip in sample(of, count)]


def acquainted(clips: Sequence[Clip]) -> list[Clip]:
    """Those that a device hears after the first few of their speaker."""
    heard: dict[tuple[str, str], list[int]] = {}
    for index in in_recording_order(clips):
        heard.setdefault((clips[index].corpus, clips[index].speaker), []).append(index)
    return [clips[i] for i in sorted(i for own in heard.values() for i in own[MIN_ENROLMENT:])]


def elsewhere(clip: Clip) -> Clip:
    """The clip as one of a corpus that nothing was trained on."""
    return replace(clip, corpus="elsewhere", split="test")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """EMO-DB's test clips, a few to train the floor on, and the dev speaker's as another corpus."""
    every = load_corpora(None)
    test = first([clip for clip in every if clip.split == "test"], MIN_ENROLMENT + SCORED)
    train = [clip for clip in every if clip.split == "train"][::90]
    dev = first([clip for clip in every if clip.split == "dev"], MIN_ENROLMENT + SCORED)
    return [*test, *train, *map(elsewhere, dev)]


@pytest.fixture(scope="module", autouse=True)
def invented_prosody() -> Iterator[None]:
    """Measuring takes longer than all else here, and has tests of its own."""

    def measure_all(clips: Sequence[Clip], *_: object) -> dict[str, Measures]:
        values = np.random.default_rng(0).normal(size=(len(clips), len(fields(Measures))))
        return {
            clip.id: Measures(*map(float, row)) for clip, row in zip(clips, values, strict=True)
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ugsd_lab.evaluation.study.measure_all", measure_all)
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "measures.json"


@pytest.fixture(scope="module")
def result(clips: list[Clip], cache: Path) -> Result:
    """Every system, and a probe that is always right."""
    return run(clips, cache, probe={clip.id: clip.emotion or "" for clip in clips})


@pytest.fixture(scope="module")
def curved(clips: list[Clip], cache: Path) -> Result:
    """Few systems and clips, and their curves."""
    own = [clip for clip in clips if clip.corpus == "emodb"]
    return run(own, cache, systems=[], limit=2, curves=True)


def run(clips: list[Clip], cache: Path, norms: Norms | None = None, **options: object) -> Result:
    return evaluate(
        clips,
        Pair(STARTER_DRAFTER),
        norms=norms or load_norms(),
        cache=cache,
        progress=lambda *_: None,
        **options,  # type: ignore[arg-type]
    )


def test_every_arm_captions_the_same_clips_of_every_corpus(result: Result) -> None:
    systems = [*SYSTEMS, "probe on the evidence"]
    assert [row.system for row in result.rows] == systems * 2
    assert {row.corpus: row.domain for row in result.rows} == {
        "emodb": "home",
        "elsewhere": "unseen",
    }
    for corpus, speakers in (("emodb", 2), ("elsewhere", 1)):
        clips = {row.clips for row in result.rows if row.corpus == corpus}
        assert clips == {speakers * SCORED}, "those that acquaint the device do not count"


def test_the_numbers_of_a_row_lie_where_they_can(result: Result) -> None:
    for row in result.rows:
        assert row.emotion_low <= row.emotion <= row.emotion_high
        if row.system == "probe on the evidence":
            assert row.emotion == 1
            assert np.isnan(row.bleu)
            continue
        assert all(0 < value < 100 for value in (row.bleu, row.chrf, row.rouge_l, row.meteor))
        five = (row.emotion, row.pitch, row.loudness, row.pace, row.gender)
        assert row.attributes == pytest.approx(np.mean(five))
        assert np.isnan(row.p50_ms) or 0 < row.p50_ms <= row.p95_ms


def test_what_leaves_grows_with_the_arm(result: Result) -> None:
    rows = {row.system: row for row in result.rows if row.corpus == "emodb"}
    alone, everything = rows["drafter alone"], rows["escalate everything"]
    assert alone.bytes_sent == alone.disclosed == alone.frames == alone.disclosed_states == 0
    assert everything.escalation == pytest.approx(1)
    assert 0 < rows["UGSD"].disclosed < 0.95
    assert rows["UGSD"].disclosed_states > 0 == rows["tokens only"].disclosed_states
    assert rows["UGSD"].frames == rows["UGSD"].round_trips
    assert np.isnan(rows["majority caption"].disclosed)
    assert np.isnan(rows["verifier on every token"].bytes_sent)
    for system in BETWEEN:
        assert rows[system].disclosed == pytest.approx(rows["UGSD"].disclosed, abs=0.25)


def test_listening_is_part_of_every_arms_time(result: Result) -> None:
    rows = {row.system: row for row in result.rows if row.corpus == "emodb"}
    assert rows["drafter alone"].p50_ms > 10  # decoding alone takes less
    assert rows["escalate everything"].p50_ms > rows["drafter alone"].p50_ms


def test_differences_are_ugsds_over_the_same_clips(result: Result) -> None:
    rows = {(row.corpus, row.system): row for row in result.rows}
    assert {d.against for d in result.differences} >= {"drafter alone", "paper's recipe", *BETWEEN}
    for d in result.differences:
        ours, theirs = rows[d.corpus, "UGSD"], rows[d.corpus, d.against]
        assert d.emotion == pytest.approx(ours.emotion - theirs.emotion)
        assert d.low <= d.emotion <= d.high


def test_auroc_is_had_where_there_is_a_home_and_an_away(result: Result, curved: Result) -> None:
    assert 0 <= result.auroc <= 1
    assert np.isnan(curved.auroc)


def test_the_oracle_asks_once_and_only_about_what_is_rejected(
    clips: list[Clip], tmp_path: Path
) -> None:
    harness = EvaluationHarness(Pair(STARTER_DRAFTER), tmp_path)
    stage = Stage(lambda *_: None, "captioning", 3 * len(clips))
    own = harness.drafter.encode_clips([clip for clip in clips if clip.split == "test"], stage)
    drafted = drafts_of(harness, own, harness.rejection_predictor, stage)
    captions = [
        said.caption
        for said in harness.run(oracle_system(harness, own, drafted), own, stage).values()
    ]
    sources = [{token.source for token in caption.tokens} for caption in captions if caption]
    asked = [caption.usage.num_blocks for caption in captions if caption]
    assert set(asked) <= {0, 1}
    assert sum(asked) == sum(TokenSource.CORRECTED in found for found in sources) > 0


def test_every_curve_starts_with_the_drafter_alone(curved: Result) -> None:
    (curves,) = curved.curves
    assert curves.alone.disclosed == curves.alone.escalated == 0
    assert curves.everything.escalated == pytest.approx(1)
    for curve in curves.curves:
        assert curve.points[0] == curves.alone
        assert all(0 <= point.escalated <= 1 >= point.disclosed for point in curve.points)


def test_the_json_has_null_for_what_an_arm_does_not_have(result: Result) -> None:
    found = json.loads(json.dumps(as_json(result), allow_nan=False))
    assert set(found) == {"rows", "differences", "auroc", "signatures", "predictor_quality"}
    assert len(found["rows"]) == len(result.rows)
    rows = {row["system"]: row for row in found["rows"]}
    assert rows["majority caption"]["bytes_sent"] is None
    assert set(rows["UGSD"]["gap_emotion"]) >= {"closed", "low", "high", "gap"}
    assert set(found["signatures"]) == {"BLEU", "chrF", "ROUGE-L", "METEOR"}


def test_the_tables_have_every_arm_and_say_what_the_intervals_are_worth(result: Result) -> None:
    console = Console(record=True, width=150, file=StringIO())
    print_result(result, console, split="test", limit=3)
    text = console.export_text()
    for words in (
        *SYSTEMS, "probe on the evidence", "emodb (home)", "elsewhere (unseen)", "at most 3 clips",
        "UGSD minus", "AUROC", "exact and stem matches", "the range between two people",
    ):  # fmt: skip
        assert words in text


def test_markdown_tables_say_what_the_screen_says(result: Result) -> None:
    text = as_markdown(result, split="test")
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 3  # one per corpus, and the differences
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}
    drafter = next(line for line in tables[0] if line.startswith("| drafter alone"))
    row = next(row for row in result.rows if row.system == "drafter alone")
    assert f"| {row.bleu:.1f} |" in drafter
    assert "References are generated." in text


def test_clips_without_a_label_are_left_out_and_counted(clips: list[Clip], cache: Path) -> None:
    nameless = [replace(clip, emotion=None) for clip in clips if clip.corpus == "elsewhere"]
    found = run([*clips, *(replace(c, corpus="secap") for c in nameless)], cache, systems=[])
    assert {row.corpus for row in found.rows} == {"emodb", "elsewhere"}
    assert found.unlabelled == {"secap": len(nameless)}
    with pytest.raises(EvaluationError, match="label"):
        run(nameless, cache)


def test_a_picture_of_a_real_run(curved: Result, tmp_path: Path) -> None:
    draw_evaluation(tmp_path / "a.png", curved.curves, curved.confusions)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert set(as_json(curved)["predictor_quality"]) == {"emodb"}  # type: ignore[call-overload]
    assert [*curved.confusions["emodb"]] == ["drafter alone", "UGSD", "verifier on every token"]


def test_only_the_arms_asked_for_and_those_that_they_refer_to_run(
    clips: list[Clip], cache: Path
) -> None:
    few = run(clips, cache, systems=["tokens only"], limit=1)
    wanted = ["drafter alone", "UGSD", "tokens only", "verifier on every token"]
    assert [row.system for row in few.rows] == wanted * 2
    assert {row.clips for row in few.rows} == {1, 2}  # one clip of each speaker
    assert not few.curves


def test_tuning_compares_the_candidates(clips: list[Clip], cache: Path) -> None:
    found = run(clips, cache, tune=True, limit=1, systems=[])
    systems = {row.system for row in found.rows}
    assert {f"paper's recipe ({name})" for name in RECIPES} < systems
    assert {f"fixed block ({block})" for block in range(4)} < systems
    assert len(ranking(found).splitlines()) == len(RECIPES) + 4
    assert RECIPE in RECIPES


def test_what_cannot_be_run_is_told(clips: list[Clip], cache: Path) -> None:
    with pytest.raises(EvaluationError, match="there are: majority caption"):
        run(clips, cache, systems=["UGSD 2"])
    with pytest.raises(EvaluationError, match="another --split"):
        run(clips, cache, split="calibration")
    with pytest.raises(EvaluationError, match="probe every clip"):
        run(clips, cache, systems=["UGSD"], limit=1, probe={})


def test_the_bundled_drafter_is_right_more_often_than_always_saying_angry(
    cache: Path,
) -> None:
    test = [clip for clip in load_corpora(None) if clip.split == "test"][::5]
    rows = {row.system: row for row in run(test, cache, systems=["drafter alone"]).rows}
    emotions = [clip.emotion for clip in acquainted(test)]
    majority = max(emotions.count(emotion) for emotion in set(emotions)) / len(emotions)
    assert rows["drafter alone"].emotion > majority + 0.25


def test_the_majority_caption_says_what_is_most_frequent() -> None:
    train = [clip for clip in load_corpora(None) if clip.split == "train"]
    text = majority_caption(train, {})
    emotions = [clip.emotion for clip in train]
    assert attributes_named(text, "emotion") == {max(set(emotions), key=emotions.count)}
    assert attributes_named(text, "pitch") <= {"mid"}
    assert text == majority_caption(train, {})


# -- how clips are heard


class Ears:
    """Stands for an ONNX drafter: hears how long a clip is, and reads it with the habit."""

    def __init__(self) -> None:
        scripted = ScriptedDrafter()
        phrase = GenderedPhrase(neutral="w2", female="she", male="he")
        self.info: DrafterInfo = replace(scripted.info, gendered_phrases=(phrase,))
        self.text = scripted.text

    def encode(self, samples: NDArray[np.float32]) -> AudioEmbedding:
        return self.condition(np.array([len(samples)], dtype=np.float32))

    def condition(
        self, heard: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        vector = np.array([profile.count, *profile.mean], dtype=np.float32)
        return AudioEmbedding(
            vector, 1.0, unnormalised=heard, gender="female" if profile.count else None
        )


@pytest.fixture
def heard() -> CachedDrafter:
    return CachedDrafter(Ears())  # type: ignore[arg-type]


def listening() -> Stage:
    return Stage(lambda *_: None, "listening", 99)


def test_the_first_clips_of_a_speaker_acquaint_the_device_and_are_not_scored(
    clips: list[Clip], heard: CachedDrafter
) -> None:
    chosen = [clip for clip in clips if clip.split == "test"]
    scored = heard.encode_clips(chosen, listening())
    assert scored == acquainted(chosen)
    assert len(scored) == 3 * SCORED
    for clip in chosen:
        assert (heard.embedding(clip).vector[0] >= MIN_ENROLMENT) == (clip in scored)


def test_each_clip_is_read_with_the_habit_of_those_before_it(
    clips: list[Clip], heard: CachedDrafter
) -> None:
    chosen = [clip for clip in clips if clip.split == "test"]
    heard.encode_clips(chosen, listening())
    lengths: dict[tuple[str, str], list[float]] = {}
    for clip in (chosen[i] for i in in_recording_order(chosen)):
        own = lengths.setdefault((clip.corpus, clip.speaker), [])
        embedding = heard.encode(
            heard.placeholder_for(clip), SpeakerProfile(99, np.zeros(1, dtype=np.float32))
        )
        assert embedding is heard.embedding(clip), "whatever habit the captioner has"
        assert embedding.vector[0] == len(own)
        if own:
            assert embedding.vector[1] == pytest.approx(np.mean(own))
        assert embedding.unnormalised is not None
        own.append(float(embedding.unnormalised[0]))


def test_clips_that_are_heard_later_have_evidence_of_their_own(
    clips: list[Clip], heard: CachedDrafter
) -> None:
    chosen = [clip for clip in clips if clip.split == "test"]
    corpora = [[c for c in chosen if c.corpus == name] for name in ("emodb", "elsewhere")]
    scored = [clip for own in corpora for clip in heard.encode_clips(own, listening())]
    alone = CachedDrafter(Ears())  # type: ignore[arg-type]
    assert scored == alone.encode_clips([*corpora[0], *corpora[1]], listening())
    for clip in chosen:
        np.testing.assert_array_equal(heard.embedding(clip).vector, alone.embedding(clip).vector)


def test_gender_is_worded_as_the_device_hears_it(clips: list[Clip], heard: CachedDrafter) -> None:
    chosen = [clip for clip in clips if clip.split == "test"]
    (known, *_) = heard.encode_clips(chosen, listening())
    strange = next(clip for clip in chosen if heard.embedding(clip).gender is None)
    assert heard.worded(strange, [1, 2]) == "w1 w2"
    assert heard.worded(known, [1, 2]) == "w1 she"


def test_a_limit_counts_the_clips_that_are_scored(heard: CachedDrafter) -> None:
    """The others come on top, and nobody is heard who has no more than those."""
    test = [clip for clip in load_corpora(None) if clip.split == "test"]
    speakers = sorted({clip.speaker for clip in test})
    for limit in (1, 4):
        scored = heard.encode_clips(limited(test, limit), listening())
        assert sorted(clip.speaker for clip in scored) == sorted(speakers * limit)
    few = [*first(test, MIN_ENROLMENT + 2)[: MIN_ENROLMENT + 2], test[-1]]
    assert limited(few, 5) == limited(few, None) == few[:-1]
    assert not limited(first(test, MIN_ENROLMENT), None)


def test_speakers_of_too_few_clips_are_told(clips: list[Clip], cache: Path) -> None:
    with pytest.raises(EvaluationError, match="more than the 3 clips"):
        run(first([c for c in clips if c.split == "test"], MIN_ENROLMENT), cache, systems=[])


# -- gates that are not ours


def view(start: int) -> BlockView:
    return BlockView(start=start, tokens=(1,), uncertainties=(0.5,), verifier_has_summary=False)


def test_a_block_policy_escalates_the_named_block_of_each_caption_in_turn() -> None:
    policy = BlockPolicy([0, 2, None])
    starts = [0, 5, 10, 0, 5, 10, 0, 5, 0, 5]
    escalated = [isinstance(policy(view(start), BudgetView()), Escalate) for start in starts]
    assert [i for i, yes in enumerate(escalated) if yes] == [0, 5]


def reach(wanted: float, *by_rate: float) -> DisclosureMatch:
    return DisclosureMatch(wanted, np.array(by_rate), {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8})


def test_the_random_gates_rate_is_read_where_its_disclosure_meets_ugsds() -> None:
    assert RATES == (0.1, 0.2, 0.4, 0.7, 1.0)
    assert reach(0.3, 0.1, 0.2, 0.4, 0.5, 0.6).random_rate() == pytest.approx(0.3, abs=2e-3)
    assert reach(0.0, 0.1, 0.2, 0.4, 0.5, 0.6).random_rate() == 0


def test_of_two_rates_that_disclose_alike_the_lesser_is_ugsds() -> None:
    assert reach(0.3, 0.2, 0.4, 0.4, 0.4, 0.2).random_rate() == pytest.approx(0.15, abs=2e-3)


def test_a_rate_that_no_disclosure_reaches_is_the_nearest() -> None:
    assert reach(0.9, 0.1, 0.2, 0.5, 0.4, 0.3).random_rate() == pytest.approx(0.4, abs=2e-3)


def test_a_fixed_block_is_escalated_in_proportion() -> None:
    some = reach(0.3, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert [some.fixed_rate(b) for b in range(4)] == pytest.approx([1, 0.75, 0.5, 0.375])
    mean = DisclosureMatch.mean([some, replace(some, wanted=0.1)])
    assert mean.wanted == pytest.approx(0.2)
    assert dict(mean.by_block) == pytest.approx(dict(some.by_block))


def test_the_entropy_gates_threshold_is_the_drafters_own(tmp_path: Path) -> None:
    gate = tmp_path / "gate.json"
    gate.write_text('{"entropy_threshold": 0.25}')
    assert entropy_threshold(tmp_path) == 0.25
    gate.write_text("{}")
    assert entropy_threshold(tmp_path) is None
    for wrong in ('"high"', "true", "2", "NaN", "[]"):
        gate.write_text(f'{{"entropy_threshold": {wrong}}}')
        with pytest.raises(EvaluationError, match="fit the gate again"):
            entropy_threshold(tmp_path)


def test_a_sample_repeats_and_keeps_the_order() -> None:
    clips = load_corpora(None)
    assert sample(clips, 10) == sample(clips, 10)
    assert sample(clips[:5], 10) == clips[:5]
    assert [clips.index(clip) for clip in sample(clips, 10)] == sorted(
        clips.index(clip) for clip in sample(clips, 10)
    )


def test_gate_quality_is_1_for_the_oracle_0_for_chance_and_unknown_without_a_gain() -> None:
    alone = Point(0, 0, 0.2)
    best = Curve("oracle", (alone, Point(0.5, 0.2, 0.6)))
    random = Curve("random", (alone, Point(0.3, 1, 0.6)))
    bad = Curve("bad", (alone, Point(0.8, 1, 0.2)))
    assert predictor_quality(gate=best, random=random, oracle=best) == pytest.approx(1)
    assert predictor_quality(gate=random, random=random, oracle=best) == pytest.approx(0)
    assert predictor_quality(gate=bad, random=random, oracle=best) < 0
    assert np.isnan(predictor_quality(gate=best, random=random, oracle=random))
    assert np.isnan(predictor_quality(gate=best, random=random, oracle=best, least=0.5))


# -- the command


def test_a_pair_knows_where_its_drafter_is_at_home(tmp_path: Path) -> None:
    pair = pair_of("starter")
    assert [pair.domain_of(name) for name in ("emodb", "nemo", "savee")] == [
        "home",
        "away",
        "unseen",
    ]
    assert pair_of(str(STARTER_DRAFTER), home=["nemo"]).where("emodb") == "away"
    with pytest.raises(EvaluationError, match="ugsd-lab train"):
        pair_of(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--split", "all"], "calibration"),
        (["--drafter", "nowhere"], "starter, free, ceiling"),
        (["--plot", "curve.pdf"], ".svg or .png"),
        (["--system", "everything"], "escalate everything"),
        (["--home", "nowhere"], "cremad"),
        (["--json", "--markdown"], "name one"),
    ],
)
def test_bad_options_are_told_what_would_be_right(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 1
    assert hint in capsys.readouterr().err


def test_the_command_prints_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--limit", "1", "--system", "UGSD", "--cache", str(cache), "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in found["rows"]] == [
        "drafter alone", "UGSD", "verifier on every token",
    ]  # fmt: skip
