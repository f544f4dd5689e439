"""What is emulated is what is declared, and systems are compared by the right numbers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import thread_time

import numpy as np
import pytest
from ugsd_lab.bench.emulated_link import LinkConditions
from ugsd_lab.bench.link import bench_link
from ugsd_lab.bench.link_device import Device, ReplayedSteps, Slowdown, Trace
from ugsd_lab.bench.link_drafter import LongDraft
from ugsd_lab.bench.link_rows import LinkRow, LinkStudy, Measured, compared, row_of
from ugsd_lab.bench.link_settings import (
    ALONE,
    END,
    EVERY_BLOCK,
    PAPER,
    SPLIT_EMBEDDING,
    SPLIT_MEL,
    UGSD,
    LinkSystem,
    paper_settings,
    slowed_settings,
    systems_for,
)
from ugsd_lab.bench.link_tables import notes, tables
from ugsd_lab.bench.link_verifier import SPLIT_HEADER, PacedScorer
from ugsd_lab.cli import main
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.evaluation import pair_of
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.drafter import Prediction
from ugsd_server.settings import STARTER_FOLDER

LINK = LinkConditions(round_trip_s=0.2)
SLOWDOWN = 30.0
EMBEDDING_BYTES, STATE_BYTES = 4 * 2048, 4 * 6
MEASURED = Measured(
    encoding_s=1.0, decoding_s=2.0, first_token_s=1.5, num_tokens=10, is_emotion_right=True,
    claims=(True, False), bytes_sent=128, device_cpu_s=3.0, verifier_cpu_s=0.004, has_asked=True,
    num_blocks=1, failure="",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> LinkStudy:
    """Return a run of one clip, on this machine, on a slower device, and on the paper's."""
    slowed = slowed_settings([1, SLOWDOWN], [CaptionLength.NORMAL])
    papers = [one for one in paper_settings(4) if one.load.num_tokens is None]
    return bench_link(
        load_corpora(None),
        pair_of("starter").drafter,
        [*slowed, papers[0]],
        [LINK],
        {ALONE, END, EVERY_BLOCK, SPLIT_EMBEDDING, SPLIT_MEL},
        lambda *_: None,
        num_clips=1,
        cache=tmp_path_factory.mktemp("link") / "measures.json",
    )


def row(study: LinkStudy, system: str, device: str) -> LinkRow:
    (one,) = (row for row in study.rows if (row.system, row.device) == (system, device))
    return one


THIS, SLOW = "this machine", f"{SLOWDOWN:g}x slower"


@pytest.mark.timeout(400)
def test_a_question_waits_for_the_link(study: LinkStudy) -> None:
    verified, alone = row(study, EVERY_BLOCK, THIS), row(study, ALONE, THIS)
    assert verified.first_token_ms - alone.first_token_ms >= 1000 * LINK.round_trip_s
    assert (verified.asked, verified.round_trips, verified.failed) == (1, 1, 0)
    assert verified.bytes_sent > 0 < verified.verifier_cpu_ms
    assert alone.round_trip_ms is None
    assert alone.bytes_sent == alone.verifier_cpu_ms == alone.asked == 0


@pytest.mark.timeout(400)
def test_a_slowed_device_is_slower_as_declared(study: LinkStudy) -> None:
    slow, fast = row(study, ALONE, SLOW), row(study, ALONE, THIS)
    assert SLOWDOWN / 6 < slow.device_cpu_s / fast.device_cpu_s < SLOWDOWN * 6
    assert slow.p50_ms / 1000 == pytest.approx(slow.device_cpu_s, rel=0.5)
    assert slow.tokens == fast.tokens


@pytest.mark.timeout(400)
def test_the_papers_times_are_replayed(study: LinkStudy) -> None:
    alone, end = row(study, ALONE, PAPER), row(study, END, PAPER)
    steps_ms = alone.tokens * 1000 / 2.51
    assert alone.first_token_ms == pytest.approx(5990, rel=0.2)
    assert 5990 + 0.9 * steps_ms < alone.p50_ms < 5990 + 3 * steps_ms
    assert end.asked == 1, "a device that slow hands over once it knows its pace"
    assert end.verifier == PAPER


@pytest.mark.timeout(400)
def test_the_yardstick_uploads_what_it_says(study: LinkStudy) -> None:
    embedding, mel = row(study, SPLIT_EMBEDDING, THIS), row(study, SPLIT_MEL, THIS)
    assert embedding.bytes_sent == SPLIT_HEADER.size + STATE_BYTES + EMBEDDING_BYTES
    assert mel.bytes_sent > 16_000, "a clip has more than a second of speech"
    assert np.isnan(mel.claims), "its words mean nothing"
    assert mel.tokens == row(study, ALONE, THIS).tokens


@pytest.mark.timeout(400)
def test_tables_have_every_row(study: LinkStudy) -> None:
    speeds = [table for table in tables(study) if table.title.startswith("Times")]
    assert sum(len(table.rows) for table in speeds) == len(study.rows)
    printed = " ".join(notes(study, [LINK]))
    assert "The paper's claim" in printed
    assert "no mode of the product" in printed


def a_row(system: LinkSystem, *measured: Measured) -> LinkRow:
    (setting,) = slowed_settings([2], [CaptionLength.NORMAL])
    return row_of(setting, None if system.name == ALONE else LINK, system, measured)


def test_rows_hold_means_and_medians() -> None:
    slower = replace(MEASURED, decoding_s=4.0, has_asked=False, claims=(True,), bytes_sent=0)
    found = a_row(LinkSystem(UGSD), MEASURED, slower, slower)
    assert (found.p50_ms, found.first_token_ms, found.round_trip_ms) == (5000, 1500, 200)
    assert found.tokens_per_s == pytest.approx(30 / 10)
    assert found.tokens_per_s_encoded == pytest.approx(30 / 13)
    assert found.claims == pytest.approx(3 / 4)
    assert found.asked == pytest.approx(1 / 3)
    assert found.bytes_sent == pytest.approx(128 / 3)
    assert found.captions_per_core_s == pytest.approx(250)


def test_a_system_is_compared_with_the_drafter_alone() -> None:
    alone = a_row(LinkSystem(ALONE), replace(MEASURED, decoding_s=20.0))
    fast = a_row(LinkSystem(END), replace(MEASURED, decoding_s=1.0))
    ratio = compared(fast, alone)
    assert ratio.latency == pytest.approx(21 / 2)
    assert ratio.tokens == pytest.approx(20)
    assert ratio.tokens_encoded == pytest.approx(21 / 2)
    assert (ratio.word, ratio.meets_the_paper) == ("faster", True)
    assert compared(alone, alone).word == "equal"
    assert compared(alone, fast).word == "slower"


def test_worse_captions_do_not_meet_the_paper() -> None:
    alone = a_row(LinkSystem(ALONE), replace(MEASURED, decoding_s=20.0))
    for worse in ({"is_emotion_right": False}, {"claims": (False, False)}):
        fast = a_row(LinkSystem(END), replace(MEASURED, decoding_s=1.0, **worse))
        assert compared(fast, alone).loses_quality
        assert not compared(fast, alone).meets_the_paper


def test_the_device_sleeps_for_what_it_computed() -> None:
    device = Device(Slowdown(3))
    with device.drafting(1):
        ends_s = thread_time() + 0.05
        while thread_time() < ends_s:
            pass
    assert device.trace.paid_cpu_s >= 0.05
    assert device.trace.slept_s >= 1.9 * device.trace.paid_cpu_s


def test_a_replayed_step_has_its_own_time() -> None:
    pace = ReplayedSteps(first_token_s=6.0, step_s=0.4)
    assert pace.more_s(0.1, 2) == pytest.approx(0.7)
    assert pace.more_s(0.1, 0) == 0
    assert pace.encoding_s(0.05) == 6
    assert Slowdown(10).encoding_s(0.05) == pytest.approx(0.5)


def test_the_first_token_is_final_once_decided() -> None:
    drafted = [1.0, 2.0, 3.0, 4.0]
    assert Trace(predicted_s=[drafted]).first_token_s(3, 9.0) == 3
    asked = Trace(predicted_s=[drafted], sent_s=[3.5], verdicts_s=[0.5, 6.0])
    assert asked.first_token_s(3, 9.0) == 6, "the answer of the handshake is no verdict"
    assert replace(asked, verdicts_s=[]).first_token_s(3, 9.0) == 9
    assert replace(asked, predicted_s=[drafted, [7.0]]).first_token_s(3, 9.0) == 7


def test_a_long_draft_ends_where_it_shall() -> None:
    eos, word = 0, np.array([0, 1, 0], dtype=np.float32)
    draft = LongDraft([Prediction(word, np.zeros(2, dtype=np.float32))] * 4, eos)
    tokens = []
    while eos not in tokens:
        tokens.append(int(draft.predict().logits.argmax()))
        draft.append(tokens[-1:])
    assert tokens == [1, 1, 1, 1, eos]
    draft.crop(2)
    assert list(draft.tokens) == [1, 1]


def test_a_paced_verifier_ends_no_caption_early() -> None:
    scorer = PacedScorer(STARTER_FOLDER, first_token_s=0.01, step_s=0.0, least_tokens=20)
    scorer.load()
    tokens = scorer.decode(np.zeros(6, dtype=np.float32), 0, 20)
    assert tokens.index(scorer.info.eos) == 19
    scorer.close()


def test_ugsd_to_the_end_needs_captions_without_slots() -> None:
    with_slots = {
        one.name for one in systems_for(slowed_settings([1], [CaptionLength.RICH])[0].load, 0.4)
    }
    without = {one.name for one in systems_for(paper_settings(1)[0].load, 0.4)}
    assert UGSD in with_slots - without
    assert END in without - with_slots


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_quick_run_prints_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--quick", "--no-paper", "--system", UGSD, "--json"]
    assert main(["bench", "link", *options, "--cache", str(tmp_path / "measures.json")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["system"] for one in found["rows"]] == [ALONE, UGSD]
    assert found["rows"][0]["against_alone"]["latency"] == 1
    assert found["clips"] == 1


def test_an_unknown_system_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "link", "--system", "magic"]) != 0
    assert "no 'magic'; there are: drafter alone" in capsys.readouterr().err


def test_frames_of_other_threads_are_not_slowed() -> None:
    """The handshake is sealed by the connection's thread, whose clock is another one."""
    device = Device(ReplayedSteps(0.0, 0.0))
    with device.drafting(0):
        sum(n * n for n in range(200_000))  # so that the two clocks differ
    with ThreadPoolExecutor(1) as other:
        other.submit(device.sealed).result(timeout=30)
    assert not device.trace.sent_s
    assert device.trace.slept_s == 0
    device.sealed()
    assert len(device.trace.sent_s) == 1
