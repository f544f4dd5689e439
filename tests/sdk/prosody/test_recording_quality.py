"""Notes on recordings that are too quiet, clipped or noisy."""

from __future__ import annotations

import numpy as np
import pytest
from ugsd_sdk.prosody.meter import ProsodyMeter
from ugsd_sdk.prosody.recording_quality import RecordingNote

from tests.sdk.prosody.synthetic_voices import RATE, noise, silence, syllables

Float32 = np.ndarray


def _notes(recording: Float32, start: int, end: int) -> tuple[RecordingNote, ...]:
    meter = ProsodyMeter()
    meter.add(recording, [(start, end)])
    return meter.notes()


def test_clean_speech_has_no_note() -> None:
    speech = syllables(12)
    assert _notes(speech, 0, len(speech)) == ()


def test_quiet_speech_is_noted_at_any_length() -> None:
    speech = syllables(12) * np.float32(0.005)
    assert _notes(speech, 0, len(speech)) == (RecordingNote.TOO_QUIET,)


def test_cut_off_peaks_are_noted() -> None:
    speech = np.clip(3 * syllables(12), -0.5, 0.5)
    assert _notes(speech, 0, len(speech)) == (RecordingNote.CLIPPED,)


def test_clipping_in_a_later_piece_is_noted() -> None:
    quiet, loud = 0.3 * syllables(6), np.clip(3 * syllables(12), -0.5, 0.5)
    meter = ProsodyMeter()
    for piece in (quiet, loud, quiet):
        meter.add(piece, [(0, len(piece))])
    assert meter.notes() == (RecordingNote.CLIPPED,)


@pytest.mark.parametrize(("snr_db", "is_noisy"), [(3, True), (6, True), (15, False), (25, False)])
@pytest.mark.parametrize("outside_s", [0, 1])
def test_noise_is_noted_below_ten_decibels(snr_db: float, is_noisy: bool, outside_s: float) -> None:
    speech = syllables(12)
    level = np.sqrt(np.mean(np.square(speech))) * 10 ** (-snr_db / 20)
    padded = np.concatenate([silence(outside_s), speech, silence(outside_s)])
    noisy = padded + noise(len(padded) / RATE, float(level))
    start = round(outside_s * RATE)
    notes = _notes(noisy, start, start + len(speech))
    assert (RecordingNote.NOISY in notes) is is_noisy
