"""Generated reference captions: a grammar over emotion, intensity and measured prosody.

References are always called generated. They describe delivery and affect, never the words spoken
and never who speaks. The same clip, index and seed give the same caption.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass

from ugsd_lab.corpora import Clip
from ugsd_lab.prosody import Level, Levels

__all__ = [
    "AFFECT",
    "ATTRIBUTE_WORDS",
    "Facts",
    "attributes_named",
    "caption",
    "references",
]

REFERENCES_PER_CLIP = 5


@dataclass(frozen=True)
class Facts:
    """All that a caption may state."""

    gender: str
    emotion: str
    intensity: str | None
    levels: Levels

    @classmethod
    def of(cls, clip: Clip, levels: Levels) -> Facts:
        return cls(clip.gender, clip.emotion, clip.intensity, levels)


AFFECT: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "neutral": (("neutral", "matter-of-fact", "unemotional"), ("detached", "impassive")),
    "calm": (("calm", "relaxed", "composed"), ("at ease", "serene")),
    "happy": (("happy", "cheerful", "pleased"), ("delighted", "joyful")),
    "sad": (("sad", "downcast", "sorrowful"), ("heartbroken", "grieving")),
    "angry": (("angry", "irritated", "annoyed"), ("furious", "enraged")),
    "fearful": (("afraid", "anxious", "frightened"), ("terrified", "panicked")),
    "disgusted": (("disgusted", "repelled", "put off"), ("revolted", "sickened")),
    "surprised": (("surprised", "astonished", "taken aback"), ("amazed", "stunned")),
    "bored": (("bored", "uninterested", "listless"), ("weary", "tired of it all")),
}
"""Adjectives per emotion: of ordinary strength, and strong ones."""

_PITCH: dict[Level, tuple[str, ...]] = {
    "low": ("low", "deep", "low-pitched"),
    "mid": ("mid-range", "medium-pitched"),
    "high": ("high", "high-pitched", "raised"),
}
_MELODY: dict[Level, tuple[str, ...]] = {
    "low": ("flat", "monotonous", "level"),
    "mid": (),
    "high": ("lively", "swinging", "wide-ranging"),
}
_QUALITY: dict[tuple[Level, Level], tuple[str, ...]] = {
    ("high", "high"): ("sharp", "piercing"),
    ("high", "mid"): ("bright", "strained"),
    ("high", "low"): ("harsh", "rough"),
    ("low", "low"): ("breathy", "airy"),
    ("low", "mid"): ("soft-edged", "muffled"),
    ("low", "high"): ("mellow", "round"),
    ("mid", "low"): ("husky", "hoarse"),
    ("mid", "high"): ("clear", "ringing"),
}
_PACE: dict[Level, tuple[str, ...]] = {
    "low": ("slowly", "at a slow pace", "unhurriedly"),
    "mid": ("at a moderate pace", "at an even pace"),
    "high": ("quickly", "at a fast pace", "rapidly"),
}
_LOUDNESS: dict[Level, tuple[str, ...]] = {
    "low": ("quietly", "softly", "in hushed tones"),
    "mid": ("at a normal volume",),
    "high": ("loudly", "at full volume", "forcefully"),
}
_PAUSES: dict[Level, tuple[str, ...]] = {
    "low": ("without a break", "in one go"),
    "mid": (),
    "high": ("with long pauses", "haltingly", "with frequent breaks"),
}
_DEGREE: dict[str | None, tuple[str, ...]] = {
    "normal": ("", "", "somewhat ", "a little "),
    "strong": ("very ", "deeply ", "really "),
    None: ("", "", "", "clearly "),
}
_SUBJECT = {"female": ("a woman", "she"), "male": ("a man", "he")}


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _affect(facts: Facts, rng: random.Random) -> str:
    ordinary, strong = AFFECT[facts.emotion]
    if facts.intensity == "strong" and rng.random() < 0.5:
        return rng.choice(strong)
    return rng.choice(_DEGREE[facts.intensity]) + rng.choice(ordinary)


def _voice(facts: Facts, rng: random.Random) -> str:
    """A noun phrase such as ``a low, flat and breathy voice``."""
    levels = facts.levels
    words = [rng.choice(_PITCH[levels.pitch])]
    if levels.melody != "mid":
        words.append(rng.choice(_MELODY[levels.melody]))
    quality = _QUALITY.get((levels.brightness, levels.clarity))
    if quality and (len(words) == 1 or rng.random() < 0.6):
        words.append(rng.choice(quality))
    listed = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    if len(words) == 2 and rng.random() < 0.5:
        listed = ", ".join(words)
    return _article(listed) + " voice"


def _manner(facts: Facts, rng: random.Random) -> str:
    """Adverbs such as ``quickly and loudly``, most telling first."""
    levels = facts.levels
    parts = [rng.choice(_PACE[levels.pace]), rng.choice(_LOUDNESS[levels.loudness])]
    if levels.pace == "mid" and levels.loudness != "mid" and rng.random() < 0.5:
        parts.pop(0)
    elif levels.loudness == "mid" and rng.random() < 0.7:
        parts.pop(1)
    if rng.random() < 0.5:
        parts.reverse()
    manner = " and ".join(parts)
    if levels.pauses != "mid" and rng.random() < 0.5:
        manner += ", " + rng.choice(_PAUSES[levels.pauses])
    return manner


def caption(facts: Facts, rng: random.Random, *, gender: bool = True) -> str:
    """One caption of 12 to 40 words. ``gender=False`` speaks of "the speaker"."""
    who, pronoun = _SUBJECT[facts.gender] if gender else ("the speaker", "the speaker")
    who_subject = who if rng.random() < 0.85 or gender else "someone"
    affect, voice, manner = _affect(facts, rng), _voice(facts, rng), _manner(facts, rng)
    speaks = rng.choice(("speaks", "talks"))
    speaking = rng.choice(("speaking", "talking"))
    plans = (
        f"{who_subject} {speaks} {manner} in {voice}; {pronoun} sounds {affect}.",
        f"{who_subject} {speaks} {manner} in {voice}, sounding {affect}.",
        f"{who_subject} sounds {affect}, {speaking} {manner} in {voice}.",
        f"in {voice}, {who_subject} {speaks} {manner} and comes across as {affect}.",
        f"{speaking} {manner} in {voice}, {who_subject} seems {affect}.",
        f"sounding {affect}, {who_subject} {speaks} {manner} in {voice}.",
        f"{who_subject} who seems {affect} {speaks} {manner} in {voice}.",
        f"the voice is that of {who}, {affect} in tone: {pronoun} {speaks} {manner} in {voice}.",
    )
    text = rng.choice(plans)
    return text[0].upper() + text[1:]


def references(
    clip: Clip,
    levels: Levels,
    *,
    count: int = REFERENCES_PER_CLIP,
    seed: int = 0,
    gender: bool = True,
) -> list[str]:
    """``count`` different captions of one clip."""
    facts = Facts.of(clip, levels)
    digest = hashlib.sha256(f"{seed}:{clip.id}".encode()).digest()
    rng = random.Random(digest)  # noqa: S311  reproducible text, not a secret
    out: list[str] = []
    while len(out) < count:
        text = caption(facts, rng, gender=gender)
        if text not in out:
            out.append(text)
    return out


def _phrases(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(phrase for group in groups for phrase in group)


def _by_name(words: dict[Level, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {str(level): phrases for level, phrases in words.items() if phrases}


ATTRIBUTE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "emotion": {name: _phrases(groups) for name, groups in AFFECT.items()},
    "pitch": _by_name(_PITCH),
    "melody": _by_name(_MELODY),
    "loudness": _by_name(_LOUDNESS),
    "pace": _by_name(_PACE),
    "gender": {"female": ("woman", "she"), "male": ("man", "he")},
}
"""The lexicon that reads attributes back from a caption: attribute -> value -> phrases."""


def attributes_named(text: str, attribute: str) -> set[str]:
    """Values of ``attribute`` that a caption names. More than one is a contradiction."""
    padded = " " + "".join(c if c.isalpha() or c == "-" else " " for c in text.lower()) + " "
    padded = " ".join(padded.split()).join("  ")
    return {
        value
        for value, phrases in ATTRIBUTE_WORDS[attribute].items()
        if any(f" {phrase} " in padded for phrase in phrases)
    }
