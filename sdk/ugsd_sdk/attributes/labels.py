"""What an attribute's value is called where it stands by itself, outside a sentence."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["attribute_label"]

_LABELS: Mapping[str, Mapping[str, str]] = {
    "intensity": {"mild": "mild feeling", "strong": "strong feeling"},
    "loudness": {"moderate": "moderately loud"},
    "pace": {"moderate": "moderate pace"},
    "pitch": {"low": "low pitch", "medium": "medium pitch", "high": "high pitch"},
    "variation": {"moderate": "moderately varied"},
    "quality": {"modal": "modal voice"},
    "pauses": {
        "none": "no pauses",
        "brief": "brief pauses",
        "frequent": "frequent pauses",
        "long_early": "long pause early",
        "long_middle": "long pause in the middle",
        "long_late": "long pause late",
    },
    "change": {"raised_end": "raised end", "steady": "steady"},
    "emphasis": {
        "early": "early emphasis",
        "middle": "emphasis in the middle",
        "late": "late emphasis",
    },
    "profile": {"usual": "as usual"},
    "previous": {
        "calmer": "calmer than before",
        "more_agitated": "more agitated than before",
        "same": "same as before",
    },
}
_AFTER: Mapping[str, str] = {
    "change": "towards the end",
    "profile": "than usual",
    "previous": "than before",
}


def attribute_label(name: str, value: str) -> str:
    """Return words for the ``value`` of the attribute ``name``: "high pitch", "higher than
    usual"."""
    label = _LABELS.get(name, {}).get(value)
    if label is None:
        words = value.replace("+", " and ").replace("_", " ")
        label = f"{words} {_AFTER.get(name, '')}".strip()
    return label
