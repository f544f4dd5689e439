"""Feeds hostile inputs to the readers and counts the outcomes.

A reader may return a value or raise a ``PrivacyError``. Anything else is a finding, and so is an
input that takes more than ``MAX_S`` of this thread's time, or memory out of proportion to its size.
"""

from __future__ import annotations

import resource
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from time import monotonic, thread_time

from ugsd_privacy.errors import PrivacyError

from ugsd_lab.fuzz.targets import TARGETS, Case, Target

__all__ = ["MAX_S", "Finding", "FuzzResult", "fuzz", "max_bytes"]

MAX_S = 1.0
_BASE_BYTES, _BYTES_PER_BYTE = 256 * 1024, 64
_RSS_BYTES = 64 * 2**20
"""Growth of the process on one input that counts as a finding; tracemalloc does not see all
memory."""
_REPORT_EVERY = 1000


def max_bytes(size: int) -> int:
    """Return the largest peak of Python memory allowed for reading an input of ``size`` bytes."""
    return _BASE_BYTES + _BYTES_PER_BYTE * size


@dataclass(frozen=True)
class Finding:
    """An input that was not read as it should be."""

    target: str
    fault: str
    data: bytes


@dataclass
class FuzzResult:
    """The results of a run."""

    seed: int
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Number of inputs per target and outcome."""
    peak_bytes: dict[str, int] = field(default_factory=dict)
    """Most Python memory that one input took, per target."""
    slowest_s: dict[str, float] = field(default_factory=dict)
    """Most time that one input took, per target."""
    findings: list[Finding] = field(default_factory=list)
    rss_bytes: int = 0
    """Peak memory of the process."""
    elapsed_s: float = 0.0

    @property
    def frames(self) -> int:
        """Number of inputs read."""
        return sum(counter.total() for counter in self.outcomes.values())


def fuzz(
    *,
    frames: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    targets: Sequence[Target] = TARGETS,
    progress: Callable[[int, int], None] = lambda done, found: None,
) -> FuzzResult:
    """Read ``frames`` inputs, or as many as ``seconds`` allow. ``progress`` is called with the
    number of inputs and findings so far.

    The same seed makes the same messages and faults; keys and sealing use the system's randomness.
    """
    result, started_s = FuzzResult(seed), monotonic()
    rngs = {target.name: Random(f"{seed} {target.name}") for target in targets}  # noqa: S311
    turns = [target for target in targets for _ in range(target.weight)]
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    done = 0
    try:
        while (frames is None or done < frames) and (
            seconds is None or monotonic() - started_s < seconds
        ):
            target = turns[done % len(turns)]
            _read(result, target.name, target.case(rngs[target.name]))
            done += 1
            if done % _REPORT_EVERY == 0:
                progress(done, len(result.findings))
    finally:
        if not tracing:
            tracemalloc.stop()
    result.rss_bytes, result.elapsed_s = _rss_bytes(), monotonic() - started_s
    return result


def _read(result: FuzzResult, name: str, case: Case) -> None:
    faults = []
    rss_before = _rss_bytes()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    started_s = thread_time()
    try:
        outcome = case.read()
    except PrivacyError as error:
        outcome = type(error).__name__
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        outcome = f"untyped: {type(error).__name__}"
        faults.append(outcome)
    took_s = thread_time() - started_s
    peak = max(tracemalloc.get_traced_memory()[1] - before, 0)
    if took_s > MAX_S:
        faults.append(f"hang: {took_s:.1f} s")
    if peak > max_bytes(len(case.data)):
        faults.append(f"memory: {peak:,} bytes for an input of {len(case.data):,}")
    if _rss_bytes() - rss_before > _RSS_BYTES:
        faults.append(f"memory: the process grew by {_rss_bytes() - rss_before:,} bytes")
    result.outcomes.setdefault(name, Counter())[outcome] += 1
    result.peak_bytes[name] = max(result.peak_bytes.get(name, 0), peak)
    result.slowest_s[name] = max(result.slowest_s.get(name, 0.0), took_s)
    result.findings += [Finding(name, fault, case.data) for fault in faults]


def _rss_bytes() -> int:
    """Return the process's peak memory; the system reports kilobytes, but bytes on a Mac."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
