"""The conditions under which ``ugsd-lab bench robustness`` records clips, and their goals.

A condition alters what surrounds a voice, or how it reaches the microphone, but not how it sounds:
a caption should stay as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.augment import reverberation
from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.sounds import coloured_noise, with_noise
from ugsd_lab.data.speech import speech_in

__all__ = ["CONDITIONS", "PLAIN", "Condition", "Goal", "altered"]

SAMPLE_RATE = 16_000
ROOM_RMS = 0.001
"""Level of a quiet room: -60 dBFS."""
_PADDING_S = (0.5, 3, 9, 27)
_REPEATED_S = (6, 12, 29)
_SNR_DB = (20, 10)
_GAIN = 1e-3
_ROUNDING = 1e-9

Float32 = NDArray[np.float32]
_Alter = Callable[[Float32, np.random.Generator], Float32]


@dataclass(frozen=True)
class Goal:
    """What a condition may cost."""

    max_loss: float
    """How much less often the emotion may be right than without the condition."""
    max_gain: float = float("inf")
    """How much more often: a caption that does not depend on the condition gains nothing."""
    min_same: float = 0.0
    """Least share of captions that name the same emotion as without the condition."""

    @property
    def text(self) -> str:
        """The goal, as tables print it."""
        loss = f"{self.max_loss:.2f}"
        bound = f"within {loss}" if self.max_gain == self.max_loss else f"loses <= {loss}"
        return f"{bound}, same {self.min_same:.2f}" if self.min_same else bound

    def is_met(self, difference: float, same: float) -> bool:
        """Return whether a difference in accuracy and a share of same emotions meet it."""
        return (
            -self.max_loss - _ROUNDING <= difference <= self.max_gain + _ROUNDING
            and same >= self.min_same - _ROUNDING
        )


@dataclass(frozen=True)
class Condition:
    """A way of recording a clip."""

    name: str
    alter: _Alter
    """Maps samples (n,) at 16 kHz and a generator to the recording (m,)."""
    goal: Goal | None = None


def altered(clip: Clip, samples: Float32, condition: Condition) -> Float32:
    """Return ``samples`` (n,) of ``clip`` under ``condition``, which draws the same for the same
    clip."""
    name = f"{condition.name} of {clip.id}"
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    return condition.alter(samples, rng)


def _padded(duration_s: float) -> _Alter:
    return lambda samples, _: np.pad(samples, round(duration_s * SAMPLE_RATE))


def _in_room(duration_s: float) -> _Alter:
    """The noise goes on through the voice, as it does in a room."""

    def alter(samples: Float32, rng: np.random.Generator) -> Float32:
        padded = np.pad(samples, round(duration_s * SAMPLE_RATE))
        return padded + np.float32(ROOM_RMS) * coloured_noise(len(padded), 1.0, rng)

    return alter


def _repeated(duration_s: float) -> _Alter:
    """The last repetition is cut anywhere. Longer clips are cut, too."""
    return lambda samples, _: np.resize(samples, round(duration_s * SAMPLE_RATE))


def _noisy(snr_db: float) -> _Alter:
    """Noise of power 1/f^b, b drawn from 0, white, to 2, brown."""

    def alter(samples: Float32, rng: np.random.Generator) -> Float32:
        power = float(np.mean(np.square(speech_in(samples), dtype=np.float64)))
        return with_noise(samples, power, snr_db, rng.uniform(0, 2), rng)

    return alter


PLAIN = Condition("plain", lambda samples, _: samples)
_PADDED = Goal(0.03, 0.03, 0.95)
_OF_REPEATED = Goal(0.05, 0.05)

CONDITIONS: tuple[Condition, ...] = (
    PLAIN,
    *(Condition(f"{s:g} s of silence", _padded(s), _PADDED) for s in _PADDING_S),
    *(Condition(f"{s:g} s of room noise", _in_room(s), _PADDED) for s in _PADDING_S),
    *(Condition(f"repeated to {s:g} s", _repeated(s), _OF_REPEATED) for s in _REPEATED_S),
    *(
        Condition(f"noise at {snr:g} dB SNR", _noisy(snr), Goal(0.05) if snr == 10 else None)
        for snr in _SNR_DB
    ),
    Condition(f"gain {_GAIN:g}", lambda samples, _: samples * np.float32(_GAIN)),
    Condition("simulated room", reverberation),
)
"""In the order of the tables; :data:`PLAIN` comes first."""
