"""Tables of what ``ugsd-lab bench speakers`` measured."""

from __future__ import annotations

from collections.abc import Sequence

from ugsd_lab.bench.profile_trials import ENROLLED, MAX_CLIPS_ALONE, REFUSED, SEVERAL
from ugsd_lab.bench.speaker_counts import TOTAL, Count, Distances, TimeToEnrol
from ugsd_lab.bench.speakers import CorpusSize, SpeakerBench
from ugsd_lab.tables import TextTable

__all__ = ["distance_tables", "notes", "tables"]

_MEASURED = {
    REFUSED: ("Voice distances", "MAX_VOICE_DISTANCE"),
    SEVERAL: ("Window distances", "MAX_WINDOW_DISTANCE"),
}


def tables(found: SpeakerBench) -> list[TextTable]:
    """Return the speakers' corpora, and a table for each question, with a column for each
    corpus."""
    sizes = TextTable(
        ("corpus", "speakers", "clips", "without speech"), list(map(_size_cells, found.corpora)),
        f"Speakers of split {found.split}", left=("corpus",),
    )  # fmt: skip
    out = [sizes]
    for question in dict.fromkeys(count.question for count in found.counts):
        out.append(_question_table(question, found))
        if question == ENROLLED:
            out.append(_time_table(found.time_to_enrol))
    return out


def distance_tables(found: SpeakerBench) -> list[TextTable]:
    """Return the quantiles of distances: those that should be at most a threshold, and those that
    should be larger."""
    out = []
    for question, (what, name) in _MEASURED.items():
        right = {one.case: one.is_right for one in found.counts if one.question == question}
        for is_right, goal in ((False, "at most"), (True, "more than")):
            rows = [
                one
                for one in found.distances
                if one.question == question and right[one.case] is is_right
            ]
            if rows:
                title = f"{what} that should be {goal} {name} = {found.thresholds[name]:g}"
                out.append(_distance_table(rows, title))
    return out


def notes(found: SpeakerBench) -> list[str]:
    """Return what readers of the tables need to know."""
    few = [one.corpus for one in found.corpora if one.speakers <= 2]
    lines = [
        "Cells: share of the trials, and their number. Best: the share that a perfect device would "
        "have.",
        "Other speakers are of the same corpus. Gender is that as which the corpus lists a voice.",
        "The same clips are in many trials, so that shares are less certain than these numbers of "
        "trials suggest.",
    ]
    if few:
        lines.append(f"{' and '.join(few)}: 2 speakers or fewer, which says little about others.")
    return lines


def _size_cells(size: CorpusSize) -> tuple[str, ...]:
    return size.corpus, str(size.speakers), str(size.clips), str(size.without_speech)


def _question_table(question: str, found: SpeakerBench) -> TextTable:
    own = [count for count in found.counts if count.question == question]
    cells = {(count.case, count.corpus): _count_cell(count) for count in own}
    total = [count for count in own if count.corpus == TOTAL and count.trials]
    corpora = [*(one.corpus for one in found.corpora), TOTAL]
    rows = [
        (
            count.case,
            *(cells.get((count.case, corpus), "") for corpus in corpora),
            str(int(count.is_right)),
        )
        for count in total
    ]
    title = question[0].upper() + question[1:]
    return TextTable(("trials", *corpora, "best"), rows, title, left=("trials",))


def _count_cell(count: Count) -> str:
    return "" if count.share is None else f"{count.share:.3f} of {count.trials}"


def _time_table(times: Sequence[TimeToEnrol]) -> TextTable:
    mean = ["" if one.mean_clips is None else f"{one.mean_clips:.2f}" for one in times]
    shares = [
        f"{one.enrolled / one.trials:.3f} of {one.trials}" if one.trials else "" for one in times
    ]
    rows = [
        ("mean clips, if enrolled", *mean),
        (f"enrolled after {MAX_CLIPS_ALONE} clips at most", *shares),
    ]
    header = ("one speaker", *(one.corpus for one in times))
    return TextTable(header, rows, "Clips until enrolled", left=("one speaker",))


def _distance_table(rows: Sequence[Distances], title: str) -> TextTable:
    cells = [
        (
            one.case,
            one.corpus,
            str(one.trials),
            *(f"{value:.2f}" for value in one.quantiles.values()),
        )
        for one in rows
    ]
    header = ("trials", "corpus", "number", *rows[0].quantiles)
    return TextTable(header, cells, title, left=("trials", "corpus"))
