"""Measures the prosody of one recording, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ugsd_sdk.calls.core_slots import CORE_SLOTS
from ugsd_sdk.prosody.changes import (
    effort_db,
    find_emphasis,
    mean_level_db,
    measure_changes,
    median_pitch_st,
)
from ugsd_sdk.prosody.contours import HOP_S, Contours, measure_contours
from ugsd_sdk.prosody.pauses import find_pauses, find_quiet, unvoiced_floor_db
from ugsd_sdk.prosody.percentiles import median
from ugsd_sdk.prosody.prosody import Prosody
from ugsd_sdk.prosody.recording_quality import Clipping, Noise, RecordingNote, recording_notes
from ugsd_sdk.prosody.syllables import find_nuclei

__all__ = ["ProsodyMeter"]

_MIN_VOICED_FRAMES = 30
"""A voice with less of it, 0.3 s, has no pitch."""
_MAX_FROM_MEDIAN_ST = 12.0
"""Pitches farther from the median are errors of an octave."""
_MIN_PACE_S = 1.0


class ProsodyMeter:
    """Measures the speech in one recording.

    Call :meth:`add` with each piece in order, then :meth:`result` and :meth:`notes`. It keeps 33
    bytes for each 10 ms of speech, 12 MB an hour.
    """

    def __init__(self) -> None:
        self._parts: list[Contours] = []
        self._noise = Noise()
        self._clipping = Clipping()
        self._joined: Contours | None = None
        self._quiet_frames: NDArray[np.bool_] | None = None

    def add(
        self, piece: NDArray[np.float32], spans: Sequence[tuple[int, int]], start: int = 0
    ) -> None:
        """Measure ``piece``, mono (n,) at 16 kHz and finite, of about a minute at most, whose first
        sample is sample ``start`` of the recording. ``spans`` are the first sample of each span of
        speech in it and the one after its last, in order."""
        with (holder := Lock()), CORE_SLOTS.held(holder):
            contours = measure_contours(piece, spans, start)
        if contours is None:
            return
        self._parts.append(contours)
        self._joined = self._quiet_frames = None
        is_speech = np.zeros(len(piece), np.bool_)
        for begin, end in spans:
            is_speech[begin:end] = True
            self._clipping.add(piece[begin:end])
        self._noise.add(piece, is_speech, mean_level_db(contours.level_db))

    def contours(self) -> Contours | None:
        """Return the frames of all speech that was added; ``None`` for no speech."""
        if self._joined is None and self._parts:
            joined = Contours.joined(self._parts)
            voiced = joined.pitch_st[np.isfinite(joined.pitch_st)]
            middle = np.float32(median(voiced) if len(voiced) else 0)
            near = np.abs(joined.pitch_st - middle) <= _MAX_FROM_MEDIAN_ST
            pitch = np.where(near, joined.pitch_st, np.float32(np.nan))
            if np.count_nonzero(near) < _MIN_VOICED_FRAMES:
                pitch = np.full_like(pitch, np.nan)
            self._joined = replace(joined, pitch_st=pitch)
        return self._joined

    def notes(self) -> tuple[RecordingNote, ...]:
        """Return what makes the measures of the recording less certain."""
        contours = self.contours()
        if contours is None:
            return ()
        floors = [unvoiced_floor_db(contours), self._noise.level_db]
        return recording_notes(
            speech_db=mean_level_db(contours.level_db[~self._quiet(contours)]),
            noise_db=min((floor for floor in floors if floor is not None), default=None),
            clipped_share=self._clipping.share,
        )

    def result(self) -> Prosody | None:
        """Return the measures of all speech that was added; ``None`` for no speech.

        Spectra of a noisy recording are those of the noise, so that it has no effort nor clarity.
        """
        contours = self.contours()
        if contours is None:
            return None
        active = np.flatnonzero(~self._quiet(contours))
        times = contours.times_s[active]
        pitch = contours.pitch_st[active]
        voiced = pitch[np.isfinite(pitch)]
        has_pitch = len(voiced) >= _MIN_VOICED_FRAMES
        has_spectra = has_pitch and RecordingNote.NOISY not in self.notes()
        nuclei = find_nuclei(contours.vowel_db, np.isfinite(contours.pitch_st))
        nuclei = nuclei[np.isin(nuclei, active)]
        speech_s = len(active) * HOP_S
        clarity = contours.clarity_db[active]
        clarity = clarity[np.isfinite(clarity)]
        return Prosody(
            speech_s=speech_s,
            start_s=float(times[0] - HOP_S / 2),
            end_s=float(times[-1] + HOP_S / 2),
            level_db=mean_level_db(contours.level_db[active]),
            effort_db=effort_db(contours, active) if has_spectra else None,
            pitch_st=median_pitch_st(pitch) if has_pitch else None,
            variation_st=float(np.std(voiced, dtype=np.float64)) if has_pitch else None,
            clarity_db=float(np.mean(clarity, dtype=np.float64))
            if has_spectra and len(clarity)
            else None,
            pace=len(nuclei) / speech_s if speech_s >= _MIN_PACE_S and len(nuclei) else None,
            pauses=find_pauses(times),
            changes=measure_changes(contours, active, nuclei),
            emphasis=find_emphasis(contours, active),
        )

    def _quiet(self, contours: Contours) -> NDArray[np.bool_]:
        if self._quiet_frames is None:
            quiet = find_quiet(contours, self._noise.level_db)
            self._quiet_frames = quiet if not quiet.all() else np.zeros_like(quiet)
        return self._quiet_frames
