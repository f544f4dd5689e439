"""A caption as flat rows, for data frames and spreadsheets. Every caption has the same columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, unit_of
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.prosody.recording_quality import RecordingNote

if TYPE_CHECKING:
    from ugsd_sdk.caption.caption import Caption

__all__ = ["Scalar", "attribute_rows", "caption_row"]

Scalar: TypeAlias = str | float | bool | None
"""A value of a column; whole numbers are ``int``."""


def attribute_rows(caption: Caption) -> list[dict[str, Scalar]]:
    """Return a row for each attribute, also for those without a value."""
    return [
        {
            "path": caption.path,
            "attribute": name,
            "value": attribute.value,
            "confidence": attribute.confidence,
            "measured": attribute.measured,
            "unit": unit_of(name, attribute.value),
            "decided_by": attribute.decided_by.value,
            "is_said": attribute.is_said,
        }
        for name, attribute in caption.attributes.by_name().items()
    ]


def caption_row(caption: Caption) -> dict[str, Scalar]:
    """Return one row: text, attributes, quality, speech, profile, and what was sent."""
    usage, reason = caption.usage, caption.unverified_reason
    return {
        "path": caption.path,
        "text": caption.text,
        "length": caption.length.value,
        "seed": caption.seed,
        "confidence": caption.confidence,
        "is_truncated": caption.is_truncated,
        **_attribute_columns(caption),
        **{f"is_{note.value}": note in caption.audio_quality for note in RecordingNote},
        "speech_s": caption.speech.duration_s,
        "speech_share": caption.speech.share,
        "profile_use": caption.profile.use.value,
        "profile_change": caption.profile.change.value,
        "num_blocks": usage.num_blocks,
        "num_disclosed_tokens": usage.num_disclosed_tokens,
        "num_disclosed_states": usage.num_disclosed_states,
        "bytes_sent": usage.bytes_sent,
        "epsilon": None if usage.guarantee is None else usage.guarantee.epsilon,
        "unverified_reason": None if reason is None else reason.code.value,
        "total_ms": caption.latency_ms.total,
        "id": caption.id,
    }


def _attribute_columns(caption: Caption) -> dict[str, Scalar]:
    attributes = caption.attributes
    columns: dict[str, Scalar] = {}
    for name in ATTRIBUTE_VALUES:
        attribute = attributes.by_name()[name]
        columns[name] = attribute.value
        columns[f"{name}_confidence"] = attribute.confidence
        if name == "emotion":
            given = attribute.distribution
            columns |= {
                f"emotion_{one}": given.get(one, 0.0) if given else None for one in EMOTIONS
            }
            columns["emotion_decided_by"] = attribute.decided_by.value
        elif name != "intensity":
            columns[f"{name}_measured"] = attribute.measured
    return columns | {
        "valence": attributes.valence,
        "arousal": attributes.arousal,
        "num_pauses": len(attributes.pause_spans),
        "pauses_s": round(sum((end - start for start, end in attributes.pause_spans), 0.0), 3),
    }
