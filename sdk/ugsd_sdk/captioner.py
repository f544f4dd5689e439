"""The facade: a clip in, a caption out."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Self

from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS

from ugsd_sdk.audio.samples import Clip, read_clip
from ugsd_sdk.caption import BlockDecision, Caption, Latency, escaped_path
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.concurrency.forks import call_in_children, keep_for_good
from ugsd_sdk.concurrency.waiting import WaitingTime
from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint, endpoint_of
from ugsd_sdk.connection.exchange import Exchange
from ugsd_sdk.connection.verifier_connection import VerifierConnection
from ugsd_sdk.decoding.decoder import Decoder
from ugsd_sdk.decoding.events import Finished
from ugsd_sdk.decoding.policy import (
    NOT_ENROLLED,
    EnrolmentGuard,
    NeverEscalate,
    Policy,
    UncertaintyPolicy,
)
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import AudioEmbedding, Drafter
from ugsd_sdk.driver import budget_of, drive, text_of, tokens_of, usage_of
from ugsd_sdk.errors import ConfigError, VerifierTimeout
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.profile.speaker_profile import ProfileFile, ProfileTracker, SpeakerProfile
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.transport import Transport

__all__ = ["BUNDLED", "STARTER", "Captioner"]

STARTER = "starter"
"""Name of the default drafter."""
BUNDLED = (STARTER, "free")
"""Names of the drafters that come with the package."""

_NO_VERIFIER = "no verifier is set"
_CLOSE_TIMEOUT_S = 2.5
_KEEPING_S = 0.5
"""How long a caption waits to keep what it can do without: its clip in the profile, its notes."""
_ENTROPY_THRESHOLD = 0.2
"""Share of ln V that escalates with a drafter that brings no gate of its own."""


class Captioner:
    """Captions how voices sound, on this device; doubtful blocks go to a verifier, if there is one.

    ``drafter`` is ``"starter"``, ``"free"``, a folder, or a :class:`Drafter`. ``verifier`` is none,
    a ``ws://`` or ``wss://`` address, ``"embedded"``, or a function that makes a
    :class:`Transport`. Without one, neither network nor ``home`` is touched. It is known by
    ``verifier_root``, which vouches for its keys in the file ``verifier_manifest``; on this
    machine, or over the caller's transport, ``verifier_key`` may be pinned instead.

    ``config`` is a :class:`Settings`, or a TOML or YAML file, which is read with the environment;
    arguments win over it. Without it only arguments count. ``uncertainty`` and ``policy`` replace
    those that come with the drafter and the settings.

    The constructor does no work: :meth:`load` does, or the first caption. Threads may share a
    captioner; one caption is made at a time. Neither the verifier nor another process costs a
    caption more waiting than ``verifier.caption_deadline_s``; a thread also waits for the captions
    that other threads have asked for before it.

    A process that is forked from one with a loaded captioner shares nothing with it: its copy of
    the captioner loads and connects for itself with its first caption, and closing the copy does
    nothing to the parent's.
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
    ) -> None:
        self._given_drafter = drafter
        self._given_verifier = verifier
        self._verifier_root = None if verifier_root is None else os.fspath(verifier_root)
        self._verifier_manifest = None if verifier_manifest is None else Path(verifier_manifest)
        self._verifier_key = None if verifier_key is None else os.fspath(verifier_key)
        self._arguments = {"user": user, "home": home}
        self._config = config
        self._given_uncertainty = uncertainty
        self._given_policy = policy
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

        Raises :class:`ModelError` or :class:`ConfigError`; a verifier that cannot be reached is no
        error here. Harmless if done.
        """
        with self._lock:
            self._load()

    def wait_until_connected(self, timeout_s: float = 30.0) -> None:
        """Wait until the verifier is connected, for those who want to know; backing off after a
        failure is cut short. Takes ``timeout_s`` at most, beside the loading of weights.

        Raises a :class:`TransportError`, or a ``PrivacyError`` of ``ugsd_privacy`` where budget or
        ledger forbid it; captions are made all the same. Nothing to do without a verifier.
        """
        ends_s = monotonic() + timeout_s
        if not self._lock.acquire(timeout=max(timeout_s, 0)):
            raise VerifierTimeout(
                "other threads made captions all the time: connect before they do"
            )
        try:
            begun_s = monotonic()
            link = self._load().link
            ends_s += monotonic() - begun_s
            if link is not None:
                link.session(max(ends_s - monotonic(), 0), insist=True)
        finally:
            self._lock.release()

    def caption(self, clip: Clip, sample_rate: int | None = None) -> Caption:
        """Caption a path, an encoded file's bytes, or an array (n,) or (n, channels).

        ``sample_rate`` in Hz goes with an array. Raises :class:`AudioError` for an unusable clip,
        :class:`ModelError` and :class:`ConfigError`; never anything about the network.
        """
        with self._lock:
            loaded = self._load()
            loaded_s = monotonic()
            load_s = loaded.load_s
            drafter = loaded.drafter
            samples = read_clip(clip, sample_rate, target_rate=drafter.info.sample_rate)
            voice = loaded.profile_tracker
            embedding = drafter.encode(samples, voice.profile)
            policy = loaded.policy_towards(embedding, voice.profile)
            encoded_s = monotonic()
            exchange = loaded.exchange()
            decoder = Decoder(
                drafter.start(embedding),
                eos=drafter.info.eos,
                max_tokens=min(drafter.info.max_tokens, MAX_CAPTION_TOKENS),
                ood_score=embedding.ood_score,
                uncertainty=loaded.uncertainty,
                policy=NeverEscalate(_NO_VERIFIER) if exchange is None else policy,
                piece=drafter.piece,
                budget=lambda: budget_of(exchange, loaded.limits),
                block_tokens=loaded.settings.block_tokens,
            )
            finished, draft_s = drive(decoder, exchange)
            gender = embedding.gender if loaded.settings.gender else None
            receipts = () if exchange is None else exchange.receipts()
            if exchange is not None:
                with exchange.waiting.locking(_KEEPING_S) as timeout_s:
                    voice.add_clip(embedding.unnormalised, timeout_s=timeout_s)
            else:
                voice.add_clip(embedding.unnormalised)
            name = loaded.noted(finished, exchange)
            loaded.load_s = 0.0
            return Caption(
                path=escaped_path(clip) if isinstance(clip, (str, os.PathLike)) else None,
                text=text_of(finished, drafter, gender),
                tokens=tokens_of(finished, drafter, gender),
                usage=usage_of(finished, exchange, loaded.limits.delta),
                latency_ms=Latency(
                    load=_milliseconds(load_s),
                    encode=_milliseconds(encoded_s - loaded_s),
                    draft=_milliseconds(draft_s),
                    wait=_milliseconds(0 if exchange is None else exchange.waited_s),
                    total=_milliseconds(load_s + monotonic() - loaded_s),
                ),
                receipts=receipts,
                unverified_reason=None
                if exchange is None
                else exchange.unverified_reason or _enrolment_reason(policy),
                id=name,
                decisions=tuple(BlockDecision(**asdict(block)) for block in finished.blocks),
            )

    def close(self) -> None:
        """Free the model, close the connection and end the embedded verifier. May be repeated.

        Returns within three seconds: a caption of another thread ends its waits and goes on without
        the verifier, and what takes longer is finished on a thread of its own.
        """
        if self._loaded is None and not self._lock.locked():
            return
        BackgroundWork(self._close, "ugsd-close").wait(_CLOSE_TIMEOUT_S)

    def _close(self) -> None:
        loaded = self._loaded
        if loaded is not None and loaded.link is not None:
            loaded.link.stop()  # the lock is had sooner
        with self._lock:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                loaded.close()

    def _forget_in_child(self) -> None:
        """What was loaded is the parent's; freeing or closing it here could reach there."""
        self._lock = Lock()  # a thread of the parent may have held the other one
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            keep_for_good(loaded)

    def _load(self) -> _Loaded:
        if self._loaded is None:
            started_s = monotonic()
            settings = self._settings()
            dialer = self._dialer(settings)  # a faulty address or key is told before the weights
            drafter, gate = self._drafter()
            drafter.load()
            try:
                self._loaded = self._assemble(settings, dialer, drafter, gate)
            except BaseException:
                drafter.close()
                raise
            self._loaded.load_s = monotonic() - started_s
            if self._loaded.link is not None:
                self._loaded.link.start_connecting()
        return self._loaded

    def _settings(self) -> Settings:
        given = {name: value for name, value in self._arguments.items() if value is not None}
        if isinstance(self._config, Settings):
            return Settings(**{**dict(self._config), **given})
        return Settings(**given) if self._config is None else Settings.load(self._config, **given)

    def _dialer(self, settings: Settings) -> PinnedEndpoint | EmbeddedEndpoint | None:
        verifier = (
            self._given_verifier if self._given_verifier is not None else settings.verifier.url
        )
        known_by = settings.verifier.with_identity(
            key=self._verifier_key, root=self._verifier_root, manifest=self._verifier_manifest
        )
        return (
            None
            if verifier is None
            else endpoint_of(verifier, known_by, Home.from_path(settings.home))
        )

    def _drafter(self) -> tuple[Drafter, Path | None]:
        """The drafter, not loaded, and where its gate is."""
        given = self._given_drafter
        if isinstance(given, Settings):
            raise ConfigError("settings are not a drafter: give them as config=")
        if not isinstance(given, (str, os.PathLike)):
            return given, None
        from ugsd_sdk.drafter.onnx import OnnxDrafter  # noqa: PLC0415  # heavy

        folder = Path(__file__).parent / given if given in BUNDLED else Path(given)
        return OnnxDrafter(folder), folder / "gate.json"

    def _assemble(
        self,
        settings: Settings,
        dialer: PinnedEndpoint | EmbeddedEndpoint | None,
        drafter: Drafter,
        gate: Path | None,
    ) -> _Loaded:
        uncertainty, threshold = self._given_uncertainty, settings.threshold
        if uncertainty is None and gate is not None:
            calibrator = RejectionPredictor.load(gate)
            uncertainty = calibrator
            threshold = calibrator.threshold if threshold is None else threshold
        if threshold is None:
            threshold = _ENTROPY_THRESHOLD
        link = user_egress = None
        if dialer is not None:
            home, limits = Home.from_path(settings.home), settings.limits_for()
            user_egress = UserEgress(
                home, limits, settings.user, sigma=settings.sigma, audit=settings.audit
            )
            link = VerifierConnection(
                dialer,
                user_egress,
                lambda: drafter.info,
                connect_timeout_s=settings.verifier.connect_timeout_s,
            )
        return _Loaded(
            settings=settings,
            drafter=drafter,
            uncertainty=uncertainty or EntropyUncertainty(),
            policy=self._policy(settings, threshold, gate),
            link=link,
            user_egress=user_egress,
            profile_tracker=_profile_tracker(settings, drafter, kept=user_egress is not None),
        )

    def _policy(self, settings: Settings, threshold: float, gate: Path | None) -> Policy:
        """The one given, or what the settings ask for."""
        if self._given_policy is not None:
            return self._given_policy
        measured = gate is not None and self._given_uncertainty is None
        minimum = RiskControlledPolicy.from_settings(
            settings, gate.parent if gate and measured else None
        )
        return minimum or UncertaintyPolicy(threshold, settings.disclosure)


class _Loaded:
    """All that a loaded captioner holds."""

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
    ) -> None:
        self.settings = settings
        self.limits = settings.limits_for()
        self.drafter = drafter
        self.uncertainty = uncertainty
        self.policy = policy
        self.link = link
        self.profile_tracker = profile_tracker
        self.load_s = 0.0
        """How long loading took, until a caption has reported it."""
        self._user_egress = user_egress

    def policy_towards(self, embedding: AudioEmbedding, profile: SpeakerProfile) -> Policy:
        """The policy for a user of that habit. A drafter that makes nothing of habits would not
        tell less of a voice once it is known: then there is nothing to wait for."""
        known = embedding.unnormalised is None or profile.count >= self.settings.min_enrolment
        return self.policy if known else EnrolmentGuard(self.policy)

    def exchange(self) -> Exchange | None:
        """A new caption's dealings with the verifier, if there is one."""
        if self.link is None:
            return None
        waits = self.settings.verifier
        return Exchange(
            self.link,
            deadline_s=waits.deadline_s,
            waiting=WaitingTime(waits.caption_deadline_s),
            traffic_shape=self.settings.traffic_shape,
        )

    def noted(self, finished: Finished, exchange: Exchange | None) -> str | None:
        """Keep why the caption's blocks were escalated or not; its name in the journal."""
        if exchange is None or self._user_egress is None:
            return None
        name = exchange.caption_id or os.urandom(16)
        with exchange.ledger_time(_KEEPING_S) as timeout_s:
            self._user_egress.record_decisions(name, finished.blocks, timeout_s=timeout_s)
        return name.hex()

    def close(self) -> None:
        with ExitStack() as closing:  # all of them, whichever fails
            closing.callback(self.drafter.close)
            if self._user_egress is not None:
                closing.callback(self._user_egress.close)
            if self.link is not None:
                closing.callback(self.link.close)


def _profile_tracker(settings: Settings, drafter: Drafter, *, kept: bool) -> ProfileTracker:
    """What is known of the user's voice: without a verifier, nothing that outlives the process."""
    ears = drafter.info.audio_encoder
    if not (kept and settings.keep_profile and ears):
        return ProfileTracker(None)
    return ProfileTracker(ProfileFile(Home.from_path(settings.home).profiles, settings.user, ears))


def _enrolment_reason(policy: Policy) -> str | None:
    return NOT_ENROLLED if isinstance(policy, EnrolmentGuard) and policy.has_blocked else None


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
