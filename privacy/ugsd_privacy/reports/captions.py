"""Build the rows of a report's captions: what was sent for each, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.ledger import JournalRow
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.entries import Cost, Entry, Period, costs_of, guarantee_of, total_of
from ugsd_privacy.reports.model import CaptionRow, Gap, Sent, Word
from ugsd_privacy.reports.questions import questions_of
from ugsd_privacy.reports.readings import ReadState, readings_of

__all__ = ["caption_rows"]

Words = Callable[[int], str]


def caption_rows(
    entries: Sequence[Entry],
    period: Period,
    decisions: Sequence[JournalRow],
    delta: float,
    words: Words,
    read_state: ReadState,
) -> Iterator[CaptionRow]:
    """Yield the captions whose first frame was sent in ``period``, in the order of those frames."""
    by_caption: defaultdict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.row.caption is not None:
            by_caption[entry.row.caption].append(entry)
    noted: defaultdict[bytes, list[JournalRow]] = defaultdict(list)
    for decision in decisions:
        noted[decision.caption].append(decision)
    for caption, own in by_caption.items():
        if own[0].time_s in period:
            yield _caption(caption, own, noted[caption], delta, words, read_state)


def _caption(
    caption: bytes,
    entries: Sequence[Entry],
    decisions: Sequence[JournalRow],
    delta: float,
    words: Words,
    read_state: ReadState,
) -> CaptionRow:
    records = [entry.record for entry in entries if entry.record is not None]
    privacy_cost = sum(entry.privacy_cost for entry in entries)
    erased = sum(entry.is_erased for entry in entries)
    return CaptionRow(
        caption=caption.hex(),
        time_s=entries[0].time_s,
        to_the_hour=entries[0].record is None,
        content=_content(records, decisions, words, whole=len(records) == len(entries)),
        questions=tuple(questions_of(records)),
        readings=tuple(readings_of(records, read_state)),
        records=tuple(entry.row.leaf for entry in entries),
        disclosures=tuple(dict.fromkeys(r.disclosure for r in records if r.disclosure)),
        amounts=total_of(entries),
        epsilon=guarantee_of(
            privacy_cost, delta, "caption", frozenset[Cost]().union(*map(costs_of, entries))
        ),
        verifiers=tuple(dict.fromkeys(r.verifier for r in records)),
        erased=erased,
        unread=len(entries) - len(records) - erased,
    )


def _content(
    records: Sequence[EgressRecord],
    decisions: Sequence[JournalRow],
    words: Words,
    *,
    whole: bool,
) -> tuple[Word | Gap, ...]:
    """Return the words that were sent, in the order of the caption, and the gaps between them.

    A block's prefix begins where the verifier's own text ends (see
    :class:`ugsd_privacy.protocol.messages.Block`), so the verifier wrote the tokens that are
    missing before it. That is certain only if all records can be read (``whole``).
    """
    disclosed: dict[int, Word] = {}
    for record in records:
        for position, token in enumerate((*record.prefix, *record.tokens), record.keep):
            sent = _sent(position, token, record, words)
            disclosed[position] = _word(position, sent, disclosed.get(position))
    parts: list[Word | Gap] = []
    end = 0
    for position in sorted(disclosed):
        if position > end:
            parts.append(Gap(tokens=position - end, origin="verifier" if whole else "unknown"))
        parts.append(disclosed[position])
        end = position + 1
    kept = sum(d.tokens for d in decisions if d.start >= end and d.outcome != "sent")
    return (*parts, Gap(tokens=kept, origin="kept")) if kept else tuple(parts)


def _sent(position: int, token: int, record: EgressRecord, words: Words) -> Sent:
    assert record.disclosure is not None  # noqa: S101  # only blocks have tokens
    return Sent(
        token=token,
        text=plain_line(words(token)),
        disclosure=record.disclosure,
        has_state=position in record.state_positions,
    )


def _word(position: int, sent: Sent, before: Word | None) -> Word:
    """Return the word at ``position`` now. A token that is sent again keeps its earlier state."""
    fields = sent.model_dump()
    if before is None:
        return Word(**fields, position=position)
    if before.token == sent.token:
        fields["has_state"] = sent.has_state or before.has_state
        return Word(**fields, position=position, replaced=before.replaced)
    last = Sent(**before.model_dump(include=set(Sent.model_fields)))
    return Word(**fields, position=position, replaced=(*before.replaced, last))
