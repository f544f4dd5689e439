"""Drives the decoder: does what its events ask, through the exchange with the verifier."""

from __future__ import annotations

from dataclasses import asdict
from time import monotonic

from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp.accounting import Guarantee
from ugsd_privacy.errors import PrivacyError
from ugsd_privacy.protocol.channel import Shape

from ugsd_sdk.caption import CaptionToken, EscalationCost
from ugsd_sdk.connection.exchange import Exchange
from ugsd_sdk.connection.link import reason_of
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import EscalationDue, Finished, VerdictDue
from ugsd_sdk.decoding.policy import BudgetView
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.wording import Gender, worded
from ugsd_sdk.errors import PeerMisbehaved, TransportError

__all__ = ["budget_of", "cost_of", "drive", "text_of", "tokens_of"]


def drive(decoder: Decoder, exchange: Exchange | None) -> tuple[Finished, float]:
    """Run the decoder to its end; also the seconds that it took for drafting."""
    draft_s = 0.0
    while True:
        started_s = monotonic()
        event = decoder.advance()
        if exchange is not None and exchange.shape is Shape.CONSTANT:
            decoder.draft_out()
        draft_s += monotonic() - started_s
        if isinstance(event, Finished):
            if exchange is not None:
                exchange.cover()
            return event, draft_s
        assert exchange is not None, "without a verifier nothing escalates"  # noqa: S101
        if isinstance(event, EscalationDue):
            _escalate(decoder, exchange, event)
        else:
            _await(decoder, exchange, event)


def _escalate(decoder: Decoder, exchange: Exchange, event: EscalationDue) -> None:
    try:
        frame = exchange.seal(event.escalation)
    except (TransportError, PrivacyError) as error:
        decoder.withheld(reason_of(error))
        return
    try:
        exchange.send(frame)
    except TransportError as error:
        decoder.unanswered(reason_of(error))


def _await(decoder: Decoder, exchange: Exchange, event: VerdictDue) -> None:
    try:
        verdict = exchange.receive()
    except (TransportError, PrivacyError) as error:
        decoder.unanswered(reason_of(error))
        return
    try:
        decoder.verdict(verdict)
    except PeerMisbehaved as error:
        exchange.misfit(error)
        decoder.unanswered(reason_of(error))
    else:
        exchange.fitted()


def budget_of(exchange: Exchange | None, limits: BudgetLimits) -> BudgetView:
    """What a policy may ask of the budget."""
    return BudgetView() if exchange is None else BudgetView(lambda: exchange.left(limits))


def text_of(finished: Finished, drafter: Drafter, gender: Gender | None) -> str:
    """The caption's text, worded for ``gender``."""
    neutral = drafter.text([token.token for token in finished.tokens])
    return "".join(worded([neutral], gender, drafter.info.gendered))


def tokens_of(
    finished: Finished, drafter: Drafter, gender: Gender | None
) -> tuple[CaptionToken, ...]:
    """The tokens that have a text or replaced one that was sent, worded for ``gender``. What was
    replaced stays neutral, as it was sent."""
    pieces = [drafter.piece(token.token) for token in finished.tokens]
    texts = worded(pieces, gender, drafter.info.gendered)
    return tuple(
        CaptionToken(
            text=text,
            source=token.source,
            uncertainty=token.uncertainty,
            left=token.left,
            replaced="".join(map(drafter.piece, token.replaced)),
        )
        for piece, text, token in zip(pieces, texts, finished.tokens, strict=True)
        if piece or token.replaced
    )


def cost_of(finished: Finished, exchange: Exchange | None, delta: float) -> EscalationCost:
    """What the decoder counted, and what the exchange did; epsilon is told at ``delta``."""
    spend = exchange.spend() if exchange is not None and finished.tally.disclosed_states else 0
    return EscalationCost(
        **asdict(finished.tally),
        frames=0 if exchange is None else exchange.frames,
        bytes_sent=0 if exchange is None else exchange.bytes_sent,
        bytes_received=0 if exchange is None else exchange.bytes_received,
        guarantee=Guarantee.of_spend(spend, delta) if spend else None,
    )
