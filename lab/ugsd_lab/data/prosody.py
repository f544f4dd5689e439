"""Voice measurements: pitch, its variation, loudness, pace, pauses, voice quality.

Levels are relative to population norms over all corpora: pitch by perceived gender, since one clip
does not reveal its speaker's usual pitch, and everything else over all speakers, since a device
knows neither the language nor the recording chain.

Loudness means the speaker's perceived effort, not the gain of a microphone: a louder voice has
relatively more energy above 1 kHz (Traunmüller and Eriksson 2000), which survives the levelling of
recordings and of devices. The level in dB is measured and shown, but captions do not mention it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ugsd_lab.data.compiled_librosa import compiled_librosa
from ugsd_lab.data.corpora import Clip, read_samples
from ugsd_lab.errors import CorpusError

__all__ = [
    "Level",
    "Levels",
    "Measures",
    "Norms",
    "Quality",
    "measure",
    "measure_all",
    "track_pitch",
]

SAMPLE_RATE = 16_000
HOP = 160
FRAME = 1024
_F0_RANGE_HZ = (65.0, 600.0)

Level = Literal["low", "mid", "high"]


@dataclass(frozen=True)
class Measures:
    """Measured values of one clip."""

    pitch_st: float
    """Median F0 in semitones above 100 Hz; NaN if no voicing was found."""
    pitch_sd_st: float
    """Standard deviation of F0 in semitones."""
    level_db: float
    """Level of the speech frames in dB relative to full scale; it depends on the recording."""
    pace: float
    """Syllables per second of speech without pauses; NaN if the number of syllables is not
    known."""
    pause_share: float
    """Share of pauses in the time between first and last speech."""
    tilt_db: float
    """Energy above 1 kHz over energy below, in dB, in voiced frames: it rises with vocal effort."""
    cpp_db: float
    """Cepstral peak prominence in voiced frames (Hillenbrand et al. 1994): low for breathy
    voices."""

    def faster(self, factor: float) -> Measures:
        """Return the measures of the recording played ``factor`` times as fast."""
        return replace(
            self,
            pitch_st=self.pitch_st + 12 * float(np.log2(factor)),
            pace=self.pace * factor,
        )

    def joined(self, other: Measures) -> Measures:
        """Return the measures of both recordings one after the other: their average, or the value
        of the one in which it could be measured."""
        both = zip(astuple(self), astuple(other), strict=True)
        return Measures(*(_average(own, others) for own, others in both))


def _average(own: float, others: float) -> float:
    measured = [value for value in (own, others) if not math.isnan(value)]
    return sum(measured) / len(measured) if measured else math.nan


Quality = Literal["breathy", "rough", "husky", "strained", "clear", "mellow", "muffled", "modal"]


@dataclass(frozen=True)
class Levels:
    """Measures as levels relative to the norms."""

    pitch: Level
    variation: Level
    loudness: Level
    """Level of vocal effort."""
    pace: Level
    pauses: Level
    clarity: Level

    @property
    def quality(self) -> Quality:
        """Voice quality. Noise in a soft voice is breath, in a forceful one roughness (Hillenbrand
        and Houde 1996)."""
        return _QUALITIES[self.clarity, self.loudness]


_QUALITIES: dict[tuple[Level, Level], Quality] = {
    ("low", "low"): "breathy", ("low", "mid"): "husky", ("low", "high"): "rough",
    ("mid", "low"): "muffled", ("mid", "mid"): "modal", ("mid", "high"): "strained",
    ("high", "low"): "mellow", ("high", "mid"): "clear", ("high", "high"): "clear",
}  # fmt: skip
"""By clarity, which is cepstral peak prominence, and loudness."""


def measure(samples: NDArray[np.float32], syllables: int | None) -> Measures:
    """Measure (n,) samples at 16 kHz. ``syllables`` is the number spoken, if known."""
    librosa = compiled_librosa()
    frames = librosa.util.frame(np.pad(samples, FRAME // 2), frame_length=FRAME, hop_length=HOP)
    window = np.hanning(FRAME)[:, None]
    power = np.abs(np.fft.rfft(frames * window, axis=0)) ** 2  # (513, n_frames)
    level = 10 * np.log10(np.mean(frames**2, axis=0) + 1e-10)
    speech = level > np.percentile(level, 95) - 30
    first, last = np.flatnonzero(speech)[[0, -1]]
    inside = speech[first : last + 1]
    quiet = _runs_at_least(~inside, int(0.15 * SAMPLE_RATE / HOP))
    speech_s = max(0.2, float((~quiet).sum()) * HOP / SAMPLE_RATE)

    f0, voiced = track_pitch(samples)
    semitones = 12 * np.log2(f0[voiced] / 100) if voiced.any() else np.array([np.nan])
    mask = np.repeat(voiced, 2)[: power.shape[1]]
    mask = np.pad(mask, (0, power.shape[1] - len(mask))) & speech
    if not mask.any():
        mask = speech
    split = round(1000 * FRAME / SAMPLE_RATE)
    spectrum = power[:, mask].mean(axis=1)
    tilt = 10 * np.log10(spectrum[split:].sum() / spectrum[2:split].sum())
    return Measures(
        pitch_st=float(np.median(semitones)),
        pitch_sd_st=float(np.std(semitones)),
        level_db=float(10 * np.log10(np.mean(10 ** (level[speech] / 10)))),
        pace=syllables / speech_s if syllables else float("nan"),
        pause_share=float(quiet.mean()),
        tilt_db=float(tilt),
        cpp_db=_cepstral_peak_prominence(power[:, mask]),
    )


def track_pitch(samples: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the pitch in Hz and whether it is voiced, every 2 ``HOP`` samples, by probabilistic
    YIN (Mauch and Dixon 2014)."""
    f0, voiced, _ = compiled_librosa().pyin(
        samples,
        fmin=_F0_RANGE_HZ[0],
        fmax=_F0_RANGE_HZ[1],
        sr=SAMPLE_RATE,
        frame_length=FRAME,
        hop_length=2 * HOP,
        resolution=0.2,
    )
    return f0, voiced


def _runs_at_least(flags: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Return ``flags`` with runs shorter than ``length`` cleared."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(int), [0]))))
    kept = np.zeros_like(flags)
    for start, end in edges.reshape(-1, 2):
        if end - start >= length:
            kept[start:end] = True
    return kept


def _cepstral_peak_prominence(power: NDArray[np.float64]) -> float:
    """Return the mean height of the cepstral peak over the cepstrum's trend, in dB."""
    log_power = 10 * np.log10(power + 1e-12)
    cepstrum = 10 * np.log10(np.abs(np.fft.irfft(log_power, axis=0)[: FRAME // 2]) ** 2 + 1e-12)
    low, high = int(SAMPLE_RATE / 400), int(SAMPLE_RATE / 65)
    quefrency = np.arange(low, high)
    region = cepstrum[low:high]
    slope, offset = np.polyfit(quefrency, region, 1)
    peak = region.argmax(axis=0)
    trend = slope * quefrency[peak] + offset
    return float(np.mean(region.max(axis=0) - trend))


def _measure_clip(clip: Clip) -> Measures:
    return measure(read_samples(clip), clip.syllables)


def measure_all(
    clips: Sequence[Clip], cache: Path, progress: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Measures]:
    """Return measures by clip id, computed on all cores and cached in the JSON file ``cache``.

    Raises :class:`CorpusError` for a cache that holds something else.
    """
    known: dict[str, Measures] = {}
    try:
        if cache.exists():
            known = {k: Measures(**v) for k, v in json.loads(cache.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{cache} does not hold measures of this version: delete it") from error
    missing = [clip for clip in clips if clip.id not in known]
    if missing:
        with ProcessPoolExecutor() as pool:
            results = pool.map(_measure_clip, missing, chunksize=16)
            for done, (clip, measures) in enumerate(zip(missing, results, strict=True), 1):
                known[clip.id] = measures
                progress(done, len(missing))
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(".part")
        temporary.write_text(json.dumps({k: asdict(v) for k, v in sorted(known.items())}))
        temporary.replace(cache)
    return {clip.id: known[clip.id] for clip in clips}


# In the order of the fields of Levels.
_GROUPS: dict[str, Callable[[Clip], str]] = {
    "pitch_st": lambda clip: str(clip.gender),
    "pitch_sd_st": lambda clip: "all",
    "tilt_db": lambda clip: "all",
    "pace": lambda clip: "all",
    "pause_share": lambda clip: "all",
    "cpp_db": lambda clip: "all",
}
_BORDERS = {"pause_share": (0.0, 0.5)}
"""Quantiles of the upper end of "low" and the lower end of "high". Most clips have no pause at all,
which is low; the other levels are computed over the clips that have one."""
_QUARTILES = (0.25, 0.75)
_ANY = "any"
"""The group for clips whose own group was not fitted."""


@dataclass(frozen=True)
class Norms:
    """The borders between low, mid and high within each measure's reference group."""

    borders: dict[str, tuple[float, float]]
    """``measure:group`` -> both borders; quartiles, except for pauses: the least pause and the
    median one."""

    @classmethod
    def fit(cls, clips: Sequence[Clip], measures: dict[str, Measures]) -> Norms:
        """Fit norms to the training speakers among ``clips``."""
        pools: dict[str, list[float]] = {}
        for clip in clips:
            if clip.split == "train":
                for name, group in _GROUPS.items():
                    value = getattr(measures[clip.id], name)
                    counts = value > 0 if name in _BORDERS else np.isfinite(value)
                    for key in (group(clip), _ANY) if counts else ():
                        pools.setdefault(f"{name}:{key}", []).append(value)
        borders = {
            key: np.quantile(values, _BORDERS.get(key.partition(":")[0], _QUARTILES))
            for key, values in pools.items()
        }
        return cls({key: (float(low), float(high)) for key, (low, high) in borders.items()})

    def population(self, clip: Clip, name: str) -> tuple[str, tuple[float, float]]:
        """Return the reference group and borders for measure ``name`` of a clip: its own group, or
        all clips if its corpus or language is not known."""
        group = _GROUPS[name](clip)
        known = group if f"{name}:{group}" in self.borders else _ANY
        return known, self.borders[f"{name}:{known}"]

    def levels(self, clip: Clip, measures: Measures) -> Levels:
        """Return the levels of one clip; a value that could not be measured is ``mid``."""
        return Levels(*(self._level(clip, name, getattr(measures, name)) for name in _GROUPS))

    def _level(self, clip: Clip, name: str, value: float) -> Level:
        _, (low, high) = self.population(clip, name)
        return "low" if value < low else "high" if value > high else "mid"
