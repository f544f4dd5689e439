"""``ugsd-lab bench callers``: one captioner, used by one caller and by several at once.

A caller is a thread that captions clips of EMO-DB one after another, on the device alone. Each
round measures every system for the same number of captions, in an order that changes from round to
round, so that all meet the same machine. The baseline has the same callers, and a lock around the
captioner, as an application puts it around what is not safe to share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from threading import Barrier, Lock, Thread
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
from ugsd_sdk.calls.core_slots import usable_cores
from ugsd_sdk.captioner import Captioner

from ugsd_lab.bench.figures import percentile
from ugsd_lab.bench.machine_load import MachineLoad
from ugsd_lab.data.corpora import load_corpora
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable

__all__ = ["CallersStudy", "SystemTimes", "bench_callers", "notes", "tables"]

ONE = "one caller"
_LOCKED = "{} callers, a lock around the captioner"
_TOGETHER = "{} callers"
_RATIO_GOAL = 1.7
_RESAMPLES = 2000


@dataclass(frozen=True)
class SystemTimes:
    """What one system took."""

    system: str
    callers: int
    captions_per_s: float
    """Median over the rounds."""
    ratio: float
    """Captions per second over those of one caller in the same round: median over the rounds."""
    ratio_low: float
    ratio_high: float
    """95 % interval of that median, by resampling rounds."""
    p50_ms: float
    p95_ms: float
    """Time of a caption as its caller sees it, waits for other callers included."""
    cpu_ms: float
    """CPU time of this process per caption."""
    idle_share: float
    """Share of the cores' time that nobody used: median over the rounds."""


@dataclass(frozen=True)
class CallersStudy:
    """The systems' times, and the machine on which they were measured."""

    cores: int
    rounds: int
    captions: int
    """Per system and round."""
    others_share: float
    """Share of the cores' time that other processes used: median over all measurements."""
    systems: tuple[SystemTimes, ...]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _Stretch(NamedTuple):
    """One system in one round."""

    captions_per_s: float
    latencies_ms: list[float]
    cpu_ms: float
    load: MachineLoad


def bench_callers(
    callers: int, rounds: int, captions: int, progress: Progress, *, drafter: str = "starter"
) -> CallersStudy:
    """Measure one caller, ``callers`` at once, and as many with a lock. Each makes ``captions``
    captions in each of ``rounds``."""
    clips = [clip.path for clip in load_corpora(None) if clip.split == "test"]
    counts = {ONE: 1, _LOCKED.format(callers): callers, _TOGETHER.format(callers): callers}
    found: dict[str, list[_Stretch]] = {name: [] for name in counts}
    with Captioner(drafter) as captioner:
        for clip in clips[:8]:
            captioner.caption(clip)
        lock = Lock()
        for done in range(1, rounds + 1):
            order = list(counts)
            for name in order[done % len(order) :] + order[: done % len(order)]:
                guard = lock if name == _LOCKED.format(callers) else nullcontext()
                stretch = _stretch(captioner, clips, counts[name], captions, guard)
                found[name].append(stretch)
            progress("callers", done, rounds, "")
    alone = [one.captions_per_s for one in found[ONE]]
    return CallersStudy(
        cores=usable_cores(),
        rounds=rounds,
        captions=captions,
        others_share=float(
            np.median([one.load.others for one in chain.from_iterable(found.values())])
        ),
        systems=tuple(_times(name, counts[name], found[name], alone) for name in counts),
    )


def _stretch(
    captioner: Captioner,
    clips: Sequence[Path],
    callers: int,
    captions: int,
    guard: AbstractContextManager[object],
) -> _Stretch:
    latencies_ms: list[float] = []

    def caption(clip: Path) -> None:
        started_s = perf_counter()
        with guard:
            captioner.caption(clip)
        latencies_ms.append(1000 * (perf_counter() - started_s))

    works = [
        [clips[place % len(clips)] for place in range(caller, captions, callers)]
        for caller in range(callers)
    ]
    begins = Barrier(callers + 1)

    def run(work: Sequence[Path]) -> None:
        begins.wait()
        for clip in work:
            caption(clip)

    threads = [Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    before = MachineLoad.counters()
    begins.wait()
    started_s, cpu_s = perf_counter(), process_time()
    for thread in threads:
        thread.join()
    seconds, cpu_s = perf_counter() - started_s, process_time() - cpu_s
    load = MachineLoad.since(before, seconds=seconds, own_cpu_s=cpu_s)
    return _Stretch(captions / seconds, latencies_ms, 1000 * cpu_s / captions, load)


def _times(
    name: str, callers: int, stretches: Sequence[_Stretch], alone: Sequence[float]
) -> SystemTimes:
    ratios = [one.captions_per_s / by for one, by in zip(stretches, alone, strict=True)]
    low, high = _interval_of_median(ratios)
    latencies = [ms for one in stretches for ms in one.latencies_ms]
    return SystemTimes(
        system=name,
        callers=callers,
        captions_per_s=_median(stretches, lambda one: one.captions_per_s),
        ratio=float(np.median(ratios)),
        ratio_low=low,
        ratio_high=high,
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        cpu_ms=_median(stretches, lambda one: one.cpu_ms),
        idle_share=_median(stretches, lambda one: one.load.idle),
    )


def _median(stretches: Sequence[_Stretch], of: Callable[[_Stretch], float]) -> float:
    return float(np.median([of(one) for one in stretches]))


def _interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of ``values`` by the bootstrap."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.asarray(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def tables(study: CallersStudy) -> list[TextTable]:
    """Return the table of the systems."""
    header = (
        "system", "captions/s", "ratio", "95 % interval", "p50 ms", "p95 ms", "CPU ms", "idle",
        "goal", "",
    )  # fmt: skip
    rows = []
    for one in study.systems:
        has_goal = one.system == _TOGETHER.format(one.callers)
        mark = ("met" if one.ratio >= _RATIO_GOAL else "missed") if has_goal else ""
        rows.append(
            (
                one.system,
                f"{one.captions_per_s:.1f}",
                f"{one.ratio:.2f}",
                f"{one.ratio_low:.2f} to {one.ratio_high:.2f}",
                f"{one.p50_ms:.0f}",
                f"{one.p95_ms:.0f}",
                f"{one.cpu_ms:.1f}",
                f"{one.idle_share:.0%}",
                f">= {_RATIO_GOAL}" if has_goal else "",
                mark,
            )
        )
    return [TextTable(header, rows, "Callers of one captioner", left=("system", "goal", ""))]


def notes(study: CallersStudy) -> list[str]:
    """Return how the table came about."""
    return [
        f"{study.cores} cores; {study.rounds} rounds of {study.captions} captions for each system, "
        "in turn, on the device alone; the ratio is that to one caller in the same round.",
        "Times of captions include waits for other callers. Idle is what nobody used of all cores.",
        f"Other processes used {study.others_share:.0%} of the cores meanwhile: with more than a "
        "few percent the ratio says little, since there is no second core for the captions.",
    ]
