"""The tables of ``ugsd-lab bench link``, and what they say in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite, isnan

from ugsd_lab.bench.emulated_link import LinkConditions
from ugsd_lab.bench.link_rows import (
    CLAIMED_LATENCY,
    CLAIMED_TOKENS,
    Comparison,
    LinkRow,
    LinkStudy,
    compared,
)
from ugsd_lab.bench.link_settings import (
    ALONE,
    END,
    EVERYTHING,
    PAPER,
    SPLIT_EMBEDDING,
    UGSD,
    UGSD_HIDDEN,
)
from ugsd_lab.tables import TextTable

__all__ = ["notes", "tables"]

_SPEED = (
    "device", "round trip ms", "system", "p50 ms", "p95 ms", "first token ms", "tokens/s",
    "with encoding", "asked", "latency", "tokens", "",
)  # fmt: skip
_COST = (
    "device", "system", "emotion", "claims", "bytes", "device CPU s", "round trips",
    "verifier CPU ms", "captions per core-s",
)  # fmt: skip
_OURS = (UGSD, UGSD_HIDDEN, END)


def tables(study: LinkStudy) -> list[TextTable]:
    """Return the times, and then quality and costs at the first round trip, of each kind of
    captions and each verifier."""
    groups = dict.fromkeys((row.captions, row.verifier) for row in study.rows)
    found: list[TextTable] = []
    for captions, verifier in groups:
        rows = _group(study, captions, verifier)
        title = f"{captions}, verifier: {verifier}"
        found.append(
            TextTable(
                _SPEED, [_speed(row, study.alone(row)) for row in rows],
                f"Times of captions: {title}", left=("device", "system", ""),
            )
        )  # fmt: skip
        first_ms = next((r.round_trip_ms for r in rows if r.round_trip_ms is not None), None)
        at_first = [row for row in rows if row.round_trip_ms in (None, first_ms)]
        found.append(
            TextTable(
                _COST, [_cost(row) for row in at_first],
                f"Quality and costs of captions: {title}", left=("device", "system"),
            )
        )  # fmt: skip
    return found


def notes(study: LinkStudy, links: Sequence[LinkConditions]) -> list[str]:
    """Return where UGSD is faster and where it is not, what a verifier's core can serve, and what
    was emulated."""
    return [*_verdicts(study), *_capacity(study), *_emulated(study, links)]


def _group(study: LinkStudy, captions: str, verifier: str) -> list[LinkRow]:
    """Return the rows of one table, with the drafter alone, which needs no verifier, in each."""
    return [
        row
        for row in study.rows
        if row.captions == captions
        and (row.verifier == verifier or (row.system == ALONE and study.alone(row) is row))
    ]


def _speed(row: LinkRow, alone: LinkRow) -> tuple[str, ...]:
    ratio = compared(row, alone)
    is_alone = row.system == ALONE
    return (
        row.device,
        "-" if row.round_trip_ms is None else f"{row.round_trip_ms:g}",
        row.system,
        f"{row.p50_ms:,.0f}",
        f"{row.p95_ms:,.0f}",
        f"{row.first_token_ms:,.0f}",
        f"{row.tokens_per_s:,.3g}",
        f"{row.tokens_per_s_encoded:,.3g}",
        "-" if is_alone else f"{row.asked:.2f}",
        "-" if is_alone else f"{ratio.latency:.2f}x",
        "-" if is_alone else f"{ratio.tokens:.2f}x",
        "" if is_alone else _word(row, ratio),
    )


def _word(row: LinkRow, ratio: Comparison) -> str:
    word = f"{ratio.word}, as the paper claims" if ratio.meets_the_paper else ratio.word
    return f"{word}; {row.failed} without verdict" if row.failed else word


def _cost(row: LinkRow) -> tuple[str, ...]:
    per_core = row.captions_per_core_s
    return (
        row.device,
        row.system,
        f"{row.emotion:.2f}",
        "-" if isnan(row.claims) else f"{row.claims:.2f}",
        f"{row.bytes_sent:,.0f}",
        f"{row.device_cpu_s:,.3g}",
        f"{row.round_trips:.1f}",
        f"{row.verifier_cpu_ms:,.1f}",
        f"{per_core:,.3g}" if isfinite(per_core) else "-",
    )


def _verdicts(study: LinkStudy) -> Iterable[str]:
    for system in _OURS:
        rows = [row for row in study.rows if row.system == system]
        if not rows:
            continue
        ratios = [(compared(row, study.alone(row)), row) for row in rows]
        words = Counter(ratio.word for ratio, _ in ratios)
        ratio, best = max(ratios, key=lambda pair: pair[0].latency)
        asked = sum(row.asked for row in rows) / len(rows)
        yield (
            f"{system}: in {len(rows)} rows faster in {words['faster']}, equal in "
            f"{words['equal']}, slower in {words['slower']}; it asks in {asked:.0%} of the "
            f"captions. At best its latency ratio is {ratio.latency:.2f}x, and its tokens/s are "
            f"{ratio.tokens:.2f}x the drafter's ({_place(best)})."
        )
    met = [
        row
        for row in study.rows
        if row.system in (*_OURS, EVERYTHING) and compared(row, study.alone(row)).meets_the_paper
    ]
    claim = (
        f"at least {CLAIMED_LATENCY}x lower latency and {CLAIMED_TOKENS}x the tokens/s of the "
        "drafter alone, with no lower quality"
    )
    places = "; ".join(f"{row.system}, {_place(row)}" for row in met)
    yield f"The paper's claim, {claim}, holds in {len(met)} rows{f': {places}' if met else ''}."


def _place(row: LinkRow) -> str:
    verifier = "" if row.verifier != PAPER else ", its verifier"
    device = "the paper's device" if row.device == PAPER else row.device
    trip = "" if row.round_trip_ms is None else f", {row.round_trip_ms:g} ms"
    return f"{device}{verifier}, {row.captions}{trip}"


def _capacity(study: LinkStudy) -> Iterable[str]:
    """Compare what one verifier core serves, with a verifier that is not slowed."""
    for captions in dict.fromkeys(row.captions for row in study.rows):
        rows = [row for row in study.rows if row.captions == captions and row.verifier != PAPER]
        ours = [row for row in rows if row.system in (UGSD, END)]
        whole = [row for row in rows if row.system == SPLIT_EMBEDDING]
        if not ours or not whole:
            continue
        own_ms = sum(row.verifier_cpu_ms for row in ours) / len(ours)
        whole_ms = sum(row.verifier_cpu_ms for row in whole) / len(whole)
        served = (
            f"{1000 / own_ms:,.0f} captions a second, {whole_ms / own_ms:,.0f} times as many as "
            "with"
            if own_ms
            else "no caption, since none asks, against those of"
        )
        yield (
            f"Captions ({captions}): one core of the verifier serves, with {ours[0].system}, "
            f"{served} the {SPLIT_EMBEDDING} ({1000 / whole_ms:,.0f})."
        )


def _emulated(study: LinkStudy, links: Sequence[LinkConditions]) -> Iterable[str]:
    one = links[0]
    bandwidth = "unlimited" if not isfinite(one.bytes_per_s) else f"{one.bytes_per_s:,.0f} bytes/s"
    yield (
        f"Emulated: the link (jitter up to {1000 * one.jitter_s:g} ms, loss {one.loss:g}, "
        f"bandwidth {bandwidth}) by a proxy; a slower device by sleeping (slowdown - 1) times its "
        "own computation; encoding, equal for every system, is timed once and added."
    )
    if any(row.device == PAPER for row in study.rows):
        yield (
            "The paper's step times are replayed with the bundled models: 5.99 s to the first "
            "token and 2.51 tokens/s on the device, 0.40 s and 24.6 tokens/s on the verifier."
        )
    yield (
        "UGSD to the end exists only for captions without slots: slots state what the device "
        "measured, which no verifier knows. Without slots a caption words the emotion alone; "
        "longer ones repeat it."
    )
    yield (
        "The yardstick is split computing, no mode of the product, whose wire has no such message: "
        "it uploads features, and every token is decoded by the verifier's network. Beyond the "
        "first clause its words mean nothing, so its claims are not judged."
    )
    yield (
        f"{study.clips} clips of {', '.join(study.corpora)}; latency and tokens: how many times "
        "lower and more than the drafter alone on the same device; tokens/s without encoding."
    )
