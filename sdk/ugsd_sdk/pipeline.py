"""What one user's captions need, and the way of a clip through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, ContinueTo
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.attributes.attribute import DecidedBy
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.description import VoiceDescription
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.audio.samples import Clip, read_pieces
from ugsd_sdk.calls.call import Call
from ugsd_sdk.calls.events import AudioRead, ClipEncoded
from ugsd_sdk.caption import (
    NO_SPEECH,
    BlockDecision,
    Caption,
    CaptionProfile,
    CaptionSpeech,
    CaptionUsage,
    Latency,
    escaped_path,
)
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.concurrency.waiting import WaitingTime
from ugsd_sdk.decoding.block_rules import BlockRules
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import BlockOutcome, DecodingCounts, Finished, TokenSource
from ugsd_sdk.decoding.pace import Pace, TimelyPolicy
from ugsd_sdk.decoding.policy import BudgetView, EnrolmentGuard, NeverEscalate, Policy
from ugsd_sdk.decoding.uncertainty import Uncertainty
from ugsd_sdk.drafter import ConditionedClip, Drafter
from ugsd_sdk.drafter.gender_phrases import gender_from
from ugsd_sdk.drafter.slot_table import SlotTable
from ugsd_sdk.driver import budget_of, drive, is_truncated, text_of, tokens_of, usage_of
from ugsd_sdk.errors import CallEnded, ConfigError
from ugsd_sdk.profile.clip_profile import ClipProfile
from ugsd_sdk.profile.matching import Enrolment, ProfileChange
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import MAX_ADAPTED_BLOCK_TOKENS
from ugsd_sdk.speech.reader import Meter, SpeechDetector, SpeechReader
from ugsd_sdk.speech.spans import SAMPLE_RATE, Speech

if TYPE_CHECKING:
    from ugsd_sdk.connection.connection_pool import ConnectionPool
    from ugsd_sdk.connection.exchange import Exchange
    from ugsd_sdk.decoding.budget_pacing import BudgetPacer
    from ugsd_sdk.home import UserEgress

__all__ = ["CaptionPipeline"]

_STORING_S = 0.5
"""How long a caption waits to store what it can do without: profile and decisions."""
_UNVERIFIED_CODES = frozenset(
    {
        ReasonCode.NOT_ENROLLED,
        ReasonCode.NO_PROFILE,
        ReasonCode.DIFFERENT_SPEAKER,
        ReasonCode.SEVERAL_SPEAKERS,
        ReasonCode.ANSWER_TOO_LATE,
    }
)
"""Why a block is kept that the settings would have sent: the caption has less verification than
they ask for, and says so by ``unverified_reason``."""
_WRITTEN = (TokenSource.CORRECTED, TokenSource.CONTINUED)


@dataclass(frozen=True)
class _Request:
    """A caption that is being made: what was asked, with the settings filled in."""

    path: str | None
    length: CaptionLength
    seed: int
    options: CaptionOptions
    call: Call
    load_s: float


class CaptionPipeline:
    """One user's way to captions, over models that all users share. Threads may share it."""

    def __init__(
        self,
        *,
        settings: Settings,
        drafter: Drafter,
        uncertainty: Uncertainty,
        policy: Policy,
        links: ConnectionPool | None,
        user_egress: UserEgress | None,
        user_profile: UserProfile | None,
        detector: SpeechDetector,
        meter: Callable[[], Meter],
        is_paced: bool = False,
    ) -> None:
        self.settings = settings
        self.limits = settings.limits_for()
        self.drafter = drafter
        self.uncertainty = uncertainty
        self.policy = policy
        self.links = links
        self.block_rules = BlockRules(
            drafter.info.slot_table,
            block_unit=settings.block_unit,
            continuation=settings.continuation,
            block_tokens=settings.block_tokens,
            verification=settings.verification,
            has_noise=settings.sigma is not None,
        )
        if settings.verifier.min_saving_s is not None and (
            self.block_rules.continue_to is not ContinueTo.CAPTION
        ):
            raise ConfigError(
                "verifier.min_saving_s: the verifier does not end captions of this drafter, whose "
                "clauses state what the device measured: remove it, or use a drafter without slots "
                "and continuation = caption"
            )
        self.pace = Pace(self._round_trip_s)
        """The measured times of this user's captions."""
        self.user_profile = user_profile
        self.detector = detector
        self._meter = meter
        self._user_egress = user_egress
        self._pacer: BudgetPacer | None = None
        if is_paced and user_egress is not None:
            from ugsd_sdk.decoding.budget_pacing import BudgetPacer  # noqa: PLC0415  # heavy

            self._pacer = BudgetPacer()

    def caption(
        self,
        clip: Clip,
        sample_rate: float | None,
        options: CaptionOptions,
        call: Call,
        *,
        load_s: float = 0.0,
    ) -> Caption:
        """Return the caption of a clip: see :meth:`~ugsd_sdk.captioner.Captioner.caption`.

        ``load_s`` is how long loading took, if this caption shall report it.
        """
        started_s = monotonic()
        settings = self.settings
        request = _Request(
            escaped_path(clip) if isinstance(clip, (str, os.PathLike)) else None,
            settings.length if options.length is None else options.length,
            settings.seed if options.seed is None else options.seed,
            options,
            call,
            load_s,
        )
        with call.running():
            return self._caption(clip, sample_rate, request, started_s)

    def _caption(
        self, clip: Clip, sample_rate: float | None, request: _Request, started_s: float
    ) -> Caption:
        request.call.check()
        reader = SpeechReader(read_pieces(clip, sample_rate), self.detector, self._meter())
        pieces = iter(reader)
        first = next(pieces, None)
        if first is None:
            return self._without_speech(request, reader, started_s)
        given = request.options.profile
        chosen = self.user_profile if given is None else given
        with (holder := Lock()), _turn(chosen, request, holder), ExitStack() as closing:
            used = self._clip_profile(chosen)
            exchange = self._exchange(request, holder)
            if exchange is not None:
                closing.callback(exchange.close)
            speech = chain([first], pieces)
            return self._with_speech(request, reader, speech, used, exchange, started_s)

    def _with_speech(
        self,
        request: _Request,
        reader: SpeechReader,
        speech: Iterator[NDArray[np.float32]],
        used: ClipProfile,
        exchange: Exchange | None,
        started_s: float,
    ) -> Caption:
        drafter = self.drafter
        conditioned = drafter.encode(speech, used.conditioning)
        match = used.match(conditioned.voice, conditioned.profile_match)
        conditioned = replace(conditioned, profile_match=match)
        request.call.notify(_audio_read(reader.speech))
        voice = conditioned.voice
        femininity = used.femininity(voice, match)
        prosody = reader.meter.result()
        if voice is not None:
            voice = replace(voice, prosody=prosody)
        described = VoiceDescription.of(
            conditioned.emotion,
            conditioned.strong,
            prosody,
            femininity=femininity,
            usual=used.usual(match),
            previous=used.previous(match),
            now_s=monotonic(),
        )
        plan = described.plan(request.length, _wording_of(reader.speech, request.seed))
        encoded_s = monotonic()
        request.call.notify(ClipEncoded(_milliseconds(encoded_s - started_s)))
        policy = self._policy_for(conditioned, used, exchange)
        decoder = self._decoder(replace(conditioned, plan=plan), exchange, policy, request.call)
        gender = gender_from(femininity) if self.settings.gender else None
        try:
            finished, draft_s = drive(decoder, exchange, request.call)
            receipts = () if exchange is None else exchange.receipts()
            request.call.commit()  # an ended call changes no profile
        except CallEnded:
            self._record_decisions(decoder.blocks, exchange)
            raise
        change = ProfileChange.NONE
        if not request.options.is_draft:
            change = self._add(used, replace(conditioned, voice=voice), described, exchange)
        caption_id = self._record_decisions(finished.blocks, exchange)
        attributes = _worded(described, plan, finished, drafter.info.slot_table)
        return Caption(
            path=request.path,
            text=text_of(finished, drafter, gender),
            length=request.length,
            seed=request.seed,
            attributes=attributes,
            confidence=attributes.joint_confidence(),
            audio_quality=reader.meter.notes(),
            is_truncated=is_truncated(finished, drafter.info.eos),
            speech=CaptionSpeech.of(reader.speech),
            tokens=tokens_of(finished, drafter, gender),
            profile=CaptionProfile.of(used, conditioned, change),
            usage=self._usage(finished, exchange),
            latency_ms=_latency(request.load_s, started_s, encoded_s, draft_s, exchange),
            receipts=receipts,
            unverified_reason=self._unverified_reason(exchange, finished),
            id=caption_id,
            decisions=tuple(map(BlockDecision.of, finished.blocks)),
        )

    def _decoder(
        self, clip: ConditionedClip, exchange: Exchange | None, policy: Policy, call: Call
    ) -> Decoder:
        drafter = self.drafter
        return Decoder(
            lambda emotion: drafter.start(clip, emotion=emotion),
            eos=drafter.info.eos,
            max_tokens=min(drafter.info.max_tokens, MAX_CAPTION_TOKENS),
            ood_score=clip.ood_score,
            uncertainty=self.uncertainty,
            policy=policy,
            piece=drafter.piece,
            budget=lambda: self._budget(exchange),
            rules=self.block_rules.with_block_tokens(self._block_tokens()),
            expected_gain=getattr(self.uncertainty, "expected_gain", None),
            pace=self.pace,
            check=call.check,
        )

    def _round_trip_s(self) -> float | None:
        round_trip = None if self.links is None else self.links.round_trip
        return None if round_trip is None else round_trip.expected_s

    def _block_tokens(self) -> int:
        """Return the length of the next caption's blocks of tokens. A block that is sent to save
        time has one token, since those after it would be discarded."""
        min_saving_s = self.settings.verifier.min_saving_s
        if min_saving_s is not None and self.pace.saving_s(0) >= min_saving_s:
            return 1
        if self.settings.adaptive_blocks:
            return self.pace.block_tokens(MAX_ADAPTED_BLOCK_TOKENS)
        return self.settings.block_tokens

    def _unverified_reason(self, exchange: Exchange | None, finished: Finished) -> Reason | None:
        """Return why a caption has less verification than was asked for; without a verifier only a
        target asks for any."""
        if exchange is not None:
            missing = filter(None, map(self._missing_verification, finished.blocks))
            return exchange.unverified_reason or next(missing, None)
        return Reason(code=ReasonCode.NO_VERIFIER) if self.settings.has_target else None

    def _missing_verification(self, block: BlockOutcome) -> Reason | None:
        """Return why a block that should have been sent was kept, or was sent and not judged. One
        that is not worth its price should have been sent only if there is a target."""
        reason, failure = block.reason, block.reason.failure
        is_paced = reason.code is ReasonCode.BELOW_PRICE and self.settings.has_target
        if is_paced or reason.code in _UNVERIFIED_CODES:
            return reason
        return failure if failure and failure.code is ReasonCode.NOT_JUDGED else None

    def _usage(self, finished: Finished, exchange: Exchange | None) -> CaptionUsage:
        has_noise = self.settings.sigma is not None
        return usage_of(finished, exchange, self.limits.delta, has_noise=has_noise)

    def _without_speech(self, request: _Request, reader: SpeechReader, started_s: float) -> Caption:
        """Return the caption of a recording that holds no voice. In constant shape a cover frame is
        sent, as for any caption; otherwise nothing."""
        request.call.notify(_audio_read(reader.speech))
        is_constant = self.settings.traffic_shape is TrafficShape.CONSTANT
        with (holder := Lock()), ExitStack() as closing:
            exchange = self._exchange(request, holder) if is_constant else None
            if exchange is not None:
                closing.callback(exchange.close)
                exchange.send_cover_if_due()
            sent = None if exchange is None else exchange.caption_id
            return Caption(
                path=request.path,
                text=NO_SPEECH,
                length=request.length,
                seed=request.seed,
                speech=CaptionSpeech.of(reader.speech),
                usage=self._usage(Finished((), DecodingCounts.none()), exchange),
                latency_ms=_latency(request.load_s, started_s, monotonic(), 0.0, exchange),
                receipts=() if exchange is None else exchange.receipts(),
                id=None if sent is None else sent.hex(),
            )

    def _add(
        self,
        used: ClipProfile,
        conditioned: ConditionedClip,
        described: VoiceDescription,
        exchange: Exchange | None,
    ) -> ProfileChange:
        """Add the clip to the profile, if it belongs to it."""
        voice, utterance = conditioned.voice, described.utterance
        if exchange is None:
            return used.add(voice, timeout_s=_STORING_S, utterance=utterance)
        with exchange.waiting.for_lock(_STORING_S) as timeout_s:
            return used.add(voice, timeout_s=timeout_s, utterance=utterance)

    def _clip_profile(self, profile: Profile | None) -> ClipProfile:
        """Return what a caption uses of ``profile``."""
        enrolment = Enrolment(self.settings.min_enrolment, self.settings.min_enrolment_s)
        return ClipProfile(profile, self.drafter.info.profile_encoder, enrolment)

    def _policy_for(
        self, conditioned: ConditionedClip, profile: ClipProfile, exchange: Exchange | None
    ) -> Policy:
        """Return the policy for a clip: it asks in time, is guarded if none of the clip's states
        may be sent, and is paced by the price."""
        if exchange is None:
            return NeverEscalate(ReasonCode.NO_VERIFIER)
        verifier = self.settings.verifier
        policy: Policy = TimelyPolicy(
            self.policy,
            self.pace,
            exchange.remaining_s,
            max_delay_s=verifier.max_delay_s,
            min_saving_s=verifier.min_saving_s,
            disclosure=self.settings.disclosure,
        )
        blocked_reason = profile.blocked_reason(conditioned.voice, conditioned.profile_match)
        if blocked_reason is not None:
            policy = EnrolmentGuard(policy, blocked_reason)
        return policy if self._pacer is None else self._paced(policy)

    def _paced(self, policy: Policy) -> Policy:
        from ugsd_sdk.decoding.budget_pacing import PacedPolicy  # noqa: PLC0415  # heavy
        from ugsd_sdk.decoding.question_cost import QuestionCost  # noqa: PLC0415  # heavy

        cost_of = QuestionCost(
            self.drafter.info.state_dim,
            self.block_rules.slot,
            self.settings.sigma,
            self.settings.traffic_shape,
        )
        return PacedPolicy(policy, cost_of)

    def _budget(self, exchange: Exchange | None) -> BudgetView:
        if exchange is None or self._user_egress is None:
            return BudgetView()
        return budget_of(exchange, self._user_egress, self.limits, self._pacer)

    def _exchange(self, request: _Request, holder: Lock) -> Exchange | None:
        """Return the exchange of a new caption, or ``None`` without a verifier and for a draft."""
        if self.links is None or request.options.is_draft:
            return None
        from ugsd_sdk.connection.exchange import Exchange  # noqa: PLC0415  # heavy

        verifier = self.settings.verifier
        return Exchange(
            self.links,
            deadline_s=verifier.deadline_s,
            waiting=WaitingTime(verifier.caption_deadline_s),
            traffic_shape=self.settings.traffic_shape,
            recording=request.options.recording,
            answered=self.pace.record_answer,
            call=request.call,
            holder=holder,
        )

    def _record_decisions(
        self, blocks: Sequence[BlockOutcome], exchange: Exchange | None
    ) -> str | None:
        """Write to the journal why each block was escalated or not. Returns the caption's id."""
        if exchange is None or self._user_egress is None:
            return None
        caption_id = exchange.caption_id or os.urandom(16)
        with exchange.ledger_time(_STORING_S) as timeout_s:
            self._user_egress.write_journal(caption_id, blocks, timeout_s=timeout_s)
        return caption_id.hex()

    @property
    def is_disposable(self) -> bool:
        """Whether closing it loses nothing but measured times: its profile is stored, or there is
        none."""
        return self.user_profile is None or self.user_profile.is_stored

    def close(self) -> None:
        """Close the user's connections and ledger. May be called again."""
        with ExitStack() as closing:  # closes all of them even if one fails
            if self._user_egress is not None:
                closing.callback(self._user_egress.close)
            if self.links is not None:
                closing.callback(self.links.close)


def _turn(profile: Profile | None, request: _Request, holder: Lock) -> AbstractContextManager[None]:
    """Return what a caption holds that may change ``profile``, since it sees all earlier ones."""
    if profile is None or profile.is_frozen or request.options.is_draft:
        return nullcontext()
    return request.call.holding(profile.turn, holder)


def _wording_of(speech: Speech, seed: int) -> str:
    """Return what the wording is drawn from: the seed, and the duration of the speech in steps of
    10 ms, so that clips are worded differently although the words tell nothing else of them."""
    return f"{seed}:{round(100 * speech.duration_s)}"


def _worded(
    described: VoiceDescription, plan: CaptionPlan, finished: Finished, table: SlotTable | None
) -> Attributes:
    """Return the attributes with what the text says of them. A drafter without slots words the
    emotion alone, in words that nobody can read back."""
    if table is None:
        nothing = CaptionPlan(plan.length, {})
        return described.worded(nothing, None, DecidedBy.DEVICE)
    clause = [one for one in finished.tokens if table.slots[one.token] is Slot.EMOTION]
    emotion = table.emotion_in([one.token for one in clause])
    naming = [one for one in clause if table.emotions_in([one.token])]
    is_written = any(one.source in _WRITTEN for one in naming)
    return described.worded(plan, emotion, DecidedBy.VERIFIER if is_written else DecidedBy.DEVICE)


def _latency(
    load_s: float, started_s: float, encoded_s: float, draft_s: float, exchange: Exchange | None
) -> Latency:
    """Return the times of a caption that ends now."""
    return Latency(
        load=_milliseconds(load_s),
        encode=_milliseconds(encoded_s - started_s),
        draft=_milliseconds(draft_s),
        wait=_milliseconds(0 if exchange is None else exchange.waited_s),
        total=_milliseconds(load_s + monotonic() - started_s),
    )


def _audio_read(speech: Speech) -> AudioRead:
    return AudioRead(speech.num_samples / SAMPLE_RATE, speech.duration_s)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
