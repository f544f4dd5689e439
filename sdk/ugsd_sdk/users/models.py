"""The models that the captions of all users share, loaded once."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ugsd_sdk.arguments import require_callable
from ugsd_sdk.decoding.policy import GainPolicy, Policy, UncertaintyPolicy
from ugsd_sdk.decoding.risk_controlled import RiskControlledPolicy
from ugsd_sdk.decoding.uncertainty import EntropyUncertainty, RejectionPredictor, Uncertainty
from ugsd_sdk.drafter import Drafter
from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.errors import ConfigError, ModelError, WrongType
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.verification import BlockUnit
from ugsd_sdk.speech.reader import Meter, SpeechDetector
from ugsd_sdk.speech.spans import SAMPLE_RATE

__all__ = ["Models"]

_NOISE_RMS = 0.05
_ENTROPY_THRESHOLD = 0.2
"""Entropy, as a share of ln V, that escalates for a drafter without a rejection predictor."""


class Models:
    """A drafter with its rejection predictor, a voice activity detector and a meter of prosody.

    Threads may share it after :meth:`load`. :meth:`close` closes what was loaded here, and leaves a
    drafter or detector object of the application alone, which other captioners may use.
    """

    def __init__(
        self,
        drafter: str | os.PathLike[str] | Drafter,
        *,
        uncertainty: Uncertainty | None = None,
        policy: Policy | None = None,
        detector: SpeechDetector | None = None,
        meter: Callable[[], Meter] | None = None,
    ) -> None:
        """Load nothing yet. Raises :class:`ConfigError` for what cannot be a drafter."""
        require_callable("uncertainty", uncertainty)
        require_callable("policy", policy)
        self._own = ExitStack()
        self.drafter, self._predictor_file = self._drafter_of(drafter)
        if detector is not None and not isinstance(detector, SpeechDetector):
            raise WrongType(
                "detector must have the methods load(), find() and close(), which "
                f"{type(detector).__name__} lacks"
            )
        self.detector = detector if detector is not None else self._new_detector()
        self.meter = ProsodyMeter if meter is None else meter
        self._given_uncertainty = uncertainty
        self.given_policy = policy
        self.uncertainty: Uncertainty = EntropyUncertainty() if uncertainty is None else uncertainty

    def load(self) -> None:
        """Read the weights. Raises :class:`ModelError`; then nothing stays loaded."""
        with ExitStack() as closing:
            closing.callback(self.close)
            self.drafter.load()
            if self.drafter.info.sample_rate != SAMPLE_RATE:
                raise ModelError(
                    f"the drafter reads {self.drafter.info.sample_rate} Hz, but recordings are "
                    f"read at {SAMPLE_RATE} Hz: use a drafter for that rate, or resample in it"
                )
            self.detector.load()
            if self._given_uncertainty is None and self._predictor_file is not None:
                self.uncertainty = RejectionPredictor.load(self._predictor_file)
            closing.pop_all()

    def prewarm(self) -> None:
        """Run each model once on a second of noise, since a first run takes longer: it reserves
        memory, and imports what it needs."""
        noise = np.random.default_rng(0).normal(scale=_NOISE_RMS, size=SAMPLE_RATE)
        piece = noise.astype(np.float32)
        self.detector.find(piece)
        meter = self.meter()
        meter.add(piece, [(0, len(piece))])
        meter.result()
        self.drafter.start(self.drafter.encode([piece])).predict()

    def close(self) -> None:
        """Free what was loaded here. May be called again."""
        self._own.close()

    def policy_for(self, settings: Settings) -> Policy:
        """Return the application's policy, or the one that ``settings`` describe. Raises
        :class:`ConfigError` if the drafter allows none."""
        if self.given_policy is not None:
            return self.given_policy
        predictor_file = self._predictor_file if self._given_uncertainty is None else None
        risk_controlled = RiskControlledPolicy.from_settings(
            settings, None if predictor_file is None else predictor_file.parent
        )
        by_threshold = UncertaintyPolicy(self._threshold(settings), settings.disclosure)
        if risk_controlled is not None or settings.threshold is not None:
            return risk_controlled or by_threshold
        by_slot = settings.block_unit is BlockUnit.SLOT
        if settings.min_gain is not None and not (by_slot and self._predicts_gain):
            raise ConfigError(
                "min_gain: no gain is predicted for blocks of tokens, nor by this drafter if its "
                "predictor lacks it: set block_unit = slot, or threshold in place of min_gain"
            )
        return GainPolicy(by_threshold, settings.min_gain or 0.0, settings.disclosure)

    def _threshold(self, settings: Settings) -> float:
        if settings.threshold is not None:
            return settings.threshold
        is_predictor = self._given_uncertainty is None
        if is_predictor and isinstance(self.uncertainty, RejectionPredictor):
            return self.uncertainty.threshold
        return _ENTROPY_THRESHOLD

    @property
    def _predicts_gain(self) -> bool:
        if self.drafter.info.slot_table is None:
            return False
        if isinstance(self.uncertainty, RejectionPredictor):
            return self.uncertainty.rescue is not None
        return hasattr(self.uncertainty, "expected_gain")

    def _drafter_of(self, given: str | os.PathLike[str] | Drafter) -> tuple[Drafter, Path | None]:
        """Return the drafter, not loaded, and the file of its rejection predictor."""
        if isinstance(given, Settings):
            raise ConfigError("settings are not a drafter: pass them as config=")
        if not isinstance(given, (str, os.PathLike)):
            if not callable(getattr(given, "load", None)):
                raise WrongType(
                    f"drafter must be a name, a folder or a Drafter, not {type(given).__name__}"
                )
            bundle = getattr(given, "bundle", None)
            return given, bundle.rejection_predictor_file if bundle is not None else None
        from ugsd_sdk.drafter.onnx import OnnxDrafter  # noqa: PLC0415  # heavy

        drafter = OnnxDrafter(DrafterBundle.of(given).folder)
        self._own.callback(drafter.close)
        return drafter, drafter.bundle.rejection_predictor_file

    def _new_detector(self) -> SpeechDetector:
        from ugsd_sdk.speech.voice_activity import VoiceActivityDetector  # noqa: PLC0415  # heavy

        detector = VoiceActivityDetector()
        self._own.callback(detector.close)
        return detector
