"""The words of captions: attribute -> value -> form -> phrases.

No phrase stands for two values of an attribute, so captions can be parsed
(:func:`attributes_named`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["ATTRIBUTE_WORDS", "GENDERED", "LEXICON", "attributes_named"]

_Forms = Mapping[str, tuple[str, ...]]

LEXICON: dict[str, dict[str, _Forms]] = {
    "emotion": {
        "neutral": {
            "adjective": ("neutral", "matter-of-fact", "unemotional", "impassive", "businesslike"),
            "noun": ("neutrality", "detachment", "reserve"),
            "strong": ("detached", "wholly indifferent", "deadpan"),
        },
        "calm": {
            "adjective": ("calm", "relaxed", "composed", "serene", "unruffled"),
            "noun": ("calm assurance", "serenity", "composure"),
            "strong": ("tranquil", "imperturbable", "placid"),
        },
        "happy": {
            "adjective": ("happy", "cheerful", "pleased", "good-humoured", "glad"),
            "noun": ("happiness", "cheerfulness", "good humour"),
            "strong": ("delighted", "overjoyed", "elated"),
        },
        "sad": {
            "adjective": ("sad", "downcast", "sorrowful", "unhappy", "dejected"),
            "noun": ("sadness", "sorrow", "dejection"),
            "strong": ("heartbroken", "grief-stricken", "desolate"),
        },
        "angry": {
            "adjective": ("angry", "irritated", "annoyed", "cross", "indignant"),
            "noun": ("anger", "irritation", "annoyance"),
            "strong": ("furious", "enraged", "seething"),
        },
        "fearful": {
            "adjective": ("fearful", "anxious", "frightened", "nervous", "apprehensive"),
            "noun": ("fear", "anxiety", "apprehension"),
            "strong": ("terrified", "panic-stricken", "petrified"),
        },
        "disgusted": {
            "adjective": ("disgusted", "repelled", "queasy", "disdainful", "repulsed"),
            "noun": ("disgust", "distaste", "aversion"),
            "strong": ("revolted", "sickened", "appalled"),
        },
        "surprised": {
            "adjective": ("surprised", "astonished", "disbelieving", "startled", "incredulous"),
            "noun": ("surprise", "astonishment", "disbelief"),
            "strong": ("amazed", "stunned", "dumbfounded"),
        },
        "bored": {
            "adjective": ("bored", "uninterested", "listless", "weary", "apathetic"),
            "noun": ("boredom", "listlessness", "weariness"),
            "strong": ("thoroughly bored", "world-weary", "jaded"),
        },
    },
    "loudness": {
        "quiet": {
            "adverb": ("softly", "quietly", "in hushed tones", "with little force", "gently"),
            "adjective": ("soft", "quiet", "subdued", "hushed"),
        },
        "moderate": {
            "adverb": ("at a normal volume", "at conversational loudness", "with ordinary force"),
        },
        "loud": {
            "adverb": ("loudly", "forcefully", "with great vocal effort", "powerfully",
                       "at full volume"),
            "adjective": ("loud", "forceful", "powerful"),
        },
    },
    "pace": {
        "slow": {
            "adverb": ("slowly", "unhurriedly", "deliberately"),
            "phrase": ("at a slow pace", "with an unhurried rhythm"),
            "adjective": ("slow", "unhurried", "drawn-out"),
        },
        "moderate": {
            "phrase": ("at a moderate pace", "at an even pace", "at a measured tempo"),
        },
        "fast": {
            "adverb": ("quickly", "rapidly", "hurriedly", "briskly"),
            "phrase": ("at a fast pace", "in a rush"),
            "adjective": ("quick", "rapid", "hurried", "brisk"),
        },
    },
    "pitch": {
        "low": {"adjective": ("low", "deep", "low-pitched"),
                "manner": ("low in pitch", "deep")},
        "medium": {"adjective": ("mid-range", "medium-pitched", "mid-pitched")},
        "high": {"adjective": ("high", "high-pitched"),
                 "manner": ("high in pitch", "high-pitched")},
    },
    "variation": {
        "flat": {"adjective": ("flat", "monotonous", "unvarying", "level")},
        "moderate": {"adjective": ("gently varied", "moderately inflected")},
        "lively": {"adjective": ("lively", "swinging", "wide-ranging", "melodious")},
    },
    "quality": {
        "breathy": {"adjective": ("breathy", "airy", "whispery")},
        "rough": {"adjective": ("rough", "harsh", "raspy")},
        "husky": {"adjective": ("husky", "hoarse", "veiled")},
        "strained": {"adjective": ("strained", "tense", "pressed")},
        "clear": {"adjective": ("clear", "resonant", "ringing")},
        "mellow": {"adjective": ("mellow", "rounded", "velvety")},
        "muffled": {"adjective": ("muffled", "dull", "lax")},
    },
    "pauses": {
        "none": {
            "phrase": ("without a break", "in one go", "with hardly a pause"),
            "clause": ("the speech runs on without a break", "there is hardly a pause",
                       "the words follow each other in one go"),
        },
        "brief": {
            "phrase": ("with a short pause", "pausing briefly", "with a brief break"),
            "clause": ("there is a short pause", "the speech stops briefly",
                       "the speech has a brief break"),
        },
        "frequent": {
            "phrase": ("with frequent breaks", "pausing often", "haltingly"),
            "clause": ("there are frequent breaks", "the speech often pauses",
                       "the speech comes haltingly"),
        },
        "long_early": {
            "phrase": ("with a long pause early on", "pausing for long near the beginning",
                       "with a lengthy stop in the first third"),
            "clause": ("there is a long pause early on",
                       "the speech pauses for long near the beginning",
                       "a lengthy stop falls in the first third"),
        },
        "long_middle": {
            "phrase": ("with a long pause halfway", "pausing for long in the middle",
                       "with a lengthy stop midway"),
            "clause": ("there is a long pause halfway", "the speech pauses for long in the middle",
                       "a lengthy stop falls midway"),
        },
        "long_late": {
            "phrase": ("with a long pause late on", "pausing for long near the end",
                       "with a lengthy stop in the last third"),
            "clause": ("there is a long pause late on", "the speech pauses for long near the end",
                       "a lengthy stop falls in the last third"),
        },
    },
    "change": {
        "louder": {
            "phrase": ("growing louder towards the end", "gaining force", "rising in volume"),
            "clause": ("the delivery grows louder towards the end",
                       "the delivery gains force as it goes on", "the voice rises in volume"),
        },
        "quieter": {
            "phrase": ("growing quieter towards the end", "fading as it goes on",
                       "sinking in volume"),
            "clause": ("the delivery grows quieter towards the end",
                       "the delivery fades as it goes on", "the voice sinks in volume"),
        },
        "faster": {
            "phrase": ("hurrying towards the end", "speeding up", "gathering speed"),
            "clause": ("the words hurry towards the end", "the delivery speeds up",
                       "the delivery gathers speed"),
        },
        "slower": {
            "phrase": ("slowing down towards the end", "losing speed", "dragging more and more"),
            "clause": ("the words slow down towards the end", "the delivery loses speed",
                       "the delivery drags more and more"),
        },
        "higher": {
            "phrase": ("climbing in pitch towards the end", "rising in pitch",
                       "with a pitch that climbs"),
            "clause": ("the pitch climbs towards the end", "the pitch rises as it goes on",
                       "the melody climbs from beginning to end"),
        },
        "lower": {
            "phrase": ("falling in pitch towards the end", "sinking in pitch",
                       "with a pitch that drops"),
            "clause": ("the pitch falls towards the end", "the pitch sinks as it goes on",
                       "the melody drops from beginning to end"),
        },
        "raised_end": {
            "phrase": ("ending on a raised pitch", "turning up at the end",
                       "with an upward turn at the end"),
            "clause": ("the last word ends on a raised pitch", "the pitch turns up at the end",
                       "it ends with an upward turn"),
        },
        "steady": {
            "phrase": ("staying much the same throughout",),
            "clause": ("the delivery stays much the same throughout",
                       "little changes from beginning to end"),
        },
    },
    "emphasis": {
        "early": {
            "phrase": ("with the emphasis near the beginning",
                       "with the strongest stress early on"),
            "clause": ("the strongest stress falls near the beginning",
                       "the emphasis lies early on"),
        },
        "middle": {
            "phrase": ("with the emphasis in the middle", "with the strongest stress halfway"),
            "clause": ("the strongest stress falls in the middle", "the emphasis lies halfway"),
        },
        "late": {
            "phrase": ("with the emphasis near the end", "with the strongest stress late on"),
            "clause": ("the strongest stress falls near the end", "the emphasis lies late on"),
        },
    },
    "gender": {
        "female": {"person": ("woman",), "subject": ("she",), "possessive": ("her",)},
        "male": {"person": ("man",), "subject": ("he",), "possessive": ("his",)},
    },
}  # fmt: skip
"""Attribute -> value -> form -> phrases."""

_NEUTRAL = {"person": "speaker", "subject": "the speaker", "possessive": "the speaker's"}
"""Form of gender -> the neutral phrase in its place."""
GENDERED: tuple[dict[str, str], ...] = tuple(
    {"neutral": phrase} | {value: forms[form][0] for value, forms in LEXICON["gender"].items()}
    for form, phrase in _NEUTRAL.items()
)
"""How a neutral phrase is worded for each gender: ``neutral``, ``female`` and ``male``."""

ATTRIBUTE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    attribute: {
        value: tuple(dict.fromkeys(phrase for phrases in forms.values() for phrase in phrases))
        for value, forms in values.items()
    }
    for attribute, values in LEXICON.items()
}
"""The lexicon without its forms: attribute -> value -> phrases."""


_MEANINGS = {
    phrase: (attribute, value)
    for attribute, values in ATTRIBUTE_WORDS.items()
    for value, phrases in values.items()
    for phrase in phrases
}
_MEANINGS |= {
    f"deep {noun}": ("emotion", value)
    for value, forms in LEXICON["emotion"].items()
    for noun in forms["noun"]
}
"""What phrases state. "deep" before a feeling is no pitch."""
_LONGEST_FIRST = sorted(_MEANINGS, key=len, reverse=True)
_PHRASE = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _LONGEST_FIRST))})(?![\w-])", re.I)
"""A phrase inside a longer one does not count: "gently varied" is not gentle."""


def attributes_named(text: str, attribute: str) -> set[str]:
    """Return the values of ``attribute`` that a caption names. More than one is a contradiction."""
    return {value for of, value in _stated(text) if of == attribute}


@lru_cache(maxsize=4096)
def _stated(text: str) -> frozenset[tuple[str, str]]:
    return frozenset(_MEANINGS[phrase.lower()] for phrase in _PHRASE.findall(text))
