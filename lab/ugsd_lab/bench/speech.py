"""``ugsd-lab bench speech``: how often the voice activity detector misses speech or hears it in
sounds that hold none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.speech.spans import Speech
from ugsd_sdk.speech.voice_activity import VoiceActivityDetector

from ugsd_lab.data.corpora import Clip, load_corpora, read_samples
from ugsd_lab.data.sounds import SOUNDS, draw_sound, with_noise
from ugsd_lab.models.embeddings import Progress
from ugsd_lab.tables import TextTable

__all__ = ["SNRS_DB", "FalseAlarms", "Misses", "SpeechBench", "bench_speech", "tables"]

SNRS_DB = (0, 5, 10, 15, 20)
_NOISES = {"white": 0.0, "pink": 1.0, "brown": 2.0}
_SURROUNDING_S = 1.0
"""Silence before and after a clip; the noise goes on through it."""
_DURATIONS_S = (0.5, 30.0)


@dataclass(frozen=True)
class Misses:
    """What is found of the speech of some clips in noise of one kind and level."""

    noise: str
    snr_db: float
    clips: int
    missed_clips: int
    """Clips in which no speech is found."""
    missed_share: float
    """Share of the speech, as found in the clean clip, that is missed."""
    added_share: float
    """Share of what surrounds it that is taken for speech."""


@dataclass(frozen=True)
class FalseAlarms:
    """What is found in sounds of one kind that hold no voice."""

    sound: str
    recordings: int
    false_alarms: int
    """Recordings that are taken for speech."""
    share: float
    """Mean share of a recording that is."""


@dataclass(frozen=True)
class SpeechBench:
    """What the detector misses and what it takes for speech."""

    misses: Sequence[Misses]
    false_alarms: Sequence[FalseAlarms]

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def bench_speech(data: Path | None, clips: int, recordings: int, progress: Progress) -> SpeechBench:
    """Measure on at most ``clips`` test clips of each corpus in ``data``, evenly drawn, and on
    ``recordings`` sounds of each kind. Without ``data`` only the bundled EMO-DB is used."""
    by_corpus: dict[str, list[Clip]] = {}
    for clip in load_corpora(data):
        if clip.split == "test":
            by_corpus.setdefault(clip.corpus, []).append(clip)
    chosen = [clip for own in by_corpus.values() for clip in own[:: -(-len(own) // clips)]]
    return SpeechBench(measure_misses(chosen, progress), measure_false_alarms(recordings, progress))


def tables(found: SpeechBench) -> list[TextTable]:
    """Return both results as tables."""
    header = ("noise", "SNR in dB", "clips", "clips missed", "speech missed", "noise added")
    misses = [
        (
            row.noise, f"{row.snr_db:g}", str(row.clips), str(row.missed_clips),
            f"{row.missed_share:.3f}", f"{row.added_share:.3f}",
        )
        for row in found.misses
    ]  # fmt: skip
    alarms = [
        (row.sound, str(row.recordings), str(row.false_alarms), f"{row.share:.4f}")
        for row in found.false_alarms
    ]
    return [
        TextTable(header, misses, "Speech in noise", left=("noise",)),
        TextTable(
            ("sound", "recordings", "false alarms", "share taken for speech"), alarms,
            "Sounds without a voice", left=("sound",),
        ),
    ]  # fmt: skip


def measure_misses(clips: Sequence[Clip], progress: Progress) -> list[Misses]:
    """Detect the speech of ``clips`` in noise, against what is found of them without noise."""
    detector = VoiceActivityDetector()
    kinds = [(name, snr_db) for name in _NOISES for snr_db in SNRS_DB]
    found: dict[tuple[str, float], list[tuple[bool, float, float]]] = {kind: [] for kind in kinds}
    for done, clip in enumerate(clips, 1):
        silence = np.zeros(round(16_000 * _SURROUNDING_S), dtype=np.float32)
        recording = np.concatenate([silence, read_samples(clip), silence])
        clean = _mask(detector.find(recording))
        power = float(np.mean(recording[clean] ** 2)) if clean.any() else 0.0
        rng = np.random.default_rng(list(hashlib.sha256(clip.id.encode()).digest()))
        for name, snr_db in kinds if clean.any() else ():
            noisy = with_noise(recording, power, snr_db, _NOISES[name], rng)
            heard = detector.find(noisy)
            mask = _mask(heard)
            missed, added = float((~mask[clean]).mean()), float(mask[~clean].mean())
            found[name, snr_db].append((not heard.is_enough, missed, added))
        progress("speech in noise", done, len(clips), "")
    return [
        Misses(
            name, snr_db, len(rows), sum(missed for missed, _, _ in rows),
            float(np.mean([row[1] for row in rows])), float(np.mean([row[2] for row in rows])),
        )
        for (name, snr_db), rows in found.items()
    ]  # fmt: skip


def measure_false_alarms(
    recordings: int, progress: Progress, *, seed: int = 0
) -> list[FalseAlarms]:
    """Look for speech in ``recordings`` sounds of each kind, 0.5 to 30 s long."""
    detector, rows = VoiceActivityDetector(), []
    for index, kind in enumerate(SOUNDS):
        shares, alarms = [], 0
        for number in range(recordings):
            rng = np.random.default_rng((seed, index, number))
            duration_s = float(np.exp(rng.uniform(*np.log(_DURATIONS_S))))
            heard = detector.find(draw_sound(kind, duration_s, rng))
            alarms += heard.is_enough
            shares.append(heard.share)
        rows.append(FalseAlarms(kind, recordings, alarms, float(np.mean(shares))))
        progress("sounds without a voice", index + 1, len(SOUNDS), kind)
    return rows


def _mask(speech: Speech) -> NDArray[np.bool_]:
    mask = np.zeros(speech.num_samples, dtype=np.bool_)
    for start, end in speech.spans:
        mask[start:end] = True
    return mask
