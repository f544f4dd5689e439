"""What the decoder learns: captions of plans, and what follows a corrected clause."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.vocabulary import EOS, PAD, Vocabulary
from ugsd_lab.models.networks import MAX_TOKENS, CaptionDecoder
from ugsd_lab.training.caption_decoder import Wording, padded, random_wording, token_loss
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import PLAN_DIM
from ugsd_sdk.attributes.slots import EMOTIONS, Slot

emotions = st.sampled_from(EMOTIONS)
lengths = st.sampled_from(CaptionLength)
seeds = st.integers(0, 2**32)


def split(wording: Wording, vocabulary: Vocabulary) -> dict[str | None, list[int]]:
    """Return the tokens of each clause, in order."""
    out: dict[str | None, list[int]] = {}
    for token in wording.tokens:
        out.setdefault(vocabulary.slots[token], []).append(token)
    return out


@given(emotion=emotions, length=lengths, seed=seeds)
def test_learnt_part_states_the_plan(
    vocabulary: Vocabulary, emotion: str, length: CaptionLength, seed: int
) -> None:
    wording = random_wording(emotion, length, vocabulary, random.Random(seed))
    parts, plan = split(wording, vocabulary), wording.plan
    assert list(parts) == [*plan.slots, None]
    assert vocabulary.decode(wording.tokens).endswith(".")
    assert len(wording.tokens) < MAX_TOKENS
    learnt = wording.tokens[wording.num_given :]
    assert learnt, "at least the full stop"
    for slot, value in plan.values.items():
        own = set(parts[slot]) & set(learnt)
        assert own <= set(vocabulary.values[slot.value][value])


@given(emotion=emotions, length=lengths, seed=seeds)
def test_given_part_ends_with_the_corrected_clause(
    vocabulary: Vocabulary, emotion: str, length: CaptionLength, seed: int
) -> None:
    wording = random_wording(emotion, length, vocabulary, random.Random(seed))
    whole = split(wording, vocabulary)
    if not wording.num_given:
        expected = vocabulary.encode(clauses(emotion, wording.plan))
        assert list(wording.tokens) == expected
        return
    slots = [vocabulary.slots[token] for token in wording.tokens]
    assert slots[wording.num_given - 1] != slots[wording.num_given], "whole clauses are given"
    last = slots[wording.num_given - 1]
    for slot, own in whole.items():
        if slot not in (last, None, Slot.EMOTION):
            value = wording.plan.values[Slot(slot)]
            assert set(own) <= set(vocabulary.values[slot][value]), "one clause was corrected"
    if last != Slot.EMOTION:
        assert vocabulary.emotions_named(wording.tokens) == {emotion}


def test_corrected_clauses_are_of_every_slot(vocabulary: Vocabulary) -> None:
    rng = random.Random(0)
    wordings = [random_wording("sad", CaptionLength.RICH, vocabulary, rng) for _ in range(1500)]
    given_last = [
        vocabulary.slots[one.tokens[one.num_given - 1]] for one in wordings if one.num_given
    ]
    assert 0.3 < len(given_last) / len(wordings) < 0.5
    assert set(given_last) == {slot.value for slot in Slot}
    named = [vocabulary.emotions_named(one.tokens) for one in wordings]
    assert set().union(*named) == set(EMOTIONS), "the corrected emotion is another"
    assert all(len(some) == 1 for some in named)


def test_padding_and_given_tokens_are_not_learnt() -> None:
    targets = padded([[PAD, PAD, 7, EOS], [5, EOS]])
    assert targets.tolist() == [[PAD, PAD, 7, EOS], [5, EOS, PAD, PAD]]
    logits = torch.zeros(2, 4, 9, requires_grad=True)
    token_loss(logits, targets).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    learnt = logits.grad.abs().sum(-1) > 0
    assert learnt.tolist() == [[False, False, True, True], [True, True, False, False]]


@given(seed=st.integers(0, 2**31), cut=st.integers(1, 7))
def test_cached_decoding_equals_one_pass(decoder: CaptionDecoder, seed: int, cut: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 99, (2, 8), generator=generator)
    emotion = torch.randn(2, len(EMOTIONS), generator=generator).log_softmax(-1)
    plan = torch.randint(0, 2, (2, PLAN_DIM), generator=generator).float()
    with torch.inference_mode():
        empty = decoder.causal.empty_past(2)
        logits, _ = decoder(tokens, emotion, plan, empty)
        _, past = decoder(tokens[:, :cut], emotion, plan, empty)
        later, _ = decoder(tokens[:, cut:], emotion, plan, past)
    np.testing.assert_allclose(later, logits[:, cut:], atol=1e-4)


def test_decoder_reads_emotion_and_plan(decoder: CaptionDecoder) -> None:
    tokens, past = torch.tensor([[1]]), decoder.causal.empty_past(1)
    emotion, plan = torch.zeros(1, len(EMOTIONS)), torch.zeros(1, PLAN_DIM)
    with torch.inference_mode():
        bare = decoder(tokens, emotion, plan, past)[0]
        for feature in range(PLAN_DIM):
            changed = plan.clone()
            changed[0, feature] = 1
            assert not torch.equal(decoder(tokens, emotion, changed, past)[0], bare)
        assert not torch.equal(decoder(tokens, emotion + 1, plan, past)[0], bare)
