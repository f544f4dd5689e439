"""``ugsd-lab bench budget``: what a budget is worth, by the way in which it is spent.

The clips of speakers that no model was fitted on are captioned by the drafter alone. That gives
what a question about each is worth and what it costs; simulated days then draw from them. A budget
is a share of what all questions of an average day would use of one measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.budget import MEASURES, BudgetLimits, Usage
from ugsd_privacy.dp.accounting import epsilon_of_privacy_cost
from ugsd_privacy.protocol.messages import AskedSlot, Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.budget_price import Question
from ugsd_sdk.decoding.policy import BlockView, Escalate
from ugsd_sdk.decoding.question_cost import QuestionCost
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import DrafterBundle

from ugsd_lab.bench.budget_spending import (
    Asked,
    PacedDevice,
    Spending,
    first_come,
    fixed_threshold,
    offline_optimum,
    tuned,
)
from ugsd_lab.bench.simulated_days import ARRIVALS, SECONDS_PER_DAY, Arrival, simulated_day
from ugsd_lab.data.corpora import Clip
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable

__all__ = ["SHARES", "BudgetBench", "BudgetRow", "bench_budget", "notes", "questions_of", "tables"]

SHARES = (0.1, 0.3, 0.6)
"""Budgets, as shares of the demand."""
DAYS_BEFORE = 3
SIGMA = 1.0
"""Noise of the states, without which no budget of epsilon allows any."""
_FIRST_DAY = 20_000
"""Days since 1970 of the first simulated day."""
_DELTA = BudgetLimits.without_caps().delta
_GOAL = 0.95


@dataclass(frozen=True)
class BudgetRow:
    """The days of one seed: worth of what was asked, as a share of the offline optimum."""

    measure: str
    arrival: str
    share: float
    seed: int
    first_come: float
    fixed_threshold: float
    """On the fourth day, with the threshold that was best on the three days before."""
    paced_first_day: float
    paced: float
    """On the fourth day."""
    first_come_gone_s: float
    """Seconds since midnight at which the budget first refused a question; a whole day if it did
    not."""
    fixed_gone_s: float
    paced_gone_s: float


@dataclass(frozen=True)
class BudgetBench:
    """All rows, and what the questions were like."""

    rows: Sequence[BudgetRow]
    clips: int
    speakers: int
    worth_quantiles: tuple[float, ...]
    """Worth of the questions: least, quartiles and most."""

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def bench_budget(
    clips: Sequence[Clip],
    drafter: Path,
    progress: Progress,
    *,
    seeds: int = 10,
    measures: Sequence[str] = MEASURES,
    arrivals: Sequence[Arrival] = ARRIVALS,
) -> BudgetBench:
    """Simulate the days of each seed, with each of ``measures`` as the only cap of a day. Raises
    :class:`EvaluationError` without clips of speakers that no model was fitted on."""
    unseen = [clip for clip in clips if clip.split != "train"]
    if not unseen:
        raise EvaluationError("no clips of development, calibration or test speakers: add some")
    asked = questions_of(unseen, drafter, progress)
    questions = [question for _, question in asked]
    speakers: dict[str, list[int]] = {}
    for index, (clip, _) in enumerate(asked):
        speakers.setdefault(f"{clip.corpus}/{clip.speaker}", []).append(index)
    rows: list[BudgetRow] = []
    total = len(arrivals) * seeds
    for arrival in arrivals:
        for seed in range(seeds):
            days = _days(arrival, questions, speakers, seed)
            for measure in measures:
                rows += [_row(measure, arrival.name, share, seed, days) for share in SHARES]
            progress("simulating days", len(rows) // len(measures) // len(SHARES), total, "")
    worths = [one.worth for one in questions]
    quantiles = tuple(map(float, np.quantile(worths, (0, 0.25, 0.5, 0.75, 1))))
    return BudgetBench(rows, len(asked), len(speakers), quantiles)


def questions_of(
    clips: Sequence[Clip], drafter: Path, progress: Progress
) -> list[tuple[Clip, Question]]:
    """Return the clips for which asking is expected to gain something, each with the worth and the
    cost of its question. Raises :class:`EvaluationError` if no clip has one."""
    bundle = DrafterBundle.of(drafter)
    state_dim = bundle.description().state_dim
    gains = _Gains(RejectionPredictor.load(bundle.rejection_predictor_file))
    questions = []
    with Captioner(drafter, uncertainty=gains) as captioner:
        cost_of = QuestionCost(state_dim, AskedSlot.EMOTION, SIGMA)
        for done, clip in enumerate(clips, 1):
            asked = captioner.caption(clip.path).decisions[0]
            block = BlockView(0, (), (None,) * asked.num_tokens, verifier_has_summary=False)
            cost = cost_of(block, Escalate(Disclosure.SUMMARY))
            assert cost is not None, "a question fits into a frame"  # noqa: S101
            if gains.last > 0:
                questions.append((clip, Question(gains.last, cost)))
            progress("captioning", done, len(clips), "")
    if not questions:
        raise EvaluationError(
            "no question about these clips is expected to gain anything: add some"
        )
    return questions


class _Gains:
    """A rejection predictor that remembers the last gain that it predicted."""

    def __init__(self, predictor: RejectionPredictor) -> None:
        self._predictor = predictor
        self.last = 0.0

    def __call__(self, logits: NDArray[np.floating], ood_score: float) -> float:
        return self._predictor(logits, ood_score)

    def expected_gain(self, logits: NDArray[np.floating], ood_score: float) -> float | None:
        gain = self._predictor.expected_gain(logits, ood_score)
        self.last = self(logits, ood_score) if gain is None else gain
        return gain


def _days(
    arrival: Arrival, questions: Sequence[Question], speakers: dict[str, list[int]], seed: int
) -> list[Asked]:
    generator = np.random.default_rng(seed)
    days = [simulated_day(arrival, speakers, generator) for _ in range(DAYS_BEFORE + 1)]
    return [
        [
            (float(time_s), questions[clip])
            for time_s, clip in zip(day.times_s, day.clips, strict=True)
        ]
        for day in days
    ]


def _row(measure: str, arrival: str, share: float, seed: int, days: Sequence[Asked]) -> BudgetRow:
    limits = _limits(measure, share, days)
    device = PacedDevice(limits)
    paced = [device.spend(_FIRST_DAY + number, day) for number, day in enumerate(days)]
    *before, today = days
    best = offline_optimum(today, limits)
    threshold = tuned(before, limits)
    first, fixed = first_come(today, limits), fixed_threshold(today, limits, threshold)
    return BudgetRow(
        measure, arrival, share, seed,
        first_come=first.worth / best,
        fixed_threshold=fixed.worth / best,
        paced_first_day=paced[0].worth / offline_optimum(days[0], limits),
        paced=paced[-1].worth / best,
        first_come_gone_s=_gone_s(first),
        fixed_gone_s=_gone_s(fixed),
        paced_gone_s=_gone_s(paced[-1]),
    )  # fmt: skip


def _limits(measure: str, share: float, days: Sequence[Asked]) -> BudgetLimits:
    """Return limits with one cap: a share of what an average day would use."""
    total = sum((one.cost for day in days for _, one in day), Usage())
    if measure == "epsilon":
        cap: float = epsilon_of_privacy_cost(int(share * total.privacy_cost / len(days)), _DELTA)
    else:
        cap = int(share * total.measured(measure, _DELTA) / len(days))
    return BudgetLimits.without_caps(**{f"{measure}_per_day": cap})


def _gone_s(spending: Spending) -> float:
    return SECONDS_PER_DAY if spending.gone_at_s is None else spending.gone_at_s


_HEADER = (
    "budget", "first come", "fixed threshold", "paced, first day", "paced, fourth day", "range",
    "within 5 %",
)  # fmt: skip


def tables(found: BudgetBench) -> list[TextTable]:
    """Return a table by measure, one by arrivals, and one of when the budgets were gone."""
    by_measure, by_arrival, gone = [], [], []
    for measure in dict.fromkeys(row.measure for row in found.rows):
        for share in SHARES:
            own = [row for row in found.rows if (row.measure, row.share) == (measure, share)]
            by_measure.append((measure, *_cells(share, own)))
    for arrival in dict.fromkeys(row.arrival for row in found.rows):
        for share in SHARES:
            own = [row for row in found.rows if (row.arrival, row.share) == (arrival, share)]
            by_arrival.append((arrival, *_cells(share, own)))
            times = ("first_come_gone_s", "fixed_gone_s", "paced_gone_s")
            clocks = [_clock(float(np.median([getattr(row, one) for row in own]))) for one in times]
            gone.append((arrival, f"{share:.0%}", *clocks))
    return [
        TextTable(("measure", *_HEADER), by_measure, "By measure", left=("measure", _HEADER[-1])),
        TextTable(
            ("arrivals", *_HEADER), by_arrival, "By arrivals", left=("arrivals", _HEADER[-1])
        ),
        TextTable(
            ("arrivals", "budget", "first come", "fixed threshold", "paced, fourth day"),
            gone,
            "When the budget was gone",
            left=("arrivals",),
        ),
    ]  # fmt: skip


def _cells(share: float, rows: Sequence[BudgetRow]) -> tuple[str, ...]:
    names = ("first_come", "fixed_threshold", "paced_first_day", "paced")
    means = [float(np.mean([getattr(row, name) for row in rows])) for name in names]
    paced = [row.paced for row in rows]
    return (
        f"{share:.0%}",
        *(f"{mean:.3f}" for mean in means),
        f"{min(paced):.2f} to {max(paced):.2f}",
        "met" if means[-1] >= _GOAL else "missed",
    )


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def notes(found: BudgetBench) -> list[str]:
    """Return what readers of the tables need to know."""
    seeds = len({row.seed for row in found.rows})
    least, low, median, high, most = found.worth_quantiles
    return [
        "Shares of what the offline optimum is worth, which knows the day beforehand and may ask "
        f"the last question in part: an upper bound. Means over {seeds} seeds; the range is that "
        "of single days, paced on the fourth day.",
        "Fixed threshold: the best of a hundred on the three days before. First come: every "
        "question until the budget is gone.",
        f"{found.clips} clips of {found.speakers} speakers; worth of a question from "
        f"{least:.2f} to {most:.2f}, median {median:.2f}, quartiles {low:.2f} and {high:.2f}.",
        "Gone: the median time at which a question was first refused; 24:00 if none was.",
    ]
