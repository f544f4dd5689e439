"""Parts that the captions of several threads share: each is loaded once and loses no update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.ledger import BudgetStanding
from ugsd_privacy.ledger.journal import Questions
from ugsd_sdk.decoding.budget_pacing import BudgetPacer
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.decoding.pace import Pace
from ugsd_sdk.drafter import onnx
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.speech import voice_activity
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector
from ugsd_sdk.transport import dialling

from tests.doubles.busy_threads import all_at_once, switching_often
from tests.doubles.speech import recorded_speech

THREADS = 8
TIMES = 300


def often(record: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for _ in range(TIMES):
            record()

    return work


def counted(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[int]:
    """Count the sessions that ``module`` makes."""
    made: list[int] = []

    def session(graph: bytes, **options: Any) -> Any:
        made.append(len(graph))
        return onnx_session(graph, **options)

    monkeypatch.setattr(module, "onnx_session", session)
    return made


def test_detector_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, speech = counted(monkeypatch, voice_activity), recorded_speech(1.0)
    detector = VoiceActivityDetector()
    found = all_at_once(*[lambda: detector.find(speech)] * THREADS)
    assert len(set(found)) == 1
    assert len(made) == 1


def test_drafter_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = counted(monkeypatch, onnx)
    drafter = OnnxDrafter(DrafterBundle.of(STARTER).folder)
    all_at_once(*[drafter.load] * THREADS)
    assert len(made) == len(set(made)), "each graph once"
    speech = recorded_speech(1.0)
    embeddings = all_at_once(*[lambda: drafter.embed(speech)] * THREADS)
    assert all(np.array_equal(one, embeddings[0]) for one in embeddings)


def test_pace_loses_no_sample() -> None:
    pace = Pace()
    with switching_often():
        works = [often(lambda: pace.record_caption(0)), often(lambda: pace.record_verdict(0, 1))]
        all_at_once(*works * (THREADS // 2))
    share = (7 / 8) ** (TIMES * THREADS // 2)
    assert pace.caption_tokens == pytest.approx(24 * share, rel=1e-9)
    assert pace.acceptance == pytest.approx(0.8 * share, rel=1e-9)


def test_forgotten_answers_disturb_no_reader() -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 61.0  # every answer is forgotten before the next
        return now_s

    pace = Pace(clock=clock)
    with switching_often():
        all_at_once(
            *[often(lambda: pace.record_answer(0.5))] * 4,
            *[often(lambda: pace.block_tokens(8))] * 4,
        )
    assert pace.answer_s in {None, 0.5}


def test_question_counts_once_for_two_readers() -> None:
    """Two captions of one user read the journal at the same row, then both quote."""
    pacer, cost = BudgetPacer(), Usage(blocks=1)
    found = Questions([(0.5, cost.counts)] * 20, {0: 20}, 0, 20)
    standing = BudgetStanding(BudgetLimits(blocks_per_day=10), {}, 3600.0, found)
    expected = BudgetPacer()
    expected.quote(Question(0.5, cost), standing)
    for _ in range(2):
        pacer.quote(Question(0.5, cost), standing, after=0)
    assert pacer._by_hour == expected._by_hour
    assert len(pacer._worths) == 20


def test_open_connections_share_certificates() -> None:
    contexts = all_at_once(*[dialling._tls] * THREADS)
    assert dialling._tls() in contexts
    assert dialling._tls() is dialling._tls()
    del contexts
    assert not dialling._contexts, "read again when no connection is open"
