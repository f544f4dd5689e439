"""A caption in words and in JSON: nothing is lost, and the small form is small."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from pydantic import ValidationError
from ugsd_privacy.reasons import ReasonCode, as_reason
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.caption import BlockDecision, Caption
from ugsd_sdk.caption.schema import caption_schema
from ugsd_sdk.decoding.events import Outcome

from tests.doubles.captions import captions, sample_caption

SCHEMA = Path(__file__).parents[2] / "docs" / "caption.schema.json"
MAX_SMALL_BYTES = 1200


@given(captions())
def test_caption_round_trips_through_json(caption: Caption) -> None:
    text = caption.model_dump_json()
    assert Caption.model_validate_json(text) == caption
    assert Caption.model_validate_json(text).model_dump_json() == text
    json.loads(text, parse_constant=pytest.fail)


@given(captions())
def test_caption_round_trips_through_fields(caption: Caption) -> None:
    assert Caption.model_validate(caption.model_dump()) == caption


@given(captions())
def test_json_with_details_loses_nothing(caption: Caption) -> None:
    assert Caption.from_json(caption.to_json(details=True)) == caption


@given(captions())
def test_small_json_reads_back_the_same(caption: Caption) -> None:
    small = caption.to_json()
    again = Caption.from_json(small)
    assert again.to_json() == small
    assert again == Caption.model_validate_json(small)
    assert again.attributes.emotion == caption.attributes.emotion
    kept = caption.model_dump(exclude={"tokens", "decisions", "receipts", "attributes"})
    assert again.model_dump(include=set(kept)) == kept


@given(captions())
def test_small_json_has_a_part_of_all(caption: Caption) -> None:
    small, details = json.loads(caption.to_json()), json.loads(caption.to_json(details=True))
    assert not {"tokens", "decisions", "receipts"} & set(small)
    assert is_part(small, details)


def is_part(small: object, whole: object) -> bool:
    if isinstance(small, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(one, whole[name]) for name, one in small.items())
    return small == whole


def test_usual_caption_has_a_kilobyte_of_json() -> None:
    assert len(sample_caption().to_json().encode()) <= MAX_SMALL_BYTES


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"text": 1}', b"\xff", "[" * 100, '{"text": "a", "more": 1}']
)
def test_other_text_is_no_caption(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Caption.from_json(text)


def test_caption_prints_as_its_sentence() -> None:
    caption = sample_caption()
    assert str(caption) == f"{caption}" == caption.text
    assert repr(caption) == (
        f"Caption({caption.text!r}, sent='1 block sent: 2 tokens, 0 states, 1046 bytes')"
    )


@given(captions())
def test_representation_is_one_line(caption: Caption) -> None:
    assert len(repr(caption).splitlines()) == 1


def test_equal_captions_have_one_hash() -> None:
    assert len({sample_caption(), sample_caption()}) == 1


def test_published_schema_is_current() -> None:
    assert SCHEMA.read_text("utf-8") == caption_schema()


@given(captions())
def test_both_forms_follow_the_schema(caption: Caption) -> None:
    check = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    for text in (caption.to_json(), caption.to_json(details=True)):
        fields = json.loads(text)
        check.validate(fields)
        assert not check.is_valid(fields | {"more": 1})


@pytest.mark.parametrize("reason", ["deadline", {}, {"code": "none such"}, {"text": "deadline"}])
def test_reason_is_not_guessed_from_text(reason: object) -> None:
    fields = {"start": 0, "num_tokens": 1, "uncertainty": 0.5, "outcome": "local", "reason": reason}
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


def test_confidence_is_that_of_all_claims() -> None:
    caption = sample_caption()
    said = [one for one in caption.attributes.by_name().values() if one.is_said]
    assert caption.confidence is not None
    assert 0 < caption.confidence < min(one.confidence or 0 for one in said)
    assert Attributes.unknown().joint_confidence() is None
