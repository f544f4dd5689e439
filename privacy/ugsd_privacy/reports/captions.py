"""What left of each caption, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.ledger import BlockDecisionRow
from ugsd_privacy.reports.entries import Entry, Period, total_of
from ugsd_privacy.reports.model import CaptionRow, Gap, Sent, Word
from ugsd_privacy.reports.wording import plain_words

__all__ = ["caption_rows"]

Words = Callable[[int], str]


def caption_rows(
    entries: Sequence[Entry],
    period: Period,
    decisions: Sequence[BlockDecisionRow],
    delta: float,
    words: Words,
) -> Iterator[CaptionRow]:
    """Of the captions whose first frame left in ``period``, in its order."""
    passages: defaultdict[bytes, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.row.caption is not None:
            passages[entry.row.caption].append(entry)
    noted: defaultdict[bytes, list[BlockDecisionRow]] = defaultdict(list)
    for decision in decisions:
        noted[decision.caption].append(decision)
    for caption, own in passages.items():
        if own[0].time_s in period:
            yield _caption(caption, own, noted[caption], delta, words)


def _caption(
    caption: bytes,
    entries: Sequence[Entry],
    decisions: Sequence[BlockDecisionRow],
    delta: float,
    words: Words,
) -> CaptionRow:
    records = [entry.record for entry in entries if entry.record is not None]
    spend = sum(entry.spend for entry in entries)
    erased = sum(entry.is_erased for entry in entries)
    return CaptionRow(
        caption=caption.hex(),
        time_s=entries[0].time_s,
        to_the_hour=entries[0].record is None,
        content=_content(records, decisions, words, whole=len(records) == len(entries)),
        records=tuple(entry.row.leaf for entry in entries),
        disclosures=tuple(dict.fromkeys(r.disclosure for r in records if r.disclosure)),
        amounts=total_of(entries),
        epsilon=Guarantee.from_privacy_cost(spend, delta, "caption") if spend else None,
        verifiers=tuple(dict.fromkeys(r.verifier for r in records)),
        erased=erased,
        unread=len(entries) - len(records) - erased,
    )


def _content(
    records: Sequence[EgressRecord],
    decisions: Sequence[BlockDecisionRow],
    words: Words,
    *,
    whole: bool,
) -> tuple[Word | Gap, ...]:
    """What left in the order of the caption, and how much between did not.

    A block's prefix begins where the verifier's own text ends
    (:class:`ugsd_privacy.protocol.messages.Block`):
    what is missing below that, the verifier wrote, if the ``whole`` of what left can be read.
    """
    left: dict[int, Word] = {}
    for record in records:
        for position, token in enumerate((*record.prefix, *record.tokens), record.keep):
            sent = _sent(position, token, record, words)
            left[position] = _word(position, sent, left.get(position))
    parts: list[Word | Gap] = []
    end = 0
    for position in sorted(left):
        if position > end:
            parts.append(Gap(tokens=position - end, origin="verifier" if whole else "unknown"))
        parts.append(left[position])
        end = position + 1
    kept = sum(d.tokens for d in decisions if d.start >= end and d.outcome != "sent")
    return (*parts, Gap(tokens=kept, origin="kept")) if kept else tuple(parts)


def _sent(position: int, token: int, record: EgressRecord, words: Words) -> Sent:
    assert record.disclosure is not None  # noqa: S101  # only blocks have tokens
    return Sent(
        token=token,
        text=plain_words(words(token)),
        disclosure=record.disclosure,
        has_state=position in record.state_positions,
    )


def _word(position: int, sent: Sent, before: Word | None) -> Word:
    """What stands there now; a token that left once more keeps a vector that left with it."""
    fields = sent.model_dump()
    if before is None:
        return Word(**fields, position=position)
    if before.token == sent.token:
        fields["has_state"] = sent.has_state or before.has_state
        return Word(**fields, position=position, replaced=before.replaced)
    last = Sent(**before.model_dump(include=set(Sent.model_fields)))
    return Word(**fields, position=position, replaced=(*before.replaced, last))
