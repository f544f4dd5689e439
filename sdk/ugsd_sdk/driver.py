"""The loop that runs a decoder and performs what its events request, through an exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from time import monotonic
from typing import TYPE_CHECKING

from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.protocol.traffic_shape import TrafficShape

from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.events import BlockSent, VerdictReceived
from ugsd_sdk.caption import CaptionToken, CaptionUsage
from ugsd_sdk.connection.failure_reasons import reason_of
from ugsd_sdk.decoding.budget_price import Question, Quote
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationRequested, Finished
from ugsd_sdk.decoding.policy import BudgetView
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.gender_phrases import Gender, with_gender
from ugsd_sdk.errors import CallEnded, TransportError, VerifierMisbehaved

if TYPE_CHECKING:
    from ugsd_privacy.ledger import BudgetStanding

    from ugsd_sdk.connection.exchange import Exchange
    from ugsd_sdk.decoding.budget_pacing import BudgetPacer
    from ugsd_sdk.home import UserEgress

__all__ = ["budget_of", "drive", "is_truncated", "text_of", "tokens_of", "usage_of"]

_READING_S = 0.25
"""How long a caption waits to read its budget; it usually takes a millisecond or two, and the first
time in a process up to a tenth of a second with a full journal."""


def drive(
    decoder: Decoder, exchange: Exchange | None, call: Call | None = None
) -> tuple[Finished, float]:
    """Run the decoder to its end. Returns its last event and the seconds spent on drafting.

    Raises a :class:`CallEnded` if ``call`` has ended. The decoder's blocks then say what became of
    a block in flight.
    """
    call = call or Call()
    draft_s, was_sent = 0.0, False
    try:
        while True:
            call.check()
            started_s = monotonic()
            event = decoder.advance() if exchange is None else decoder.advance(exchange.has_answer)
            if exchange is not None and exchange.traffic_shape is TrafficShape.CONSTANT:
                decoder.draft_to_end()
            draft_s += monotonic() - started_s
            if isinstance(event, Finished):
                if exchange is not None:
                    exchange.send_cover_if_due()
                return event, draft_s
            assert exchange is not None, "without a verifier nothing is escalated"  # noqa: S101
            if isinstance(event, EscalationRequested):
                _escalate(decoder, exchange, event, call)
                was_sent = True
            else:
                _await(decoder, exchange, call)
                was_sent = False
    except CallEnded as ended:
        decoder.abandon(ended.code, was_sent=was_sent)
        raise


def _escalate(decoder: Decoder, exchange: Exchange, event: EscalationRequested, call: Call) -> None:
    try:
        frame = exchange.seal(event.escalation)
    except (TransportError, PrivacyError) as error:
        decoder.escalation_blocked(reason_of(error))
        return
    try:
        exchange.send(frame)
    except TransportError as error:
        decoder.verdict_missed(reason_of(error))
    else:
        call.notify(BlockSent(len(event.escalation.tokens), len(frame.data)))


def _await(decoder: Decoder, exchange: Exchange, call: Call) -> None:
    try:
        verdict = exchange.receive()
    except (TransportError, PrivacyError) as error:
        decoder.verdict_missed(reason_of(error))
        return
    try:
        decoder.receive_verdict(verdict)
    except VerifierMisbehaved as error:
        exchange.verdict_rejected(error)
        decoder.verdict_missed(reason_of(error))
    else:
        exchange.verdict_accepted()
        call.notify(VerdictReceived(verdict.accepted))


def budget_of(
    exchange: Exchange, user_egress: UserEgress, limits: BudgetLimits, pacer: BudgetPacer | None
) -> BudgetView:
    """Return the view of the budget that the policy of a caption gets, with quotes of ``pacer``.

    If the ledger cannot be read in time, nothing remains, at most of ``limits``, and no price is
    known; what is sent is checked by the egress in any case.
    """

    def standing(questions_after: int | None = None) -> BudgetStanding:
        with exchange.waiting.for_lock(_READING_S) as timeout_s:
            budget = user_egress.open(timeout_s=timeout_s).budget
            return budget.standing(
                exchange.caption_id, questions_after=questions_after, timeout_s=timeout_s
            )

    def remaining() -> Mapping[str, float]:
        try:
            found = standing()
        except PrivacyError:
            return dict.fromkeys(limits.remaining({}), 0.0)
        return found.limits.remaining(found.used)

    def quote(question: Question) -> Quote | None:
        if pacer is None:
            return None
        try:
            return pacer.quote(question, standing(pacer.last_row))
        except PrivacyError:
            return None

    return BudgetView(remaining, quote)


def text_of(finished: Finished, drafter: Drafter, gender: Gender | None) -> str:
    """Return the caption's text, worded for ``gender``."""
    neutral = drafter.text([token.token for token in finished.tokens])
    return "".join(with_gender([neutral], gender, drafter.info.gendered_phrases))


def is_truncated(finished: Finished, eos: int) -> bool:
    """Return whether the caption was cut before its end marker ``eos``."""
    return bool(finished.tokens) and finished.tokens[-1].token != eos


def tokens_of(
    finished: Finished, drafter: Drafter, gender: Gender | None
) -> tuple[CaptionToken, ...]:
    """Return the tokens that have a text or replaced a token that was sent, worded for ``gender``.
    Replaced text stays neutral, as it was sent."""
    pieces = [drafter.piece(token.token) for token in finished.tokens]
    texts = with_gender(pieces, gender, drafter.info.gendered_phrases)
    table = drafter.info.slot_table
    return tuple(
        CaptionToken(
            text=text,
            source=token.source,
            uncertainty=token.uncertainty,
            disclosed=token.disclosed,
            replaced="".join(map(drafter.piece, token.replaced)),
            slot=None if table is None else table.slots[token.token],
        )
        for piece, text, token in zip(pieces, texts, finished.tokens, strict=True)
        if piece or token.replaced
    )


def usage_of(
    finished: Finished, exchange: Exchange | None, delta: float, *, has_noise: bool
) -> CaptionUsage:
    """Combine the counts of decoder and exchange; epsilon is reported at ``delta``. ``has_noise``
    says whether states get noise."""
    has_cost = finished.counts.num_disclosed_states > 0 or finished.has_sent_draft_weights
    privacy_cost = exchange.privacy_cost() if exchange is not None and has_cost else 0
    return CaptionUsage(
        **asdict(finished.counts),
        num_frames=0 if exchange is None else exchange.frames,
        bytes_sent=0 if exchange is None else exchange.bytes_sent,
        bytes_received=0 if exchange is None else exchange.bytes_received,
        guarantee=Guarantee.from_privacy_cost(
            privacy_cost,
            delta,
            only_states_have_noise=has_noise and finished.has_sent_draft_weights,
        )
        if privacy_cost
        else None,
    )
