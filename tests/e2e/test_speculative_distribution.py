"""With speculative verification, the emotion of a caption has exactly the verifier's distribution
where the device asks, and exactly the drafter's where it does not.

Draws are compared with the exact distributions by Pearson's chi-square test. The same comparison
must notice each known way to implement this wrongly.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.grammar import clauses
from ugsd_lab.data.random_plans import random_plan
from ugsd_lab.data.vocabulary import Vocabulary
from ugsd_lab.training.starter import STARTER_DRAFTER
from ugsd_privacy.dp.mechanism import clip, quantise
from ugsd_privacy.egress import Escalation
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.protocol.channel import ClientChannel
from ugsd_privacy.protocol.messages import (
    AskedSlot,
    Block,
    Disclosure,
    Verdict,
    decode_server_message,
    encode,
)
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.reports.entries import Period
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished
from ugsd_sdk.decoding.policy import (
    AlwaysEscalate,
    BlockView,
    BudgetView,
    Escalate,
    KeepLocal,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty
from ugsd_sdk.decoding.value_draw import DrawnValue, ValueDraw, rounded_draft_weights
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.reports.audit import audit_report
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import Verification
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_server.session import Reply, VerifierSession, Work
from ugsd_server.settings import STARTER_FOLDER
from ugsd_server.verifier.acceptance import Speculative
from ugsd_server.verifier.engine import CaptionState, Verifier
from ugsd_server.verifier.onnx import OnnxScorer

from tests.doubles.emotion_pair import EmotionClip, EmotionDrafter, EmotionScorer

Float64 = NDArray[np.float64]
_RARE = 1.49 / 255
"""A share of the likeliest value that is rounded down to 1/255, by a third."""
_ROUNDED = np.array([1.0, *[1 / 255] * 8])
_SEVERAL = np.array([0.30, 0.02, 0.20, 0.10, 0.05, 0.05, 0.08, 0.05, 0.15])

CLIPS = (
    EmotionClip(q=tuple(_SEVERAL), p=tuple(_SEVERAL[::-1])),
    EmotionClip(
        q=(0.4, 0, 0.1, 0.2, 0, 0.1, 0.1, 0.1, 0), p=(0.05, 0.35, 0, 0.25, 0.1, 0, 0.2, 0.05, 0)
    ),
    EmotionClip(
        q=tuple(np.array([1.0, *[_RARE] * 8]) / (1 + 8 * _RARE)),
        p=tuple(_ROUNDED / _ROUNDED.sum()),
    ),
    EmotionClip(q=(0.99, 0.01, *[0] * 7), p=(*[0.1] * 8, 0.2)),
)
ASKED = (True, True, True, False)
"""Which clips the gate escalates: all but the one with little entropy."""
_THRESHOLD_NATS = 0.8
_DRAWS = (800, 800, 4000, 400)
_BY_CHANCE = 4.0
"""Standard deviations beyond which a difference is no chance."""

Outcomes = Mapping[tuple[int, bool], Counter[int]]
"""How often captions name each emotion, by clip and by whether they were asked about."""


@dataclass
class System:
    """The parts of device and verifier that a wrong variant replaces."""

    draw: type[ValueDraw] = ValueDraw
    decoder: type[Decoder] = Decoder
    rule: type[Speculative] = Speculative
    policy: Callable[[BlockView, BudgetView], KeepLocal | Escalate] = field(
        default_factory=lambda: UncertaintyPolicy(_THRESHOLD_NATS, Disclosure.DISTRIBUTIONS)
    )

    def run(self, clips: Sequence[int], draws: Sequence[int] = _DRAWS, seed: int = 1) -> Outcomes:
        """Caption each clip many times; the messages pass through the end-to-end channel."""
        device, server = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        drafter = EmotionDrafter(CLIPS)
        table = drafter.info.slot_table
        assert table is not None
        rules = BlockRules(table, verification=Verification.SPECULATIVE)
        assert rules.value_draw is not None
        rules.value_draw = self.draw(
            rules.value_draw.values, lambda below: int(device.integers(below))
        )
        verifier = Verifier(
            EmotionScorer(CLIPS, drafter.info), speculative=self.rule(random=server.random)
        )
        verifier.load()
        ask = _conversation(verifier)
        outcomes: dict[tuple[int, bool], Counter[int]] = {}
        ordinal = count()
        for place in clips:
            for _ in range(draws[place]):
                decoder = self.decoder(
                    partial(drafter.session, place),
                    eos=drafter.info.eos,
                    max_tokens=drafter.info.max_tokens,
                    ood_score=1.0,
                    uncertainty=EntropyUncertainty("nats"),
                    policy=self.policy,
                    piece=drafter.piece,
                    rules=rules,
                )
                event, asked = decoder.advance(), False
                while not isinstance(event, Finished):
                    assert isinstance(event, EscalationRequested)
                    asked = True
                    decoder.receive_verdict(ask(event.escalation, next(ordinal)))
                    event = decoder.advance()
                emotion = table.emotion_in(token.token for token in event.tokens)
                assert emotion is not None
                outcomes.setdefault((place, asked), Counter())[EMOTIONS.index(emotion)] += 1
        return outcomes


def _conversation(verifier: Verifier) -> Callable[[Escalation, int], Verdict]:
    """Connect a device to ``verifier`` in memory; return how it asks a question."""
    key = VerifierKey.generate()
    channel, session = ClientChannel(key.public), VerifierSession([key], verifier)
    hello = session.receive(channel.hello())
    assert isinstance(hello, Reply)
    channel.receive_hello(hello.frame)

    def ask(escalation: Escalation, ordinal: int) -> Verdict:
        block = Block(
            caption=ordinal,
            slot=escalation.slot,
            tokens=escalation.tokens,
            state_positions=escalation.state_positions,
            states=quantise(clip(escalation.states, 1.0), 1.0),
            draft_weights=escalation.draft_weights,
        )
        verdict = decode_server_message(
            channel.open(_answer(session, channel.seal(encode(block), TrafficShape.PADDED)))
        )
        assert isinstance(verdict, Verdict)
        return verdict

    return ask


def _answer(session: VerifierSession, frame: bytes) -> bytes:
    step = session.receive(frame)
    reply = session.finish(step.run()) if isinstance(step, Work) else step
    assert isinstance(reply, Reply)
    return reply.frame


def _deviation(counts: Counter[int], expected: Float64) -> float:
    """Return how far ``counts`` are from ``expected`` (N,): the larger deviation of all values, and
    of the likeliest against the others together."""
    if any(counts[value] for value in np.flatnonzero(expected == 0)):
        return float("inf")
    observed = np.array([counts[value] for value in range(len(expected))], dtype=np.float64)
    wanted = expected * counts.total()
    is_likeliest = np.arange(len(expected)) == expected.argmax()
    return max(
        _chi_square(observed, wanted, wanted < 5), _chi_square(observed, wanted, ~is_likeliest)
    )


def _chi_square(observed: Float64, wanted: Float64, pooled: NDArray[np.bool_]) -> float:
    """Return Pearson's chi-square statistic in standard deviations of a normal variable, by Wilson
    and Hilferty (1931). The ``pooled`` values count as one."""
    observed = np.append(observed[~pooled], observed[pooled].sum())
    wanted = np.append(wanted[~pooled], wanted[pooled].sum())
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    freedom = len(wanted) - 1
    if not freedom:
        return 0.0
    statistic = float(((observed - wanted) ** 2 / wanted).sum())
    variance = 2 / (9 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - variance)) / variance**0.5)


def _deviations(outcomes: Outcomes) -> dict[tuple[int, bool], float]:
    found = {}
    for (place, asked), counts in outcomes.items():
        q = rounded_draft_weights(np.array(CLIPS[place].q)).astype(np.float64)
        expected = np.array(CLIPS[place].p) if asked else q / q.sum()
        found[place, asked] = _deviation(counts, expected)
    return found


def test_asked_captions_follow_the_verifier_exactly() -> None:
    outcomes = System().run(range(len(CLIPS)))
    assert set(outcomes) == set(enumerate(ASKED))
    deviations = _deviations(outcomes)
    assert max(deviations.values()) < _BY_CHANCE, deviations


class _Inverted(Speculative):
    """Accepts with min(1, q/p)."""

    def outcomes(self, p: Float64, q: Float64, drafted: int) -> Float64:
        accepted = min(1.0, float(q[drafted] / p[drafted])) if p[drafted] else 1.0
        residual = np.maximum(p - q, 0)
        outcomes: Float64 = (1 - accepted) * residual / residual.sum()
        outcomes[drafted] += accepted
        return outcomes


class _WithoutResidual(Speculative):
    """Draws from p in place of the residual after a rejection."""

    def outcomes(self, p: Float64, q: Float64, drafted: int) -> Float64:
        accepted = min(1.0, float(p[drafted] / q[drafted]))
        outcomes = (1 - accepted) * p
        outcomes[drafted] += accepted
        return outcomes


class _LikeliestOfResidual(Speculative):
    """Corrects to the likeliest value of the residual."""

    def outcomes(self, p: Float64, q: Float64, drafted: int) -> Float64:
        outcomes = np.zeros_like(p)
        accepted = min(1.0, float(p[drafted] / q[drafted]))
        outcomes[(p - q).argmax()] = 1 - accepted
        outcomes[drafted] += accepted
        return outcomes


class _DrawnBeforeRounding(ValueDraw):
    """Sends rounded draft weights, but draws from what they were rounded from."""

    def __call__(self, logits: NDArray[np.floating]) -> DrawnValue:
        exact = self._probabilities(logits)
        drawn = self.random_below(2**53) / 2**53
        value = int(np.searchsorted(np.cumsum(exact), drawn * exact.sum(), side="right"))
        return DrawnValue(self.values[value][0], rounded_draft_weights(exact).tobytes())


class _Likeliest(ValueDraw):
    """Takes the likeliest value and claims to have drawn it."""

    def __call__(self, logits: NDArray[np.floating]) -> DrawnValue:
        exact = self._probabilities(logits)
        return DrawnValue(
            self.values[int(exact.argmax())][0], rounded_draft_weights(exact).tobytes()
        )


class _Revealing(Decoder):
    """Shows the policy the token that was drawn."""

    def _decide(self, block):  # type: ignore[no-untyped-def]
        view = BlockView(
            0,
            tuple(one.token for one in block),
            tuple(one.uncertainty or 0 for one in block),
            False,
        )
        return self._policy(view, self._budget())


def _by_drawn_token(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
    return Escalate(Disclosure.DISTRIBUTIONS) if block.tokens[-1] % 4 < 2 else KeepLocal()


WRONG = {
    "accepts by q/p": System(rule=_Inverted),
    "resamples from p": System(rule=_WithoutResidual),
    "corrects to the likeliest": System(rule=_LikeliestOfResidual),
    "gates on the drawn value": System(decoder=_Revealing, policy=_by_drawn_token),
    "draws before rounding": System(draw=_DrawnBeforeRounding),
    "does not draw": System(draw=_Likeliest),
}


@pytest.mark.parametrize("fault", WRONG)
def test_known_faults_are_noticed(fault: str) -> None:
    places = (2,) if fault == "draws before rounding" else (0, 1)
    deviations = _deviations(WRONG[fault].run(places, (400, 400, 4000)))
    assert max(deviations.values()) > _BY_CHANCE, deviations


def test_captions_of_whole_system_follow_the_verifier(
    tmp_path: Path, voice: NDArray[np.float32]
) -> None:
    drafter, key = EmotionDrafter(CLIPS), VerifierKey.generate()
    rule = Speculative(np.random.default_rng(6).random)
    verifier = Verifier(EmotionScorer(CLIPS, drafter.info), speculative=rule)
    verifier.load()
    session = VerifierSession([key], verifier)
    counts: Counter[int] = Counter()
    with Captioner(
        drafter,
        verifier=lambda: MemoryTransport(lambda frame: _answer(session, frame)),
        verifier_key=key.public.to_text(),
        home=tmp_path / "home",
        config=Settings(
            verification="speculative",
            disclosure="distributions",
            verifier={"deadline_s": 60, "caption_deadline_s": 60},  # a busy machine is no failure
        ),
        policy=AlwaysEscalate(Disclosure.DISTRIBUTIONS),
    ) as captioner:
        captioner.wait_until_connected()
        for _ in range(240):  # the device draws with the system's random numbers
            caption = captioner.caption(voice, 16_000)
            assert caption.unverified_reason is None
            assert caption.usage.num_blocks == 1
            assert caption.attributes is not None
            counts[EMOTIONS.index(str(caption.attributes.emotion.value))] += 1
    assert _deviation(counts, np.array(CLIPS[0].p)) < _BY_CHANCE
    assert _deviation(counts, np.array(CLIPS[0].q)) > _BY_CHANCE


def test_noised_states_with_draft_weights_have_no_guarantee(
    tmp_path: Path, voice: NDArray[np.float32]
) -> None:
    drafter, key = EmotionDrafter(CLIPS), VerifierKey.generate()
    verifier = Verifier(EmotionScorer(CLIPS, drafter.info))
    verifier.load()
    session = VerifierSession([key], verifier)
    config = Settings(
        home=tmp_path / "home",
        verification="speculative",
        disclosure="distributions",
        noise={"sigma": 2.0},
        verifier={"deadline_s": 60, "caption_deadline_s": 60},  # a busy machine is no failure
    )
    with Captioner(
        drafter,
        verifier=lambda: MemoryTransport(lambda frame: _answer(session, frame)),
        verifier_key=key.public.to_text(),
        config=config,
        policy=AlwaysEscalate(Disclosure.DISTRIBUTIONS),
    ) as captioner:
        captioner.wait_until_connected()
        usage = captioner.caption(voice, 16_000).usage
    assert "no guarantee (the probabilities have no noise)" in usage.text()
    way = audit_report(config, "starter", Period(0, 2**33)).protections[0]
    assert way.title == "Blocks sent as distributions, the states with noise of sigma 2"
    assert way.bound == (
        "no bound: how likely the emotions are was sent with the states, without noise",
    )


def test_every_wording_of_the_grammar_can_be_judged() -> None:
    drafter = OnnxDrafter(STARTER_DRAFTER)
    drafter.load()
    scorer = OnnxScorer(STARTER_FOLDER)
    verifier = Verifier(scorer)
    verifier.load()
    vocabulary, rules = Vocabulary.build(), BlockRules(drafter.info.slot_table)
    values = scorer.info.values[AskedSlot.EMOTION]
    stating = {token for tokens in values for token in tokens}
    state = quantise(np.eye(scorer.info.state_dim, dtype=np.float32)[:1], 1.0)
    draw = random.Random(0)
    asked, longest = set(), 0
    for emotion in EMOTIONS:
        for number in range(60):
            plan = random_plan(draw, is_strong=number % 2 == 0)
            clause = vocabulary.encode(clauses(emotion, plan)[:1])
            length = rules.next_block_length([], clause, is_complete=True)
            asked.add(tuple(clause[:length]))
            longest = max(longest, sum(token in stating for token in clause))
    assert longest > 1  # "good humour"
    assert all(sum(token in stating for token in tokens) == 1 for tokens in asked)
    for tokens in sorted(asked):
        block = Block(
            caption=0, slot=AskedSlot.EMOTION, tokens=tokens, state_positions=(0,), states=state,
            draft_weights=bytes([255] * len(values)),
        )  # fmt: skip
        verdict = verifier.verify(CaptionState(), block)
        assert verdict.correction is None or verdict.accepted < len(tokens)
