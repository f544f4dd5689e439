"""What the device measures of clips, and what it plans to say about them.

An attacker may learn of a caption what the caption says and no question asks. So captions are
planned as the device plans them, in the length that says most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from ugsd_sdk.attributes.description import VoiceDescription
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import CaptionPlan
from ugsd_sdk.drafter import ConditionedClip
from ugsd_sdk.profile.speaker_profile import MEMORY_CLIPS
from ugsd_sdk.profile.usual_prosody import NO_PROSODY, UsualProsody
from ugsd_sdk.profile.utterance import Utterance
from ugsd_sdk.prosody.prosody import Prosody

from ugsd_lab.attacks.voices import Rows, Voices
from ugsd_lab.data.corpora import read_samples
from ugsd_lab.data.speech import measure_prosody
from ugsd_lab.errors import EvaluationError
from ugsd_lab.models.embeddings import Progress

__all__ = ["Measured", "measure_clips", "plans_of"]

_CLIPS_PER_SPEAKER = 80
"""Number of clips of a speaker that are measured, which takes longer than drafting them."""
_SECONDS_APART = 10.0
"""Time between two utterances of a speaker: they are compared, as those of a dialogue are."""
_STORE_EVERY = 500


@dataclass(frozen=True)
class Measured:
    """Clips that were measured; of the others nothing is known but the emotion."""

    rows: Rows
    """Speaker by speaker, in the order in which the device hears them."""
    prosody: Sequence[Prosody | None]
    """For each of the rows; ``None`` for a silent clip."""


_FILE: TypeAdapter[dict[str, Prosody | None]] = TypeAdapter(dict[str, Prosody | None])


def measure_clips(voices: Voices, cache: Path | None, progress: Progress) -> Measured:
    """Measure clips of each speaker as the device does; with ``cache``, only those that it lacks.

    Raises :class:`EvaluationError` if the cache file holds something else.
    """
    known = _read(cache) if cache is not None and cache.exists() else {}
    rows = _rows(voices)
    missing = [voices.clips[row] for row in rows.tolist() if voices.clips[row].id not in known]
    for done, clip in enumerate(missing, 1):
        known[clip.id] = measure_prosody(read_samples(clip))
        if cache is not None and (done % _STORE_EVERY == 0 or done == len(missing)):
            cache.parent.mkdir(parents=True, exist_ok=True)
            temporary = cache.with_name("part-" + cache.name)
            temporary.write_bytes(_FILE.dump_json(known))
            temporary.replace(cache)
        progress("measuring clips", done, len(missing), "")
    return Measured(rows, [known[voices.clips[row].id] for row in rows.tolist()])


def _read(cache: Path) -> dict[str, Prosody | None]:
    try:
        return _FILE.validate_json(cache.read_bytes())
    except (OSError, ValidationError) as error:
        raise EvaluationError(f"{cache} does not hold prosody: name another --cache") from error


def _rows(voices: Voices) -> Rows:
    rng = np.random.default_rng(0)
    rows = [
        rng.permutation(np.flatnonzero(voices.speaker == speaker))[:_CLIPS_PER_SPEAKER]
        for speaker in sorted(set(voices.speaker.tolist()))
    ]
    return np.concatenate(rows)


def plans_of(
    voices: Voices, measured: Measured, conditioned: Sequence[ConditionedClip], *, enrolled: bool
) -> list[CaptionPlan]:
    """Return the plan of each clip's longest caption, from what the drafter knows of it.

    Without enrolment the captions relate a voice to nothing that was heard before. The wording is
    drawn from the clip's name, where the device draws it from the duration of its speech.
    """
    prosody = dict(zip(measured.rows.tolist(), measured.prosody, strict=True))
    unmeasured = [row for row in range(len(voices)) if row not in prosody]
    plans: dict[int, CaptionPlan] = {}
    speaker, usual, previous, now_s = "", NO_PROSODY, None, 0.0
    for row in (*measured.rows.tolist(), *unmeasured):
        if voices.speaker[row] != speaker or not enrolled:
            usual, previous = NO_PROSODY, None
        speaker, now_s = voices.speaker[row], now_s + _SECONDS_APART
        described = _described(conditioned[row], prosody.get(row), usual, previous, now_s)
        plans[row] = described.plan(CaptionLength.RICH, voices.clips[row].id)
        usual = usual.updated(prosody.get(row), memory_clips=MEMORY_CLIPS)
        previous = described.utterance
    return [plans[row] for row in range(len(voices))]


def _described(
    clip: ConditionedClip,
    prosody: Prosody | None,
    usual: UsualProsody,
    previous: Utterance | None,
    now_s: float,
) -> VoiceDescription:
    return VoiceDescription.of(
        clip.emotion,
        clip.strong,
        prosody,
        femininity=None if clip.voice is None else clip.voice.femininity,
        usual=usual,
        previous=previous,
        now_s=now_s,
    )
