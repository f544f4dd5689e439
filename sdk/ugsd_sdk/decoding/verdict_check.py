"""The check of a verdict against the block that it answers.

A verdict must fit the block, and may change only what :class:`BlockRules` lets a verifier change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ugsd_privacy.protocol.messages import ContinueTo, Verdict

from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.errors import VerifierMisbehaved

__all__ = ["checked_tokens"]

_LONGEST_CLAUSE = 24
"""Most tokens of the emotion's clause. The longest of the bundled grammar has half as many."""


def checked_tokens(
    verdict: Verdict,
    *,
    committed: Sequence[int],
    block: Sequence[int],
    rules: BlockRules,
    eos: int,
    vocabulary_size: int,
    piece: Callable[[int], str],
    has_state: bool,
) -> list[int]:
    """Return the tokens that the verifier wrote, its correction and its continuation, without the
    end marker of a clause.

    ``block`` was drafted after ``committed``, ``piece`` returns a token's text, and ``has_state``
    says whether a state was sent. Raises :class:`VerifierMisbehaved` if ``verdict`` is no valid
    answer to the block.
    """
    correction = [] if verdict.correction is None else [verdict.correction]
    written = [*correction, *verdict.continuation]
    _require_fit(verdict, written, committed, block, eos, vocabulary_size, piece)
    if verdict.continuation and rules.continue_to is ContinueTo.NOTHING:
        raise _misbehaved("it goes on, which was not asked")
    if not rules.has_slots:
        return written
    ends = bool(written) and written[-1] == eos
    if ends:
        written.pop()
    if not all(map(rules.may_change, written)):
        raise _misbehaved("it writes about a slot that was not asked about")
    if rules.by_slot:
        if written and not has_state:
            raise _misbehaved("it changes an emotion although it was sent no state")
        _require_value(verdict, block, written, rules)
    elif written:
        clause = [*committed, *block[: verdict.accepted], *written]
        _require_clause(clause, rules, piece, ends=ends)
    return written


def _require_fit(
    verdict: Verdict,
    written: Sequence[int],
    committed: Sequence[int],
    block: Sequence[int],
    eos: int,
    vocabulary_size: int,
    piece: Callable[[int], str],
) -> None:
    """Refuse a verdict that no caption could take over, whatever was asked."""
    accepted, correction = verdict.accepted, verdict.correction
    final = [*block[:accepted], *written]
    faults = {
        "it is about another block": verdict.start != len(committed),
        "it accepts more than was sent": accepted > len(block),
        "it rejects a token without correcting it": accepted < len(block) and correction is None,
        "it corrects an accepted block": accepted >= len(block) and correction is not None,
        "it corrects a token to itself": (
            correction is not None and accepted < len(block) and correction == block[accepted]
        ),
        "it has a token out of vocabulary": any(token >= vocabulary_size for token in written),
        "it continues after the end": eos in final[:-1],
        "it has a token without text": any(not piece(token) for token in written if token != eos),
        "it leaves the caption without text": bool(written)
        and not _has_text([*committed, *final], piece),
    }
    for fault, found in faults.items():
        if found:
            raise VerifierMisbehaved(
                f"the verdict does not match the block, {fault}: ask the verifier's operator"
            )


def _require_value(
    verdict: Verdict, question: Sequence[int], written: Sequence[int], rules: BlockRules
) -> None:
    """Refuse a verdict on a question that does not put another value in the place of one."""
    if verdict.correction is None:
        return
    replaced = question[verdict.accepted]
    if not (written and rules.states_value(replaced) and rules.states_value(written[0])):
        raise _misbehaved("it changes words that do not state what was asked")
    if rules.emotion_of(written) == rules.emotion_of(question):
        raise _misbehaved("it corrects an emotion to itself")


def _require_clause(
    clause: Sequence[int], rules: BlockRules, piece: Callable[[int], str], *, ends: bool
) -> None:
    """Refuse a verdict that would leave a ``clause`` of the emotion that no drafter words."""
    named = rules.emotions_in(clause)
    if len(named) > 1 or (ends and not named):
        raise _misbehaved("it leaves a caption that names no emotion, or several")
    begins = [piece(token)[:1].isalnum() for token in clause]
    if len(clause) > _LONGEST_CLAUSE or not begins[0] or any(begins[1:]):
        raise _misbehaved("it leaves a clause that no caption has")


def _has_text(tokens: Sequence[int], piece: Callable[[int], str]) -> bool:
    """Return whether the text of ``tokens`` contains a letter or a digit."""
    return any(map(str.isalnum, "".join(map(piece, tokens))))


def _misbehaved(fault: str) -> VerifierMisbehaved:
    return VerifierMisbehaved(
        f"the verdict does not match the question, {fault}: ask the verifier's operator"
    )
