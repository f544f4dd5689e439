"""The tables and notes of ``ugsd-lab claims``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan

from ugsd_lab.evaluation.claim_study import ClaimStudy
from ugsd_lab.evaluation.claims import CLAIMS, ClaimShare
from ugsd_lab.evaluation.emotion_calibration import Correlation
from ugsd_lab.evaluation.human_agreement import HumanAgreement
from ugsd_lab.evaluation.pairs import Domain
from ugsd_lab.tables import TextTable, markdown

__all__ = ["as_markdown", "human_markdown"]


def as_markdown(
    study: ClaimStudy, domains: Mapping[str, Domain], *, split: str, limit: int | None
) -> str:
    """Return the tables as Markdown: precision for each length, recall, wording, and emotion."""
    names = {name: f"{name} ({domains[name]})" if name in domains else name for name in study.clips}
    tables = [
        *(_precision(study, length, names) for length in study.precision),
        _recall(study.recall),
        _wording(study),
        _emotion(study, names),
    ]
    return markdown(tables, _notes(study, split, limit))


def human_markdown(agreements: Sequence[HumanAgreement]) -> str:
    """Return the table of the agreement with people's captions as Markdown."""
    header = ["attribute", "named in texts", "compared", "agree", "most frequent value"]
    rows = [
        [
            one.attribute, str(one.described), str(one.compared),
            _number(one.agreement), _number(one.most_frequent),
        ]
        for one in agreements
    ]  # fmt: skip
    title = "agreement with people's captions (out-of-domain)"
    note = (
        "Out-of-domain: neither drafter nor verifier was trained on these recordings. A caption "
        "agrees if the text names the value that the caption states, by the words of "
        "`ugsd_lab.data.human_lexicon`; of EMER's texts only what they say of the audio counts. "
        "People describe what they find remarkable, and name several emotions at once: this is "
        "agreement, not accuracy. Most frequent value: a caption that always states the value that "
        "the texts name most often."
    )
    return markdown([TextTable(header, rows, title, left={"attribute"})], [note])


def _number(value: float, digits: int = 2) -> str:
    return "-" if isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _range(value: float, low: float, high: float) -> str:
    return "-" if isnan(value) else f"{_number(value)} ({_number(low)} to {_number(high)})"


def _share(share: ClaimShare | None) -> str:
    if share is None or not share.count:
        return "-"
    return f"{_range(share.share, share.low, share.high)}, n={share.count}"


def _precision(study: ClaimStudy, length: str, names: Mapping[str, str]) -> TextTable:
    shares, chance = study.precision[length], study.chance[length]
    rows = [
        [slot, *(_share(shares[slot].get(corpus)) for corpus in names), _number(chance[slot])]
        for slot in CLAIMS
        if any(share.count for share in shares[slot].values())
    ]
    header = ["slot", *names.values(), "random clip"]
    return TextTable(header, rows, f"{length}: claim precision (95 %)", left={"slot"})


def _recall(recall: Mapping[str, Mapping[str, ClaimShare]]) -> TextTable:
    rows = [
        [slot, *(_share(shares[slot]) for shares in recall.values())]
        for slot in CLAIMS
        if any(shares[slot].count for shares in recall.values())
    ]
    return TextTable(["slot", *recall], rows, "claim recall of salient facts (95 %)", left={"slot"})


def _wording(study: ClaimStudy) -> TextTable:
    rows = [
        [
            length, str(own.captions), f'"{own.opening}"', _number(own.opening_share),
            str(own.distinct_words),
            *(f"{value:.0f}" for value in (own.words_p5, own.words_p50, own.words_p95)),
        ]
        for length, own in study.wording.items()
    ]  # fmt: skip
    header = [
        "length", "captions", "most frequent opening", "its share", "distinct words",
        "words p5", "p50", "p95",
    ]  # fmt: skip
    return TextTable(header, rows, "wording", left={"length", "most frequent opening"})


def _emotion(study: ClaimStudy, names: Mapping[str, str]) -> TextTable:
    rows = []
    for corpus, shown in names.items():
        own = study.calibration[corpus]
        rows.append(
            [
                shown, str(own.captions), _number(own.accuracy), _number(own.confidence),
                _number(own.error, 3),
                _correlation(study.valence[corpus]), _correlation(study.arousal[corpus]),
            ]
        )  # fmt: skip
    header = [
        "corpus", "captions", "emotion right", "confidence", "calibration error",
        "valence r (95 %)", "arousal r (95 %)",
    ]  # fmt: skip
    return TextTable(header, rows, "the emotion's probabilities", left={"corpus"})


def _correlation(own: Correlation) -> str:
    return _range(own.value, own.low, own.high)


def _notes(study: ClaimStudy, split: str, limit: int | None) -> Iterator[str]:
    quick = "" if limit is None else f", at most {limit} clips of each speaker"
    yield (
        f"Speakers of {split}{quick}; clips in recording order, each speaker with a profile that "
        "every clip updates. 95 %: bootstrapped over speakers."
    )
    yield (
        "Claim precision: share of stated values that are right, by the label or by measurement "
        "independent of the device's. A level must lie on the claimed side of the population's "
        "border, a change or difference must have the claimed sign, a place must be that third of "
        "the utterance. Pace is judged where the words are known. Random clip: the precision "
        "of the same claims about a recording at random."
    )
    yield (
        "Claim recall: share of salient facts that are stated; salient is beyond its border by a "
        "quarter of the distance between borders, or of the smallest difference that listeners "
        "notice. A fall within an utterance must be twice as large, since voices fall by "
        "themselves."
    )
    yield (
        "Calibration error: expected calibration error of the likeliest emotion, ten bins of equal "
        "size. Valence and arousal: correlation with the side of the axis on which the label lies."
    )
    total = sum(study.clips[name] for name in study.clips if name != "all")
    yield f"{total} recordings; lengths: {', '.join(study.precision)}."
