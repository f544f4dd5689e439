"""Generated reference captions: the grammar's wordings of a clip's labels and measured prosody.

These references are always described as generated. They describe delivery and affect, never the
words spoken and never the speaker's identity. The same clip, index and seed give the same caption.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ugsd_sdk.attributes.attribute import Attribute
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.plan import NUM_OPENINGS, NUM_VARIANTS, CaptionPlan, caption_plan
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase, with_gender

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.grammar import caption_text
from ugsd_lab.data.lexicon import GENDERED
from ugsd_lab.data.prosody import Level, Levels
from ugsd_lab.errors import CorpusError

__all__ = [
    "LEVEL_VALUES",
    "MAX_WORDS",
    "MIN_WORDS",
    "AttributeLabels",
    "caption",
    "references",
]

REFERENCES_PER_CLIP = 5
MIN_WORDS, MAX_WORDS = 3, 40

LEVEL_VALUES: Mapping[str, Mapping[Level, str]] = {
    "pitch": {"low": "low", "mid": "medium", "high": "high"},
    "variation": {"low": "flat", "mid": "moderate", "high": "lively"},
    "loudness": {"low": "quiet", "mid": "moderate", "high": "loud"},
    "pace": {"low": "slow", "mid": "moderate", "high": "fast"},
    "pauses": {"low": "none", "mid": "brief", "high": "frequent"},
}
"""The value of a slot for each level of prosody."""
_PHRASES = tuple(GenderedPhrase.model_validate(phrase) for phrase in GENDERED)


@dataclass(frozen=True)
class AttributeLabels:
    """Everything that a caption may state."""

    gender: str | None
    """``None`` means that captions do not mention it."""
    emotion: str
    intensity: str | None
    levels: Levels

    @classmethod
    def of(cls, clip: Clip, levels: Levels) -> AttributeLabels:
        """Return the labels of ``clip``, whose prosody has ``levels``.

        Raises :class:`CorpusError` for a clip without an emotion label.
        """
        if clip.emotion is None:
            raise CorpusError(f"{clip.id} has no emotion label: no caption can be generated")
        return cls(clip.gender, clip.emotion, clip.intensity, levels)

    def value(self, attribute: str) -> str | None:
        """Return the value of an attribute of the lexicon; ``None`` for those without a label."""
        match attribute:
            case "gender":
                return self.gender
            case "emotion":
                return self.emotion
            case "quality":
                return self.levels.quality
            case "change" | "emphasis":
                return None
        level: Level = getattr(self.levels, attribute)
        return LEVEL_VALUES[attribute][level]

    def plan(self, rng: random.Random) -> CaptionPlan:
        """Return a plan of normal length that words the labels, in a wording drawn by ``rng``."""
        sure = {slot: self._attribute(slot) for slot in (Slot.EMOTION, *map(Slot, LEVEL_VALUES))}
        sure[Slot.QUALITY] = self._attribute(Slot.QUALITY)
        ordered = {slot: sure[slot] for slot in Slot if slot in sure}
        is_strong = self.intensity == "strong"
        strength = Attribute(value="strong", confidence=1.0) if is_strong else Attribute()
        plan = caption_plan(ordered, strength, CaptionLength.NORMAL, "")
        return replace(
            plan, opening=rng.randrange(NUM_OPENINGS), variant=rng.randrange(NUM_VARIANTS)
        )

    def _attribute(self, slot: Slot) -> Attribute:
        return Attribute(value=self.value(slot.value), confidence=1.0)


def caption(labels: AttributeLabels, rng: random.Random, *, gender: bool = True) -> str:
    """Return one caption. ``gender=False`` gives the neutral one, whose gendered version follows
    from the same state of ``rng``."""
    text = caption_text(labels.emotion, labels.plan(rng))
    if not gender or labels.gender not in ("female", "male"):
        return text
    return with_gender([text], labels.gender, _PHRASES)[0]  # type: ignore[arg-type]


def references(
    clip: Clip,
    levels: Levels,
    *,
    count: int = REFERENCES_PER_CLIP,
    seed: int = 0,
    gender: bool = True,
) -> list[str]:
    """Return ``count`` different captions of one clip."""
    labels = AttributeLabels.of(clip, levels)
    digest = hashlib.sha256(f"{seed}:{clip.id}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311  reproducible text, not a secret
    out: list[str] = []
    while len(out) < count:
        text = caption(labels, rng, gender=gender)
        if text not in out:
            out.append(text)
    return out
