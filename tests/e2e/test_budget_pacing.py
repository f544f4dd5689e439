"""A burst in the morning does not use up a day's budget: captioner, ledger and journal, by a fake
clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.reasons import ReasonCode
from ugsd_sdk import home as home_module
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.events import Outcome
from ugsd_sdk.home import UserEgress
from ugsd_sdk.settings.config import Settings

from tests.doubles.device import FakeVerifier
from tests.doubles.slot_drafter import SlotDrafter
from tests.doubles.speech import recorded_speech

MIDNIGHT_S = 20_000 * 86_400.0
CAP = 20
LIMITS = BudgetLimits.without_caps(blocks_per_day=CAP)
Run = Callable[..., list[Caption]]


class Worth:
    """Scores of every token: the worth of a question, or with ``has_gain`` a half, and the worth
    as the expected gain."""

    def __init__(self) -> None:
        self.worth, self.has_gain = 0.0, False

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float:
        return 0.5 if self.has_gain else self.worth

    def expected_gain(self, logits: NDArray[np.floating], ood_score: float) -> float | None:
        return self.worth if self.has_gain else None


class Device:
    """A device whose clock, and the worth of whose questions, a test sets."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.now_s, self.scores = home, MIDNIGHT_S, Worth()
        self._fake = FakeVerifier(VerifierKey.generate(), SlotDrafter())  # type: ignore[arg-type]
        self._clip: NDArray[np.float32] = recorded_speech(0.5)
        timed = partial(UserEgress, clock=lambda: self.now_s, uptime=lambda: None)
        monkeypatch.setattr(home_module, "UserEgress", timed)

    def captioner(self, **settings: object) -> Captioner:
        decides = {} if self.scores.has_gain else {"threshold": 0.0}
        given = {"limits": LIMITS, "min_enrolment": 0, "home": self.home, **decides}
        return Captioner(
            SlotDrafter(),
            verifier=self._fake.transport,
            verifier_key=self._fake.key.public.to_text(),
            config=Settings(**(given | settings)),
            uncertainty=self.scores,
        )

    def day(self, captioner: Captioner, number: int) -> Iterator[tuple[float, Caption]]:
        """Yield what 60 captions in the morning and 60 on the rest of the day were worth."""
        generator = np.random.default_rng(number)
        hours = [*np.linspace(8, 9, 60), *np.linspace(9.5, 23.5, 60)]
        for hour in hours:
            self.now_s = MIDNIGHT_S + 86_400 * number + 3600 * hour
            self.scores.worth = float(generator.random())
            yield self.scores.worth, captioner.caption(self._clip, 16_000)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(tmp_path / "home", monkeypatch)


def asked(day: list[tuple[float, Caption]]) -> list[int]:
    return [
        place
        for place, (_, caption) in enumerate(day)
        if caption.decisions[0].outcome is Outcome.SENT
    ]


@pytest.mark.slow
@pytest.mark.parametrize("by_gain", [False, True])
def test_morning_burst_leaves_budget_for_the_day(
    device: Device, capsys: pytest.CaptureFixture[str], *, by_gain: bool
) -> None:
    device.scores.has_gain = by_gain
    with device.captioner() as captioner:
        list(device.day(captioner, 0))
        day = list(device.day(captioner, 1))
    sent = asked(day)
    code = ReasonCode.GAIN_EXPECTED if by_gain else ReasonCode.ABOVE_THRESHOLD
    assert {day[place][1].decisions[0].reason.code for place in sent} == {code}
    assert CAP * 0.8 <= len(sent) <= CAP
    assert sum(place >= 60 for place in sent) >= 3
    best = sum(sorted((worth for worth, _ in day), reverse=True)[:CAP])
    assert sum(day[place][0] for place in sent) > 0.9 * best
    kept = next(caption for place, (_, caption) in enumerate(day) if place not in sent)
    assert kept.decisions[0].reason.code is ReasonCode.BELOW_PRICE
    assert kept.unverified_reason is None, "no target was asked for"
    with Ledger(device.home / "ledger", create=False) as ledger, ledger.reading() as view:
        hour = int(device.now_s // 3600)
        assert view.used("default", hour)["day"].blocks == len(sent)
    assert (
        main(["budget", "explain", "--last", "120", "--questions", "--home", str(device.home)]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 121
    assert sum("asked" in line for line in lines) == len(sent)
    assert sum("blocks_per_day" in line for line in lines) > 60
    command = ["budget", "explain", "--last", "120", "--json", "--home", str(device.home)]
    assert main(command) == 0
    captions = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    questions = [one["blocks"][0]["question"] for one in captions]
    assert [one["is_asked"] for one in questions] == [place in sent for place in range(120)]
    assert [one["worth"] for one in questions] == [worth for worth, _ in day]
    assert {one["cost"]["blocks"] for one in questions} == {1}


def test_without_pacing_the_burst_takes_all(device: Device) -> None:
    with device.captioner(budget_pacing=False) as captioner:
        day = list(device.day(captioner, 0))
    assert asked(day) == list(range(CAP))
    assert day[-1][1].decisions[0].reason.code is ReasonCode.CAP_EXCEEDED


@pytest.mark.slow
def test_history_outlives_the_process(device: Device) -> None:
    with device.captioner() as captioner:
        list(device.day(captioner, 0))
    sent = 0
    for place, (hour, worth) in enumerate([(8.0, 0.5), (8.1, 0.4), (8.2, 0.99)]):
        device.now_s, device.scores.worth = MIDNIGHT_S + 86_400 + 3600 * hour, worth
        with device.captioner() as captioner:
            caption = captioner.caption(recorded_speech(0.5), 16_000)
        is_sent = caption.decisions[0].outcome is Outcome.SENT
        assert is_sent == (place == 2)
        sent += is_sent
    assert sent == 1


def test_estimated_cost_is_what_is_charged(device: Device) -> None:
    device.scores.worth = 0.5
    for settings in ({}, {"noise": {"sigma": 1.0}}, {"disclosure": "tokens"}):
        user = f"user{len(str(settings))}"
        with device.captioner(user=user, **settings) as captioner:
            caption = captioner.caption(recorded_speech(0.5), 16_000)
        cost = caption.decisions[0].reason.cost
        assert caption.id is not None
        with Ledger(device.home / "ledger", create=False) as ledger, ledger.reading() as view:
            charged = view.usage(user, "caption", bytes.fromhex(caption.id))
        assert cost == charged.counts
