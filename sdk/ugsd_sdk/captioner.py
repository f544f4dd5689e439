"""The captioner, which turns a clip into a caption."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Self

from ugsd_privacy.forks import call_in_children, keep_for_good
from ugsd_privacy.protocol.channel import TrafficShape
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS
from ugsd_privacy.reasons import Reason, ReasonCode

from ugsd_sdk.audio.samples import Clip, read_pieces
from ugsd_sdk.caption import (
    NO_SPEECH,
    BlockDecision,
    Caption,
    CaptionSpeech,
    Latency,
    escaped_path,
)
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.concurrency.waiting import WaitingTime
from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint, endpoint_of
from ugsd_sdk.connection.exchange import Exchange
from ugsd_sdk.connection.session import PairIdentity
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import DecodingCounts, Finished
from ugsd_sdk.decoding.policy import (
    EnrolmentGuard,
    NeverEscalate,
    Policy,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import AudioEmbedding, Drafter
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.driver import budget_of, drive, is_truncated, text_of, tokens_of, usage_of
from ugsd_sdk.errors import ConfigError, ModelError, VerifierTimeout
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.profile.speaker_profile import ProfileFile, ProfileTracker, SpeakerProfile
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.speech.reader import SpeechDetector, SpeechReader
from ugsd_sdk.speech.spans import SAMPLE_RATE, Speech
from ugsd_sdk.transport import Transport

__all__ = ["Captioner"]

_CLOSE_TIMEOUT_S = 2.5
_STORING_S = 0.5
"""How long a caption waits to store what it can do without: profile and decisions."""
_ENTROPY_THRESHOLD = 0.2
"""Entropy, as a share of ln V, that escalates for a drafter without a rejection predictor."""


class Captioner:
    """Captions how voices sound, on this device, and sends doubtful blocks to a verifier if set.

    ``drafter`` is ``"starter"``, ``"free"``, a folder, or a :class:`Drafter`. ``verifier`` is
    ``None``, a ``ws://`` or ``wss://`` address, ``"embedded"``, or a function that returns a
    :class:`Transport`. Without a verifier, neither the network nor ``home`` is used. Its identity
    is ``verifier_root``, the root that signed the file ``verifier_manifest``; for a verifier on
    this machine or behind the caller's transport it may be ``verifier_key`` instead.

    ``config`` is a :class:`Settings`, or a TOML file, which is read with the environment; arguments
    override it. Without it only arguments count. ``uncertainty`` and ``policy`` replace those of
    the drafter and the settings; ``detector`` replaces the voice activity detector.

    A recording without a voice gets the text "No speech.": nothing is sent, and the speaker profile
    stays as it is.

    The constructor does no work; :meth:`load` or the first caption does. Threads may share a
    captioner, which makes one caption at a time. A caption waits at most
    ``verifier.caption_deadline_s`` for the verifier and for other processes; a thread also waits
    for the captions that other threads requested before it.

    After a fork the child's copy shares nothing with the parent's captioner: it loads and connects
    again with its first caption, and closing it does not affect the parent.
    """

    def __init__(
        self,
        drafter: str | os.PathLike[str] | Drafter = STARTER,
        *,
        verifier: str | Callable[[], Transport] | None = None,
        verifier_root: str | os.PathLike[str] | None = None,
        verifier_manifest: str | os.PathLike[str] | None = None,
        verifier_key: str | os.PathLike[str] | None = None,
        user: str | None = None,
        home: str | os.PathLike[str] | None = None,
        config: Settings | str | os.PathLike[str] | None = None,
        uncertainty: Uncertainty | None = None,
        policy: Policy | None = None,
        detector: SpeechDetector | None = None,
    ) -> None:
        if not (verifier is None or isinstance(verifier, str) or callable(verifier)):
            raise TypeError(
                "verifier must be text, or a function that returns a transport, not "
                f"{type(verifier).__name__}"
            )
        self._given_drafter = drafter
        self._given_verifier = verifier
        self._verifier_root = None if verifier_root is None else os.fspath(verifier_root)
        self._verifier_manifest = None if verifier_manifest is None else Path(verifier_manifest)
        self._verifier_key = None if verifier_key is None else os.fspath(verifier_key)
        self._arguments = {"user": user, "home": home}
        self._config = config
        self._given_uncertainty = uncertainty
        self._given_policy = policy
        self._given_detector = detector
        self._lock = Lock()
        self._loaded: _Loaded | None = None
        call_in_children(self._forget_in_child)

    def __enter__(self) -> Self:
        self.load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def load(self) -> None:
        """Read settings and weights, and start connecting in the background.

        Raises :class:`ModelError` or :class:`ConfigError`, but nothing for a verifier that cannot
        be reached. May be called again.
        """
        with self._lock:
            self._load()

    def wait_until_connected(self, timeout_s: float = 30.0) -> None:
        """Wait until the verifier is connected; retry at once after an earlier failure.

        Takes at most ``timeout_s`` beyond loading the weights. Raises a :class:`TransportError`, or
        a ``PrivacyError`` of ``ugsd_privacy`` if budget or ledger forbid connecting; captions can
        be made anyway. Returns at once without a verifier.
        """
        ends_s = monotonic() + timeout_s
        if not self._lock.acquire(timeout=max(timeout_s, 0)):
            raise VerifierTimeout(
                "other threads kept the captioner busy: connect before they start, or allow more "
                "time"
            )
        try:
            started_s = monotonic()
            link = self._load().link
            ends_s += monotonic() - started_s
            if link is not None:
                link.session(max(ends_s - monotonic(), 0), insist=True)
        finally:
            self._lock.release()

    def caption(self, clip: Clip, sample_rate: float | None = None) -> Caption:
        """Caption a path, an open file, the bytes of an encoded file, or samples: an array, list or
        tensor (n,), (n, channels) or (channels, n).

        ``sample_rate`` in Hz is required for an array. Raises :class:`AudioError` for an unusable
        clip, :class:`ModelError` or :class:`ConfigError`, but no error of the network.
        """
        with self._lock:
            loaded = self._load()
            loaded_s = monotonic()
            drafter = loaded.drafter
            reader = SpeechReader(read_pieces(clip, sample_rate), loaded.detector)
            pieces = iter(reader)
            first = next(pieces, None)
            if first is None:
                return loaded.caption_without_speech(_path_of(clip), reader.speech, loaded_s)
            tracker = loaded.profile_tracker
            embedding = drafter.encode(chain([first], pieces), tracker.profile)
            policy = loaded.policy_for(embedding, tracker.profile)
            encoded_s = monotonic()
            exchange = loaded.exchange()
            decoder = Decoder(
                drafter.start(embedding),
                eos=drafter.info.eos,
                max_tokens=min(drafter.info.max_tokens, MAX_CAPTION_TOKENS),
                ood_score=embedding.ood_score,
                uncertainty=loaded.uncertainty,
                policy=NeverEscalate(ReasonCode.NO_VERIFIER) if exchange is None else policy,
                piece=drafter.piece,
                budget=lambda: budget_of(exchange, loaded.limits),
                block_tokens=loaded.settings.block_tokens,
            )
            finished, draft_s = drive(decoder, exchange)
            gender = embedding.gender if loaded.settings.gender else None
            receipts = () if exchange is None else exchange.receipts()
            if exchange is not None:
                with exchange.waiting.for_lock(_STORING_S) as timeout_s:
                    tracker.add_clip(embedding.unnormalised, timeout_s=timeout_s)
            else:
                tracker.add_clip(embedding.unnormalised)
            caption_id = loaded.record_decisions(finished, exchange)
            return Caption(
                path=_path_of(clip),
                text=text_of(finished, drafter, gender),
                is_truncated=is_truncated(finished, drafter.info.eos),
                speech=CaptionSpeech.of(reader.speech),
                tokens=tokens_of(finished, drafter, gender),
                usage=usage_of(finished, exchange, loaded.limits.delta),
                latency_ms=loaded.latency(loaded_s, encoded_s, draft_s, exchange),
                receipts=receipts,
                unverified_reason=None
                if exchange is None
                else exchange.unverified_reason or _enrolment_reason(policy),
                id=caption_id,
                decisions=tuple(map(BlockDecision.of, finished.blocks)),
            )

    def close(self) -> None:
        """Free the model, close the connection and end the embedded verifier. May be repeated.

        Returns within three seconds: a caption of another thread stops waiting and finishes without
        the verifier, and slower work continues on a background thread.
        """
        if self._loaded is None and not self._lock.locked():
            return
        BackgroundWork(self._close, "ugsd-close").wait(_CLOSE_TIMEOUT_S)

    def _close(self) -> None:
        loaded = self._loaded
        if loaded is not None and loaded.link is not None:
            loaded.link.stop()  # ends waits, so that the lock is released sooner
        with self._lock:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                loaded.close()

    def _forget_in_child(self) -> None:
        """Drop the parent's objects; freeing or closing them here could affect the parent."""
        self._lock = Lock()  # a thread of the parent may have held the other one
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            keep_for_good(loaded)

    def _load(self) -> _Loaded:
        if self._loaded is None:
            started_s = monotonic()
            settings = self._settings()
            endpoint = self._endpoint(settings)  # reports a wrong address or key before loading
            drafter, predictor_file = self._drafter()
            detector = self._detector()
            with ExitStack() as closing:
                closing.callback(drafter.close)
                closing.callback(detector.close)
                drafter.load()
                if drafter.info.sample_rate != SAMPLE_RATE:
                    raise ModelError(
                        f"the drafter reads {drafter.info.sample_rate} Hz, but recordings are "
                        f"read at {SAMPLE_RATE} Hz: use a drafter for that rate, or resample in it"
                    )
                detector.load()
                self._loaded = self._assemble(settings, endpoint, drafter, predictor_file, detector)
                closing.pop_all()
            self._loaded.load_s = monotonic() - started_s
            if self._loaded.link is not None:
                self._loaded.link.start_connecting()
        return self._loaded

    def _settings(self) -> Settings:
        given = {name: value for name, value in self._arguments.items() if value is not None}
        if isinstance(self._config, Settings):
            return Settings(**{**dict(self._config), **given})
        return Settings(**given) if self._config is None else Settings.load(self._config, **given)

    def _endpoint(self, settings: Settings) -> PinnedEndpoint | EmbeddedEndpoint | None:
        verifier = (
            self._given_verifier if self._given_verifier is not None else settings.verifier.url
        )
        identified = settings.verifier.with_identity(
            key=self._verifier_key, root=self._verifier_root, manifest=self._verifier_manifest
        )
        return (
            None
            if verifier is None
            else endpoint_of(verifier, identified, Home.from_path(settings.home))
        )

    def _drafter(self) -> tuple[Drafter, Path | None]:
        """Return the drafter, not loaded, and the file of its rejection predictor."""
        given = self._given_drafter
        if isinstance(given, Settings):
            raise ConfigError("settings are not a drafter: pass them as config=")
        if not isinstance(given, (str, os.PathLike)):
            return given, None
        from ugsd_sdk.drafter.onnx import OnnxDrafter  # noqa: PLC0415  # heavy

        bundle = DrafterBundle.of(given)
        return OnnxDrafter(bundle.folder), bundle.rejection_predictor_file

    def _detector(self) -> SpeechDetector:
        if self._given_detector is not None:
            return self._given_detector
        from ugsd_sdk.speech.voice_activity import VoiceActivityDetector  # noqa: PLC0415  # heavy

        return VoiceActivityDetector()

    def _assemble(
        self,
        settings: Settings,
        endpoint: PinnedEndpoint | EmbeddedEndpoint | None,
        drafter: Drafter,
        predictor_file: Path | None,
        detector: SpeechDetector,
    ) -> _Loaded:
        uncertainty, threshold = self._given_uncertainty, settings.threshold
        if uncertainty is None and predictor_file is not None:
            predictor = RejectionPredictor.load(predictor_file)
            uncertainty = predictor
            threshold = predictor.threshold if threshold is None else threshold
        if threshold is None:
            threshold = _ENTROPY_THRESHOLD
        link = user_egress = None
        if endpoint is not None:
            home, limits = Home.from_path(settings.home), settings.limits_for()
            user_egress = UserEgress(
                home, limits, settings.user, sigma=settings.sigma, audit=settings.audit
            )
            link = VerifierConnection(
                endpoint,
                user_egress,
                lambda: _pair_identity(drafter),
                connect_timeout_s=settings.verifier.connect_timeout_s,
            )
        return _Loaded(
            settings=settings,
            drafter=drafter,
            uncertainty=uncertainty or EntropyUncertainty(),
            policy=self._policy(settings, threshold, predictor_file),
            link=link,
            user_egress=user_egress,
            profile_tracker=_profile_tracker(settings, drafter, is_stored=user_egress is not None),
            detector=detector,
        )

    def _policy(self, settings: Settings, threshold: float, predictor_file: Path | None) -> Policy:
        """Return the given policy, or the one that the settings describe."""
        if self._given_policy is not None:
            return self._given_policy
        has_predictor = predictor_file is not None and self._given_uncertainty is None
        risk_controlled = RiskControlledPolicy.from_settings(
            settings, predictor_file.parent if predictor_file and has_predictor else None
        )
        return risk_controlled or UncertaintyPolicy(threshold, settings.disclosure)


class _Loaded:
    """The objects of a loaded captioner."""

    def __init__(
        self,
        *,
        settings: Settings,
        drafter: Drafter,
        uncertainty: Uncertainty,
        policy: Policy,
        link: VerifierConnection | None,
        user_egress: UserEgress | None,
        profile_tracker: ProfileTracker,
        detector: SpeechDetector,
    ) -> None:
        self.settings = settings
        self.limits = settings.limits_for()
        self.drafter = drafter
        self.uncertainty = uncertainty
        self.policy = policy
        self.link = link
        self.profile_tracker = profile_tracker
        self.detector = detector
        self.load_s = 0.0
        """How long loading took; 0 after a caption has reported it."""
        self._user_egress = user_egress

    def policy_for(self, embedding: AudioEmbedding, profile: SpeakerProfile) -> Policy:
        """Return the policy for a user with ``profile``. A drafter that uses no profile needs no
        enrolment: its states would reveal as much after it."""
        is_enrolled = embedding.unnormalised is None or profile.count >= self.settings.min_enrolment
        return self.policy if is_enrolled else EnrolmentGuard(self.policy)

    def exchange(self) -> Exchange | None:
        """Return the exchange of a new caption, or ``None`` without a verifier."""
        if self.link is None:
            return None
        verifier = self.settings.verifier
        return Exchange(
            self.link,
            deadline_s=verifier.deadline_s,
            waiting=WaitingTime(verifier.caption_deadline_s),
            traffic_shape=self.settings.traffic_shape,
        )

    def record_decisions(self, finished: Finished, exchange: Exchange | None) -> str | None:
        """Write to the journal why each block was escalated or not. Returns the caption's id."""
        if exchange is None or self._user_egress is None:
            return None
        caption_id = exchange.caption_id or os.urandom(16)
        with exchange.ledger_time(_STORING_S) as timeout_s:
            self._user_egress.write_journal(caption_id, finished.blocks, timeout_s=timeout_s)
        return caption_id.hex()

    def caption_without_speech(self, path: str | None, speech: Speech, started_s: float) -> Caption:
        """Return the caption of a recording that holds no voice. In constant shape a cover frame is
        sent, as for any caption; otherwise nothing."""
        exchange = self.exchange() if self.settings.traffic_shape is TrafficShape.CONSTANT else None
        if exchange is not None:
            exchange.send_cover_if_due()
        return Caption(
            path=path,
            text=NO_SPEECH,
            tokens=(),
            is_truncated=False,
            speech=CaptionSpeech.of(speech),
            usage=usage_of(Finished((), DecodingCounts.none()), exchange, self.limits.delta),
            latency_ms=self.latency(started_s, monotonic(), 0.0, exchange),
            receipts=() if exchange is None else exchange.receipts(),
            unverified_reason=None,
            id=None,
            decisions=(),
        )

    def latency(
        self, started_s: float, encoded_s: float, draft_s: float, exchange: Exchange | None
    ) -> Latency:
        """Return the times of a caption that ends now. The first one reports loading as well."""
        load_s, self.load_s = self.load_s, 0.0
        return Latency(
            load=_milliseconds(load_s),
            encode=_milliseconds(encoded_s - started_s),
            draft=_milliseconds(draft_s),
            wait=_milliseconds(0 if exchange is None else exchange.waited_s),
            total=_milliseconds(load_s + monotonic() - started_s),
        )

    def close(self) -> None:
        with ExitStack() as closing:  # closes all of them even if one fails
            closing.callback(self.drafter.close)
            closing.callback(self.detector.close)
            if self._user_egress is not None:
                closing.callback(self._user_egress.close)
            if self.link is not None:
                closing.callback(self.link.close)


def _pair_identity(drafter: Drafter) -> PairIdentity:
    info = drafter.info
    return PairIdentity(info.vocabulary, info.projection, info.state_dim)


def _path_of(clip: Clip) -> str | None:
    return escaped_path(clip) if isinstance(clip, (str, os.PathLike)) else None


def _profile_tracker(settings: Settings, drafter: Drafter, *, is_stored: bool) -> ProfileTracker:
    """Return the tracker of the user's profile, which is stored only if there is a verifier."""
    encoder = drafter.info.audio_encoder
    if not (is_stored and settings.keep_profile and encoder):
        return ProfileTracker(None)
    profiles = Home.from_path(settings.home).profiles
    return ProfileTracker(ProfileFile(profiles, settings.user, encoder))


def _enrolment_reason(policy: Policy) -> Reason | None:
    is_blocked = isinstance(policy, EnrolmentGuard) and policy.has_blocked
    return Reason(code=ReasonCode.NOT_ENROLLED) if is_blocked else None


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
