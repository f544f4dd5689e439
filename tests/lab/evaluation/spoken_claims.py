"""Clips, prosody and captions with known claims, for the tests of ``ugsd-lab claims``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ugsd_lab.data.corpora import Clip
from ugsd_lab.evaluation.claim_truth import LevelBorders
from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.profile.profile import Profile
from ugsd_sdk.prosody.prosody import Changes, Emphasis, Prosody

BORDERS = LevelBorders(
    pitch_female_st=(10.0, 14.0),
    pitch_male_st=(0.0, 4.0),
    variation_st=(2.0, 4.0),
    effort_db=(-14.0, -6.0),
    clarity_db=(18.0, 20.0),
    pace=(4.0, 6.0),
)
STEADY = Changes(effort_db=0.0, level_db=0.0, pitch_st=0.0, pace=0.0, final_pitch_st=0.0)
PLAIN = Prosody(
    speech_s=3.0, start_s=0.5, end_s=3.5, level_db=-20.0, effort_db=-10.0, pitch_st=12.0,
    variation_st=3.0, clarity_db=19.0, pace=5.0, pauses=(), changes=STEADY,
    emphasis=Emphasis(place=0.5, prominence_db=1.0),
)  # fmt: skip
"""Between all borders, without pauses or changes."""
CLIP = Clip(
    path=Path("a.wav"), corpus="emodb", speaker="03", gender="female", language="German",
    emotion="angry", intensity=None, sentence="", split="test",
)  # fmt: skip


def a_clip(name: str, *, speaker: str = "03", emotion: str | None = "angry") -> Clip:
    return replace(CLIP, path=Path(f"{name}.wav"), speaker=speaker, emotion=emotion)


def attributes(
    said: Mapping[str, str],
    *,
    distribution: Mapping[str, float] | None = None,
    valence: float | None = None,
    arousal: float | None = None,
    unsaid: Mapping[str, str] | None = None,
) -> Attributes:
    """Return attributes of which ``said`` are stated and ``unsaid`` are known only."""
    fields = {name: Attribute(value=value) for name, value in (unsaid or {}).items()}
    fields |= {name: Attribute(value=value, is_said=True) for name, value in said.items()}
    emotion = fields.get("emotion", Attribute())
    fields["emotion"] = emotion.model_copy(update={"distribution": dict(distribution or {})})
    return Attributes(valence=valence, arousal=arousal, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScriptedCaption:
    text: str
    attributes: Attributes


class ScriptedSource:
    """Makes the captions that a function gives for a path and a length, and notes the calls."""

    def __init__(self, script: Callable[[Path, CaptionLength], ScriptedCaption]) -> None:
        self._script = script
        self.calls: list[tuple[str, CaptionLength, Profile, int]] = []

    def caption(
        self, clip: Path, /, *, profile: Profile, length: CaptionLength, seed: int
    ) -> ScriptedCaption:
        self.calls.append((clip.stem, length, profile, seed))
        return self._script(clip, length)
