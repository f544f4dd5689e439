"""Generated reference captions: a grammar over emotion, intensity and measured prosody.

These references are always described as generated. They describe delivery and affect, never the
words spoken and never the speaker's identity. The same clip, index and seed give the same caption.

Models learn neutral captions, which say "a speaker" and "the speaker", so that gender is never
sent. The device, which has the audio, may add it afterwards with :data:`GENDERED`; a caption with
gender is exactly its neutral one with these replacements.

Every attribute label is worded from :data:`LEXICON`, attribute -> value -> form -> phrases, and no
phrase stands for two values, so captions can be parsed (:func:`attributes_named`) and corrected
(:func:`corrected`). The first phrase of a list is its everyday word. The everyday words of all
emotions are equally frequent, so that a model's likeliest word is that of the likeliest emotion.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ugsd_lab.data.corpora import Clip
from ugsd_lab.data.prosody import Levels
from ugsd_lab.errors import CorpusError

__all__ = [
    "ATTRIBUTE_WORDS",
    "GENDERED",
    "LEXICON",
    "MAX_WORDS",
    "MIN_WORDS",
    "AttributeLabels",
    "attributes_named",
    "caption",
    "corrected",
    "references",
]

REFERENCES_PER_CLIP = 5
MIN_WORDS, MAX_WORDS = 12, 40


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
        """Return the value of an attribute of :data:`LEXICON`."""
        if attribute in ("gender", "emotion"):
            value: str | None = getattr(self, attribute)
            return value
        return str(getattr(self.levels, attribute))


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
    "pitch": {
        "low": {"adjective": ("low", "deep", "low-pitched")},
        "mid": {"adjective": ("mid-range", "medium-pitched", "mid-pitched")},
        "high": {"adjective": ("high", "high-pitched")},
    },
    "melody": {
        "low": {
            "adjective": ("flat", "monotonous", "unvarying"),
            "clause": ("hardly any rise and fall", "next to no melody"),
        },
        "mid": {
            "adjective": ("gently varied", "moderately inflected"),
            "clause": ("a natural rise and fall", "some melody"),
        },
        "high": {
            "adjective": ("lively", "swinging", "wide-ranging"),
            "clause": ("wide swings in pitch", "a great deal of melody"),
        },
    },
    "loudness": {
        "low": {
            "adverb": ("softly", "quietly", "in hushed tones", "under the breath"),
            "adjective": ("soft", "quiet", "subdued"),
        },
        "mid": {
            "adverb": ("at a normal volume", "at conversational loudness"),
            "adjective": ("moderate in volume", "of ordinary loudness"),
        },
        "high": {
            "adverb": ("loudly", "forcefully", "at full volume", "with great vocal effort"),
            "adjective": ("loud", "forceful", "powerful"),
        },
    },
    "pace": {
        "low": {
            "adverb": ("slowly", "at a slow pace", "unhurriedly", "deliberately"),
            "adjective": ("slow", "unhurried", "drawn-out"),
        },
        "mid": {
            "adverb": ("at a moderate pace", "at an even pace", "at a measured tempo"),
            "adjective": ("evenly paced", "measured"),
        },
        "high": {
            "adverb": ("quickly", "at a fast pace", "rapidly", "hurriedly"),
            "adjective": ("quick", "rapid", "hurried"),
        },
    },
    "pauses": {
        "low": {"clause": ("without a break", "in one go", "with hardly a pause")},
        "mid": {"clause": ("with a few short breaks", "pausing briefly")},
        "high": {"clause": ("with long pauses", "haltingly", "with frequent breaks")},
    },
    "quality": {
        "breathy": {"adjective": ("breathy", "airy", "whispery")},
        "rough": {"adjective": ("rough", "harsh", "raspy")},
        "husky": {"adjective": ("husky", "hoarse", "veiled")},
        "strained": {"adjective": ("strained", "tense", "pressed")},
        "clear": {"adjective": ("clear", "resonant", "ringing")},
        "mellow": {"adjective": ("mellow", "rounded", "velvety")},
        "muffled": {"adjective": ("muffled", "dull", "lax")},
        "modal": {"adjective": ("even-timbred", "plain-sounding")},
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
        value: tuple(phrase for phrases in forms.values() for phrase in phrases)
        for value, forms in values.items()
    }
    for attribute, values in LEXICON.items()
}
"""The lexicon without its forms: attribute -> value -> phrases."""

_EVERYDAY = 0.45
"""The least probability of a list's first phrase; the others share the rest."""
_PLAIN = {"pauses": "low", "quality": "modal"}
"""Unremarkable values; for all other attributes it is ``mid``."""
_UNSAID = {"melody": 0.8, "quality": 0.8, "pauses": 0.9, "loudness": 0.5, "pace": 0.3}
"""Probability of omitting an unremarkable value."""
_OPTIONAL = {"melody": 0.1, "quality": 0.25, "pauses": 0.35}
"""Probability of omitting any other value."""
_UNGRADED = ("neutral", "calm")
"""Emotions that have no degrees."""
_DEGREE: dict[str | None, tuple[str, ...]] = {
    "normal": ("slightly", "somewhat", "a little"),
    "strong": ("very", "deeply", "intensely"),
    None: ("clearly", "rather", "quite"),
}
_AMOUNT: dict[str | None, tuple[str, ...]] = {
    "normal": ("a touch of ", "some ", "mild "),
    "strong": ("intense ", "great "),
    None: ("", "evident ", "unmistakable "),
}
_PLAIN_AFFECT = 0.75
"""Probability of naming an emotion without its degree and without a strong word."""


class _Wording:
    """The parts of one caption, worded as they are requested."""

    def __init__(self, labels: AttributeLabels, rng: random.Random) -> None:
        self._labels, self._rng = labels, rng

    def pick(self, phrases: Sequence[str]) -> str:
        """Pick a phrase; the first is the likeliest."""
        if len(phrases) == 1 or self._rng.random() < max(_EVERYDAY, 1.2 / len(phrases)):
            return phrases[0]
        return self._rng.choice(phrases[1:])

    def word(self, attribute: str, form: str) -> str:
        return self.pick(LEXICON[attribute][self._labels.value(attribute) or ""][form])

    def mentions(self, attribute: str) -> bool:
        """Draw whether an attribute that may be omitted is mentioned."""
        plain = self._labels.value(attribute) == _PLAIN.get(attribute, "mid")
        leave_out = (_UNSAID if plain else _OPTIONAL).get(attribute, 0.0)
        return self._rng.random() >= leave_out

    def _who(self, form: str) -> str:
        return self.word("gender", form) if self._labels.gender else _NEUTRAL[form]

    @property
    def person(self) -> str:
        """``speaker``, ``woman``."""
        return self._who("person")

    @property
    def who(self) -> str:
        return _article(self.person)

    @property
    def subject(self) -> str:
        return self._who("subject")

    @property
    def possessive(self) -> str:
        return self._who("possessive")

    @property
    def affect(self) -> str:
        """``angry``, ``slightly irritated``, ``furious``."""
        strength = self._labels.intensity
        if self._rng.random() < _PLAIN_AFFECT:
            return self.word("emotion", "adjective")
        if strength == "strong" and self._rng.random() < 0.6:
            return self.word("emotion", "strong")
        adjective = self.word("emotion", "adjective")
        if self._labels.emotion in _UNGRADED:
            return adjective
        return f"{self._rng.choice(_DEGREE[strength])} {adjective}"

    @property
    def feeling(self) -> str:
        """``anger``, with a word for its strength."""
        strength = None if self._labels.emotion in _UNGRADED else self._labels.intensity
        return self._rng.choice(_AMOUNT[strength]) + self.word("emotion", "noun")

    @property
    def qualities(self) -> str:
        """``low, flat and breathy``."""
        words = [self.word("pitch", "adjective")]
        words += [self.word(a, "adjective") for a in ("melody", "quality") if self.mentions(a)]
        return _listed(words)

    @property
    def voice(self) -> str:
        return f"{_article(self.qualities)} voice"

    @property
    def manner(self) -> str:
        """``slowly and softly, with long pauses``."""
        parts = [self.word(a, "adverb") for a in ("pace", "loudness") if self.mentions(a)]
        if not parts:
            parts = [self.word("pace", "adverb")]
        if self._rng.random() < 0.3:
            parts.reverse()
        parts.sort(key=lambda part: " " in part)  # quickly and at full volume, not the other way
        manner = " and ".join(parts)
        if self.mentions("pauses"):
            manner += f", {self.word('pauses', 'clause')},"
        return manner

    @property
    def delivery(self) -> str:
        """``slow and soft``."""
        return f"{self.word('pace', 'adjective')} and {self.word('loudness', 'adjective')}"

    @property
    def melody(self) -> str:
        return self.word("melody", "clause")


_Plan = Callable[[_Wording], str]
_PLANS: tuple[tuple[int, _Plan], ...] = (
    (24, lambda w: f"{w.who} sounds {w.affect}, speaking {w.manner} in {w.voice}"),
    (8, lambda w: f"{w.who} seems {w.affect}; {w.subject} talks {w.manner} in {w.voice}"),
    (8, lambda w: f"sounding {w.affect}, {w.who} talks {w.manner} in {w.voice}"),
    (6, lambda w: f"{_article(w.affect)} {w.person} talks {w.manner} in {w.voice}"),
    (6, lambda w: f"{w.who} comes across as {w.affect}, talking {w.manner} in {w.voice}"),
    (5, lambda w: f"{w.feeling} colours the voice of {w.who} who talks {w.manner} in {w.voice}"),
    (5, lambda w: f"{w.who} talks {w.manner} in {w.voice} and sounds {w.affect}"),
    (5, lambda w: f"speaking {w.manner} in {w.voice}, {w.who} conveys {w.feeling}"),
    (
        5,
        lambda w: (
            f"there is {w.feeling} in the way {w.who} talks: {w.possessive} voice is "
            f"{w.qualities}, and {w.possessive} delivery is {w.delivery}"
        ),
    ),
    (
        4,
        lambda w: (
            f"{w.who} seems {w.affect}: {w.subject} talks {w.manner} in {w.voice}, with {w.melody}"
        ),
    ),
    (
        4,
        lambda w: (
            f"the delivery is {w.delivery}, the voice {w.qualities}; this is {w.who} who sounds "
            f"{w.affect}"
        ),
    ),
    (4, lambda w: f"in {w.voice}, {w.who} talks {w.manner}, conveying {w.feeling}"),
    (
        4,
        lambda w: (
            f"this is {w.who} with {w.voice}, talking {w.manner}, and seeming {w.affect}"
        ),
    ),
    (
        4,
        lambda w: (
            f"{w.who} talks with {w.feeling}; {w.possessive} voice is {w.qualities}, and "
            f"{w.subject} speaks {w.manner}"
        ),
    ),
    (
        4,
        lambda w: (
            f"with {w.melody}, {w.who} talks {w.manner}; {w.subject} has {w.voice} and appears "
            f"{w.affect}"
        ),
    ),
    (
        4,
        lambda w: (
            f"one hears {_article(w.affect)} {w.person} whose voice is {w.qualities} and who "
            f"speaks {w.manner}"
        ),
    ),
)  # fmt: skip
"""Weights and sentences. The heaviest plan names the emotion first, because that is the main
question."""


def caption(labels: AttributeLabels, rng: random.Random, *, gender: bool = True) -> str:
    """Return one caption of 12 to 40 words. ``gender=False`` gives the neutral one, whose gendered
    version follows from the same state of ``rng``."""
    weights, plans = zip(*_PLANS, strict=True)
    while True:
        plan = rng.choices(plans, weights)[0]
        seed = rng.getrandbits(64)
        neutral, worded = (
            _polished(plan(_Wording(replace(labels, gender=some), random.Random(seed))))  # noqa: S311
            for some in (None, labels.gender or "female")
        )
        # Pronouns are shorter. Both must fit whatever the gender, so that no caption reveals it.
        if all(MIN_WORDS <= len(text.split()) <= MAX_WORDS for text in (neutral, worded)):
            return worded if gender and labels.gender else neutral


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


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _polished(text: str) -> str:
    """Drop commas where a clause ended a sentence, and set capital and full stop."""
    text = re.sub(r",(?=[,;:.]|$)", "", text)
    return text[0].upper() + text[1:] + "."


def _matcher(attribute: str) -> re.Pattern[str]:
    phrases = [p for values in ATTRIBUTE_WORDS[attribute].values() for p in values]
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.I)


_MATCHERS = {attribute: _matcher(attribute) for attribute in LEXICON}
_MEANING = {
    attribute: {
        phrase: (value, form)
        for value, forms in values.items()
        for form, phrases in forms.items()
        for phrase in phrases
    }
    for attribute, values in LEXICON.items()
}


def attributes_named(text: str, attribute: str) -> set[str]:
    """Return the values of ``attribute`` that a caption names. More than one is a contradiction."""
    found = _MATCHERS[attribute].findall(text)
    return {_MEANING[attribute][phrase.lower()][0] for phrase in found}


def corrected(text: str, labels: AttributeLabels, rng: random.Random) -> list[tuple[str, str]]:
    """Cut ``text`` into (original, corrected) pieces: each phrase of the lexicon that states
    another value than ``labels`` is replaced by a phrase of the same form with the right one."""
    wording = _Wording(labels, rng)
    swaps: list[tuple[int, int, str]] = []
    for attribute, matcher in _MATCHERS.items():
        right = labels.value(attribute)
        for match in matcher.finditer(text) if right in LEXICON[attribute] else ():
            value, form = _MEANING[attribute][match[0].lower()]
            forms = LEXICON[attribute][right or ""]
            if value != right:
                phrase = wording.pick(forms.get(form) or forms["adjective"])
                swaps.append((*match.span(), _as_in(text, match.start(), phrase)))
    pieces: list[tuple[str, str]] = []
    end = 0
    for start, stop, phrase in sorted(swaps):
        before = text[end:start]
        article = _article(phrase.lower()).split()[0]
        fixed = re.sub(r"\b([Aa])n? $", rf"\g<1>{article[1:]} ", before)
        pieces += [(before, fixed), (text[start:stop], phrase)]
        end = stop
    return [*pieces, (text[end:], text[end:])]


def _as_in(text: str, at: int, phrase: str) -> str:
    return phrase[0].upper() + phrase[1:] if text[at].isupper() else phrase
