"""Claim precision and claim recall of single captions."""

from __future__ import annotations

import numpy as np
from ugsd_lab.evaluation.claim_truth import NOTHING, SlotTruth
from ugsd_lab.evaluation.claims import (
    CLAIMS,
    chance_precision,
    checked_claims,
    claim_share,
    recalled_facts,
    stated_values,
)
from ugsd_sdk.attributes.slots import Slot

from tests.lab.evaluation.spoken_claims import attributes

TRUTH = {
    "emotion": SlotTruth.of({"angry"}, {"angry"}),
    "pitch": SlotTruth.of({"high"}, {"high"}),
    "change": SlotTruth.of({"louder", "higher"}, {"louder", "higher"}),
    "pace": SlotTruth.of({"moderate"}),
    "previous": NOTHING,
}


def test_every_slot_and_intensity_can_be_claimed() -> None:
    assert set(CLAIMS) == {*Slot, "intensity"}


def test_unsaid_attributes_claim_nothing() -> None:
    found = attributes({"emotion": "sad"}, unsaid={"pitch": "low"})
    assert stated_values(found) == {"emotion": "sad"}


def test_claims_are_right_wrong_or_not_judged() -> None:
    stated = {"emotion": "sad", "pitch": "high", "previous": "same", "loudness": "loud"}
    right = {"emotion": False, "pitch": True, "previous": False}
    assert checked_claims(stated, TRUTH) == right


def test_one_of_several_salient_values_is_enough() -> None:
    stated = {"change": "higher", "pitch": "medium"}
    assert recalled_facts(stated, TRUTH) == {"emotion": False, "pitch": False, "change": True}


def test_chance_is_the_precision_about_a_random_recording() -> None:
    truths = [{"pitch": SlotTruth.of({value})} for value in ("high", "high", "low", "medium")]
    chance = chance_precision([{"pitch": "high"}, {"pitch": "low"}], [*truths, {}])
    assert chance["pitch"] == 0.375
    assert np.isnan(chance["pace"])


def test_share_has_an_interval_over_speakers() -> None:
    share = claim_share(["a", "a", "b", "b"], [True, True, True, False])
    assert (share.count, share.share, share.low, share.high) == (4, 0.75, 0.5, 1.0)
    assert np.isnan(claim_share([], []).share)
    assert claim_share([], []).count == 0
