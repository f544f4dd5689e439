"""The draw of a slot's value: from exactly the draft weights that are sent."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ugsd_privacy.egress import Escalation
from ugsd_privacy.protocol.messages import AskedSlot, ContinueTo, Disclosure, Verdict
from ugsd_sdk.attributes.slots import EMOTIONS, Slot
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished, TokenSource
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    NeverEscalate,
    Policy,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.decoding.value_draw import ValueDraw, rounded_draft_weights
from ugsd_sdk.errors import ConfigError, ModelError
from ugsd_sdk.settings.verification import BlockUnit, Continuation, Verification

from tests.doubles.emotion_pair import EmotionClip, EmotionDrafter

DISTRIBUTIONS = Disclosure.DISTRIBUTIONS
CLIP = EmotionClip(q=(0.5, 0.3, 0.2, *[0] * 6), p=(1, *[0] * 8))
DRAFTER = EmotionDrafter([CLIP])
TABLE = DRAFTER.info.slot_table
assert TABLE is not None
STATING = TABLE.stating_tokens(Slot.EMOTION)
WEIGHTS = bytes([255, 153, 102, *[0] * 6])
NEUTRAL, CALM, HAPPY = 0, 255, 255 + 153
"""The least number below the total of the draft weights that draws each value."""


def decoder_of(policy: Policy, number: int = CALM, **rules: Any) -> Decoder:
    given_rules: dict[str, Any] = {
        "verification": Verification.SPECULATIVE, "random_below": lambda _: number,
    }  # fmt: skip
    return Decoder(
        partial(DRAFTER.session, 0), eos=DRAFTER.info.eos, max_tokens=16, ood_score=1.0,
        uncertainty=EntropyUncertainty(), policy=policy, piece=DRAFTER.piece,
        rules=BlockRules(TABLE, **(given_rules | rules)),
    )  # fmt: skip


def asked(decoder: Decoder) -> Escalation:
    event = decoder.advance()
    assert isinstance(event, EscalationRequested)
    return event.escalation


def finished(decoder: Decoder) -> Finished:
    event = decoder.advance()
    assert isinstance(event, Finished)
    return event


def text(decoder: Decoder) -> str:
    return DRAFTER.text([token.token for token in finished(decoder).tokens])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=64).filter(any))
def test_draft_weights_are_within_half_a_step(probabilities: list[float]) -> None:
    exact = np.array(probabilities)
    draft_weights = rounded_draft_weights(exact)
    assert draft_weights.max() == 255
    assert np.abs(draft_weights / 255 - exact / exact.max()).max() <= 0.5 / 255 + 1e-12


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-12, 12), min_size=6, max_size=6))
def test_numbers_draw_in_proportion_to_draft_weights(logits: list[float]) -> None:
    values = ((0, 1), (), (2,), (4, 5))
    scores = np.array(logits, dtype=np.float32)
    totals: list[int] = []
    first = ValueDraw(values, lambda total: totals.append(total) or 0)(scores)
    drawn = Counter(ValueDraw(values, lambda _, n=n: n)(scores).token for n in range(totals[0]))
    by_value = [sum(drawn[token] for token in stating) for stating in values]
    assert bytes(by_value) == first.draft_weights
    likely = np.array([np.exp(scores[list(s)].astype(np.float64)).sum() for s in values])
    assert np.abs(np.array(by_value) / 255 - likely / likely.max()).max() <= 0.5 / 255 + 1e-9
    for stating in values:
        assert sum(drawn[token] > 0 for token in stating) <= 1
    for token in drawn:
        stating = next(stating for stating in values if token in stating)
        assert scores[token] == max(scores[list(stating)])


@pytest.mark.parametrize("damaged", [np.nan, np.inf])
def test_damaged_logits_are_a_model_error(damaged: float) -> None:
    logits = np.array([0.0, damaged], dtype=np.float32)
    with pytest.raises(ModelError, match="reinstall"):
        ValueDraw(((0,), (1,)))(logits)
    with pytest.raises(ModelError, match="reinstall"):
        ValueDraw(((0,), (1,)))(np.full(2, -np.inf, dtype=np.float32))


def test_default_randomness_draws_every_value() -> None:
    draw = ValueDraw(((0,), (1,)))
    assert {draw(np.zeros(2, dtype=np.float32)).token for _ in range(200)} == {0, 1}


@pytest.mark.parametrize(
    ("number", "emotion"), [(NEUTRAL, "neutral"), (CALM - 1, "neutral"), (CALM, "calm"),
                            (HAPPY - 1, "calm"), (HAPPY, "happy"), (509, "happy")],
)  # fmt: skip
def test_kept_captions_name_the_drawn_value(number: int, emotion: str) -> None:
    assert text(decoder_of(NeverEscalate(), number)) == f"The voice sounds {emotion}, loudly."


def test_question_holds_its_draft_weights() -> None:
    sent = asked(decoder_of(AlwaysEscalate(DISTRIBUTIONS)))
    assert sent.draft_weights == WEIGHTS
    assert (sent.slot, sent.continue_to) == (AskedSlot.EMOTION, ContinueTo.NOTHING)
    assert sent.tokens == (1, 2, 3, STATING[EMOTIONS.index("calm")][0])
    assert sent.state_positions == (0,)


def test_correction_replaces_the_drawn_value() -> None:
    decoder = decoder_of(AlwaysEscalate(DISTRIBUTIONS))
    asked(decoder)
    sad = STATING[EMOTIONS.index("sad")][1]
    decoder.receive_verdict(Verdict(caption=0, start=0, accepted=3, correction=sad))
    tokens = finished(decoder).tokens
    assert DRAFTER.text([token.token for token in tokens]) == "The voice sounds sad, loudly."
    assert [token.source for token in tokens].count(TokenSource.CORRECTED) == 1


@pytest.mark.parametrize("number", [NEUTRAL, CALM, HAPPY])
def test_policy_decides_without_the_drawn_value(number: int) -> None:
    seen: list[BlockView] = []

    def policy(block: BlockView, _: BudgetView) -> KeepLocal | Escalate:
        seen.append(block)
        return KeepLocal()

    finished(decoder_of(policy, number))
    entropy = EntropyUncertainty()(DRAFTER_LOGITS, 1.0)
    assert seen == [BlockView(0, (1, 2, 3), (None, None, None, entropy), False)]


def _stating_logits() -> NDArray[np.float32]:
    session = DRAFTER.session(0)
    session.append([1, 2, 3])
    return session.predict().logits


DRAFTER_LOGITS = _stating_logits()


@pytest.mark.parametrize("verification", Verification)
def test_questions_are_sent_whole(verification: Verification) -> None:
    disclosure = DISTRIBUTIONS if verification is Verification.SPECULATIVE else Disclosure.SUMMARY
    policy = UncertaintyPolicy(threshold=0.0, disclosure=disclosure)
    assert len(asked(decoder_of(policy, verification=verification)).tokens) == 4


@pytest.mark.parametrize(
    ("verification", "disclosure"),
    [(Verification.SPECULATIVE, Disclosure.SUMMARY), (Verification.VERIFIER, DISTRIBUTIONS)],
)
def test_policy_with_another_disclosure_is_refused(
    verification: Verification, disclosure: Disclosure
) -> None:
    decoder = decoder_of(AlwaysEscalate(disclosure), verification=verification)
    with pytest.raises(
        ConfigError, match=r"set (disclosure = distributions|verification = speculative)"
    ):
        decoder.advance()


def test_without_speculation_the_likeliest_value_is_drafted() -> None:
    policy = AlwaysEscalate(Disclosure.SUMMARY)
    sent = asked(decoder_of(policy, verification=Verification.VERIFIER))
    assert sent.draft_weights == b""
    assert sent.tokens[-1] == STATING[0][0]


@pytest.mark.parametrize(
    ("table", "rules", "message"),
    [
        (None, {}, "has no slots"),
        (TABLE, {"block_unit": BlockUnit.TOKENS}, "block_unit = slot"),
        (TABLE, {"continuation": Continuation.CLAUSE}, "delete continuation = clause"),
    ],
)
def test_impossible_speculation_is_refused(table: Any, rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BlockRules(table, verification=Verification.SPECULATIVE, **rules)
