"""Which emotion, pitch, loudness and pace a description by people names, by a list of words.

The words are those of SECap's captions and of EMER's and OV-MERD's descriptions whose meaning does
not depend on their context. A Chinese word counts wherever it stands in the text, an English one as
a whole word, the longest one first. A word right after a negation does not count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["HUMAN_LEXICON", "attributes_described", "voice_part"]

HUMAN_LEXICON: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "emotion": {
        "neutral": (
            "无情绪", "没有情绪", "neutral", "unemotional", "emotionless", "matter-of-fact",
            "indifferent",
        ),
        "calm": (
            "平静", "平和", "平缓", "镇定", "淡然", "从容", "沉稳", "calm", "calmly", "composed",
            "relaxed", "peaceful",
        ),
        "happy": (
            "高兴", "开心", "快乐", "喜悦", "愉快", "愉悦", "欢喜", "欢乐", "欢快", "欢愉", "幸福",
            "兴奋", "满足", "得意", "happy", "happiness", "joy", "joyful", "cheerful", "delighted",
            "pleased", "pleasant", "excited", "excitement",
        ),
        "sad": (
            "悲伤", "伤心", "难过", "悲痛", "悲哀", "忧伤", "伤感", "失落", "失望", "委屈", "心酸",
            "凄凉", "哭泣", "泣不成声", "sad", "sadness", "sorrow", "sorrowful", "grief",
            "dejected", "disappointed", "disappointment", "crying", "depressed",
        ),
        "angry": (
            "愤怒", "生气", "气愤", "恼怒", "恼火", "怒火", "怒气", "发怒", "怨恨", "愤恨", "激愤",
            "不满", "angry", "anger", "furious", "rage", "irritated", "annoyed", "dissatisfied",
            "dissatisfaction", "indignant",
        ),
        "fearful": (
            "害怕", "恐惧", "惊恐", "惶恐", "担心", "担忧", "紧张", "慌张", "焦急", "着急", "焦虑",
            "afraid", "fear", "fearful", "scared", "frightened", "anxious", "anxiety", "nervous",
            "nervousness", "worried", "worry", "panic",
        ),
        "disgusted": (
            "厌恶", "嫌弃", "恶心", "鄙视", "轻蔑", "不屑", "disgust", "disgusted", "contempt",
            "contemptuous", "disdain", "disdainful",
        ),
        "surprised": (
            "惊讶", "吃惊", "惊奇", "惊喜", "震惊", "意外", "意想不到", "不可思议", "出乎意料",
            "surprise", "surprised", "astonished", "astonishment", "amazed", "shocked",
            "disbelief",
        ),
        "bored": ("无聊", "厌倦", "漫不经心", "bored", "boredom", "listless", "uninterested"),
    },
    "pitch": {
        "low": (
            "低沉", "语调低", "声调低", "音调低", "语调很低", "low-pitched", "deep voice",
            "low tone", "low pitch", "tone is low", "pitch is low", "voice is low", "voice is deep",
        ),
        "high": (
            "高亢", "尖锐", "声音尖", "语调高", "声调高", "音调高", "声音高拔", "音调较高",
            "声调较高", "high-pitched", "shrill", "high tone", "high pitch", "tone is high",
            "pitch is high", "raised tone",
        ),
    },
    "loudness": {
        "quiet": (
            "声音微弱", "小声", "轻声", "低声", "声音轻柔", "声音很小", "softly", "soft voice",
            "quietly", "low volume", "whispering", "voice is soft", "voice is weak",
            "voice is quiet",
        ),
        "loud": (
            "洪亮", "大声", "响亮", "声音很大", "音量大", "音量较大", "loud", "loudly",
            "high volume", "shouting", "yelling",
        ),
    },
    "pace": {
        "slow": (
            "语速缓慢", "语速慢", "语速很慢", "语速较慢", "语速较缓", "slowly", "slow pace",
            "slow speech", "pace is slow", "speech is slow", "slow-paced",
        ),
        "fast": (
            "语速快", "语速很快", "语速较快", "语速极快", "语速稍快", "语速比较快", "语速特别快",
            "语速微快", "语速轻快", "语气急促", "语速加快", "语调急促", "声音急促", "quickly",
            "rapidly", "fast pace", "fast-paced", "fast speech", "pace is fast", "speech is fast",
            "speaking fast", "rapid speech",
        ),
    },
}  # fmt: skip
"""Attribute -> value of a slot -> words."""

_NOT = r"没有|不太|不是很|[不没无未非]|\b(?:not|no|without|nor|never|\w+n't)\s+(?:very\s+|any\s+)?"
_VOICE = re.compile(r"in the audio\b.*?(?=in the (?:text|subtitle)|the subtitle\b|$)", re.I | re.S)


def _matcher(values: Mapping[str, tuple[str, ...]]) -> re.Pattern[str]:
    words = sorted((word for some in values.values() for word in some), key=len, reverse=True)
    chinese = "|".join(re.escape(word) for word in words if not word.isascii())
    english = "|".join(re.escape(word) for word in words if word.isascii())
    return re.compile(
        rf"(?P<negated>{_NOT})?(?P<word>{chinese}|(?<![\w-])(?:{english})(?![\w-]))", re.IGNORECASE
    )


_MATCHERS = {attribute: _matcher(values) for attribute, values in HUMAN_LEXICON.items()}
_MEANING = {
    attribute: {word: value for value, words in values.items() for word in words}
    for attribute, values in HUMAN_LEXICON.items()
}


def attributes_described(text: str) -> dict[str, frozenset[str]]:
    """Return the values that a description names, by attribute; attributes that it does not name
    are left out. A description may name several values."""
    found: dict[str, frozenset[str]] = {}
    for attribute, matcher in _MATCHERS.items():
        values = frozenset(
            _MEANING[attribute][match["word"].lower()]
            for match in matcher.finditer(text)
            if not match["negated"]
        )
        if values:
            found[attribute] = values
    return found


def voice_part(text: str) -> str:
    """Return what an EMER description says of the audio ("In the audio, ..." up to "In the text"),
    or all of a text without such a part. The rest describes the face, the scene and the words."""
    match = _VOICE.search(text)
    return match[0] if match else text
