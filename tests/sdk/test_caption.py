"""A caption's JSON contains the whole caption."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import UNBOUNDED_COST, Guarantee
from ugsd_privacy.reasons import ReasonCode, as_reason
from ugsd_sdk.caption import (
    BlockDecision,
    Caption,
    CaptionSpeech,
    CaptionToken,
    CaptionUsage,
    Latency,
)
from ugsd_sdk.decoding.events import Outcome, TokenSource

from tests.doubles.reasons import reasons

COUNTS = st.integers(min_value=0, max_value=2**63 - 1)
AMOUNTS = st.floats(min_value=0)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
TOKENS = st.builds(
    CaptionToken,
    text=st.text(),
    source=st.sampled_from(TokenSource),
    uncertainty=st.none() | AMOUNTS,
    disclosed=st.booleans(),
    replaced=st.text(),
)
GUARANTEES = st.builds(
    Guarantee.from_privacy_cost, st.sampled_from((1, 10**6, 10**12, UNBOUNDED_COST)), st.just(1e-6)
)
USAGES = st.builds(
    CaptionUsage,
    **{name: COUNTS for name in CaptionUsage.model_fields if name != "guarantee"},
    guarantee=st.none() | GUARANTEES,
)
RECEIPTS = st.builds(
    Receipt,
    index=COUNTS,
    leaf_hash=HASHES,
    tree_size=COUNTS,
    root=HASHES,
    proof=st.lists(HASHES, max_size=3).map(tuple),
    checkpoint=st.text(),
)
DECISIONS = st.builds(
    BlockDecision,
    start=COUNTS,
    num_tokens=COUNTS,
    uncertainty=st.floats(allow_nan=False),
    outcome=st.sampled_from(Outcome),
    reason=reasons(),
)
SPEECH = st.builds(
    CaptionSpeech,
    share=st.floats(0, 1),
    duration_s=AMOUNTS,
    spans=st.lists(st.tuples(AMOUNTS, AMOUNTS), max_size=2).map(tuple),
)
CAPTIONS = st.builds(
    Caption,
    is_truncated=st.booleans(),
    speech=SPEECH,
    path=st.none() | st.text(),
    text=st.text(),
    tokens=st.lists(TOKENS, max_size=3).map(tuple),
    usage=USAGES,
    latency_ms=st.builds(Latency, **dict.fromkeys(Latency.model_fields, AMOUNTS)),
    receipts=st.lists(RECEIPTS, max_size=2).map(tuple),
    unverified_reason=st.none() | reasons(),
    id=st.none() | st.text(),
    decisions=st.lists(DECISIONS, max_size=2).map(tuple),
)


@given(CAPTIONS)
def test_caption_round_trips_through_json(caption: Caption) -> None:
    text = caption.model_dump_json()
    assert Caption.model_validate_json(text) == caption
    assert Caption.model_validate_json(text).model_dump_json() == text
    json.loads(text, parse_constant=pytest.fail)


@given(CAPTIONS)
def test_caption_round_trips_through_fields(caption: Caption) -> None:
    assert Caption.model_validate(caption.model_dump()) == caption


@pytest.mark.parametrize("reason", ["deadline", {}, {"code": "none such"}, {"text": "deadline"}])
def test_reason_is_not_guessed_from_text(reason: object) -> None:
    fields = {"start": 0, "tokens": 1, "uncertainty": 0.5, "outcome": "local", "reason": reason}
    with pytest.raises(ValidationError):
        BlockDecision.model_validate_json(json.dumps(fields))


def test_text_of_a_reason_is_ignored() -> None:
    decision = BlockDecision(
        start=0,
        num_tokens=1,
        uncertainty=0.5,
        outcome=Outcome.LOCAL,
        reason=as_reason(ReasonCode.DEADLINE),
    )
    fields = json.loads(decision.model_dump_json())
    fields["reason"]["text"] = "other words"
    assert BlockDecision.model_validate_json(json.dumps(fields)) == decision
