"""The captioner, which turns a clip into a caption."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ugsd_privacy.forks import call_in_children, keep_for_good
from ugsd_privacy.output.near_names import choices

from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.audio.samples import Clip
from ugsd_sdk.caption import (
    Caption,
)
from ugsd_sdk.concurrency.background import BackgroundWork
from ugsd_sdk.decoding.policy import GainPolicy, Policy, UncertaintyPolicy
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.bundle import STARTER, DrafterBundle
from ugsd_sdk.errors import ConfigError, ModelError, VerifierTimeout, WrongType
from ugsd_sdk.pipeline import CaptionPipeline
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.profile.user_profile import UserProfile
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.settings.config import ANONYMOUS, Settings
from ugsd_sdk.settings.user_paths import path_text
from ugsd_sdk.settings.verification import BlockUnit
from ugsd_sdk.speech.reader import Meter, SpeechDetector
from ugsd_sdk.speech.spans import SAMPLE_RATE

if TYPE_CHECKING:
    from ugsd_sdk.connection.endpoints import EmbeddedEndpoint, PinnedEndpoint
    from ugsd_sdk.connection.session import PairIdentity
    from ugsd_sdk.transport import Transport

__all__ = ["Captioner"]

_CLOSE_TIMEOUT_S = 2.5
_STORING_S = 0.5
"""How long a caption waits to store what it can do without: profile and decisions."""
_ENTROPY_THRESHOLD = 0.2
"""Entropy, as a share of ln V, that escalates for a drafter without a rejection predictor."""


class Captioner:
    """Captions how voices sound, on this device, and asks a verifier, if one is set.

    ``drafter`` is ``"starter"``, ``"free"``, a folder, or a :class:`Drafter`. ``verifier`` is
    ``None``, a ``ws://`` or ``wss://`` address, ``"embedded"``, or a function that returns a
    :class:`Transport`. Without a verifier, neither the network nor ``home`` is used. Its identity
    is ``verifier_root``, the root that signed the file ``verifier_manifest``; for a verifier on
    this machine or behind the caller's transport it may be ``verifier_key`` instead.

    ``config`` is a :class:`Settings`, or a TOML file, which is read with the environment; arguments
    override it. Without it only arguments count. ``uncertainty`` and ``policy`` replace those of
    the drafter and the settings; ``detector`` replaces the voice activity detector, and ``meter``
    makes what measures the prosody of a recording.

    A recording without a voice gets the text "No speech.": nothing is sent, and the speaker profile
    stays as it is.

    A named ``user`` has a speaker profile, which their clips update; after a few clips states of
    them may be sent. Without a name, and without a profile passed to :meth:`caption`, no caption
    depends on an earlier one, nothing of a voice is kept, and by default (``min_enrolment``) no
    state is sent. :class:`~ugsd_sdk.ProfileUse` says what happens to a clip that does not fit.

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
        meter: Callable[[], Meter] | None = None,
    ) -> None:
        if not (verifier is None or isinstance(verifier, str) or callable(verifier)):
            raise WrongType(
                "verifier must be text, or a function that returns a transport, not "
                f"{type(verifier).__name__}"
            )
        self._given_drafter = drafter
        self._given_verifier = verifier
        self._verifier_root = path_text("verifier_root", verifier_root)
        manifest = path_text("verifier_manifest", verifier_manifest)
        self._verifier_manifest = None if manifest is None else Path(manifest)
        self._verifier_key = path_text("verifier_key", verifier_key)
        self._arguments = {"user": user, "home": home}
        self._config = config
        self._given_uncertainty = uncertainty
        self._given_policy = policy
        self._given_detector = detector
        self._given_meter = meter
        self._lock = Lock()
        self._loaded: CaptionPipeline | None = None
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

    @property
    def profile(self) -> Profile | None:
        """The speaker profile of ``user``, which every caption updates; ``None`` if the user is not
        named. With a verifier it is stored in ``home``; otherwise it lasts until :meth:`close`.
        Loads the captioner, and raises as :meth:`load` does."""
        with self._lock:
            return self._load().user_profile

    def caption(
        self,
        clip: Clip,
        sample_rate: float | None = None,
        *,
        profile: Profile | None = None,
        length: CaptionLength | str | None = None,
        seed: int | None = None,
    ) -> Caption:
        """Caption a path, an open file, the bytes of an encoded file, or samples: an array, list or
        tensor (n,), (n, channels) or (channels, n).

        ``sample_rate`` in Hz is required for an array. ``profile`` is the speaker's, instead of
        that of ``user``. ``length``, one of ``"short"``, ``"normal"`` and ``"rich"``, and ``seed``,
        from which the wording is drawn, replace those of the settings.

        Raises :class:`AudioError` for an unusable clip, :class:`ModelError` or
        :class:`ConfigError`, but no error of the network.
        """
        if not (profile is None or isinstance(profile, Profile)):
            raise WrongType(f"profile must be a Profile, not {type(profile).__name__}")
        if not (seed is None or (isinstance(seed, int) and seed >= 0)):
            raise ConfigError(f"seed must be a whole number of at least 0, not {seed!r}")
        wanted = None if length is None else _length(length)
        with self._lock:
            return self._load().caption(
                clip, sample_rate, profile=profile, length=wanted, seed=seed
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

    def _load(self) -> CaptionPipeline:
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
        if verifier is None:
            return None
        from ugsd_sdk.connection.endpoints import endpoint_of  # noqa: PLC0415  # heavy
        from ugsd_sdk.home import Home  # noqa: PLC0415  # heavy

        return endpoint_of(verifier, identified, Home.from_path(settings.home))

    def _drafter(self) -> tuple[Drafter, Path | None]:
        """Return the drafter, not loaded, and the file of its rejection predictor."""
        given = self._given_drafter
        if isinstance(given, Settings):
            raise ConfigError("settings are not a drafter: pass them as config=")
        if not isinstance(given, (str, os.PathLike)):
            if not callable(getattr(given, "load", None)):
                raise WrongType(
                    "drafter must be a name, a folder or a Drafter, not " + type(given).__name__
                )
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
    ) -> CaptionPipeline:
        uncertainty, threshold = self._given_uncertainty, settings.threshold
        if uncertainty is None and predictor_file is not None:
            uncertainty = predictor = RejectionPredictor.load(predictor_file)
            threshold = predictor.threshold if threshold is None else threshold
        if threshold is None:
            threshold = _ENTROPY_THRESHOLD
        link = user_egress = profiles = None
        if endpoint is not None:
            from ugsd_sdk.connection.verifier_connection import (  # noqa: PLC0415  # heavy
                VerifierConnection,
            )
            from ugsd_sdk.home import Home, UserEgress  # noqa: PLC0415  # heavy

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
            profiles = home.profiles if settings.keep_profile else None
        return CaptionPipeline(
            settings=settings,
            drafter=drafter,
            uncertainty=uncertainty or EntropyUncertainty(),
            policy=self._policy(
                settings,
                threshold,
                predictor_file,
                predicts_gain=drafter.info.slot_table is not None and _predicts_gain(uncertainty),
            ),
            link=link,
            user_egress=user_egress,
            user_profile=None
            if settings.user == ANONYMOUS
            else UserProfile.of(settings.user, drafter.info.profile_encoder, profiles),
            detector=detector,
            meter=self._given_meter or ProsodyMeter,
            is_paced=settings.budget_pacing and self._given_policy is None,
        )

    def _policy(
        self,
        settings: Settings,
        threshold: float,
        predictor_file: Path | None,
        *,
        predicts_gain: bool,
    ) -> Policy:
        """Return the given policy, or the one that the settings describe."""
        if self._given_policy is not None:
            return self._given_policy
        has_predictor = predictor_file is not None and self._given_uncertainty is None
        risk_controlled = RiskControlledPolicy.from_settings(
            settings, predictor_file.parent if predictor_file and has_predictor else None
        )
        by_threshold = UncertaintyPolicy(threshold, settings.disclosure)
        if risk_controlled is not None or settings.threshold is not None:
            return risk_controlled or by_threshold
        by_slot = settings.block_unit is BlockUnit.SLOT
        if settings.min_gain is not None and not (by_slot and predicts_gain):
            raise ConfigError(
                "min_gain: no gain is predicted for blocks of tokens, nor by this drafter if its "
                "predictor lacks it: set block_unit = slot, or threshold in place of min_gain"
            )
        return GainPolicy(by_threshold, settings.min_gain or 0.0, settings.disclosure)


def _predicts_gain(uncertainty: Uncertainty | None) -> bool:
    if isinstance(uncertainty, RejectionPredictor):
        return uncertainty.rescue is not None
    return hasattr(uncertainty, "expected_gain")


def _length(length: str) -> CaptionLength:
    try:
        return CaptionLength(length)
    except ValueError:
        raise ConfigError(
            f"length must be {choices(length, CaptionLength)}, not {length!r}"
        ) from None


def _pair_identity(drafter: Drafter) -> PairIdentity:
    from ugsd_sdk.connection.session import PairIdentity  # noqa: PLC0415  # heavy

    info = drafter.info
    return PairIdentity(info.vocabulary, info.projection, info.state_dim)
