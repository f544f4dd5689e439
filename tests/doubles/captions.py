"""Captions: a strategy for any of them, and one in full that a drafter might make."""

from __future__ import annotations

from hypothesis import strategies as st
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.dp.accounting import UNBOUNDED_COST, Guarantee
from ugsd_sdk.attributes.attribute import Attribute, DecidedBy
from ugsd_sdk.attributes.attributes import ATTRIBUTE_VALUES, Attributes
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.attributes.slots import Slot
from ugsd_sdk.caption import (
    BlockDecision,
    Caption,
    CaptionProfile,
    CaptionSpeech,
    CaptionToken,
    CaptionUsage,
    Latency,
)
from ugsd_sdk.decoding.events import Outcome, TokenSource
from ugsd_sdk.profile.clip_profile import ProfileUse
from ugsd_sdk.profile.matching import ProfileChange
from ugsd_sdk.prosody.recording_quality import RecordingNote

from tests.doubles.reasons import reasons

__all__ = ["attributes", "captions", "sample_attributes", "sample_caption"]

_COUNTS = st.integers(min_value=0, max_value=2**63 - 1)
_AMOUNTS = st.floats(min_value=0)
_SECONDS = st.floats(min_value=0, max_value=1e6)
_SHARES = st.floats(0, 1)
_HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
_SPANS = st.lists(_SECONDS, max_size=4).map(lambda edges: tuple(_pairs(sorted(edges))))
_TOKENS = st.builds(
    CaptionToken,
    text=st.text(),
    source=st.sampled_from(TokenSource),
    uncertainty=st.none() | _AMOUNTS,
    disclosed=st.booleans(),
    replaced=st.text(),
    slot=st.none() | st.sampled_from(Slot),
)
_GUARANTEES = st.builds(
    Guarantee.from_privacy_cost, st.sampled_from((1, 10**6, 10**12, UNBOUNDED_COST)), st.just(1e-6)
)
_USAGES = st.builds(
    CaptionUsage,
    **{name: _COUNTS for name in CaptionUsage.model_fields if name != "guarantee"},
    guarantee=st.none() | _GUARANTEES,
)
_RECEIPTS = st.builds(
    Receipt,
    index=_COUNTS,
    leaf_hash=_HASHES,
    tree_size=_COUNTS,
    root=_HASHES,
    proof=st.lists(_HASHES, max_size=3).map(tuple),
    checkpoint=st.text(),
)
_DECISIONS = st.builds(
    BlockDecision,
    start=_COUNTS,
    num_tokens=_COUNTS,
    uncertainty=st.floats(allow_nan=False),
    outcome=st.sampled_from(Outcome),
    reason=reasons(),
)
_PROFILES = st.builds(
    CaptionProfile,
    use=st.sampled_from(ProfileUse),
    change=st.sampled_from(ProfileChange),
    num_clips=_COUNTS,
    duration_s=_SECONDS,
    has_set_aside=st.booleans(),
)


def _pairs(edges: list[float]) -> list[tuple[float, float]]:
    return list(zip(edges[::2], edges[1::2], strict=False))


def _attribute(name: str) -> st.SearchStrategy[Attribute]:
    values = ATTRIBUTE_VALUES[name]
    known = st.builds(
        Attribute,
        value=st.sampled_from(values),
        confidence=st.none() | _SHARES,
        distribution=st.dictionaries(st.sampled_from(values), _SHARES, max_size=3),
        measured=st.none() | st.floats(-1e6, 1e6),
        decided_by=st.sampled_from(DecidedBy),
        is_said=st.booleans(),
    )
    return st.just(Attribute()) | known


def attributes() -> st.SearchStrategy[Attributes]:
    """Return any attributes, known or not."""
    signed = st.none() | st.floats(-1, 1)
    return st.just(Attributes.unknown()) | st.builds(
        Attributes,
        **{name: _attribute(name) for name in ATTRIBUTE_VALUES},
        valence=signed,
        arousal=signed,
        pause_spans=_SPANS,
    )


def captions() -> st.SearchStrategy[Caption]:
    """Return any caption."""
    return st.builds(
        Caption,
        path=st.none() | st.text(),
        text=st.text(),
        length=st.sampled_from(CaptionLength),
        seed=_COUNTS,
        attributes=attributes(),
        confidence=st.none() | _SHARES,
        audio_quality=st.lists(st.sampled_from(RecordingNote), unique=True).map(tuple),
        is_truncated=st.booleans(),
        speech=st.builds(CaptionSpeech, share=_SHARES, duration_s=_SECONDS, spans=_SPANS),
        profile=st.just(CaptionProfile.none()) | _PROFILES,
        usage=_USAGES,
        latency_ms=st.builds(Latency, **dict.fromkeys(Latency.model_fields, _SECONDS)),
        unverified_reason=st.none() | reasons(),
        id=st.none() | st.text(),
        tokens=st.lists(_TOKENS, max_size=3).map(tuple),
        decisions=st.lists(_DECISIONS, max_size=2).map(tuple),
        receipts=st.lists(_RECEIPTS, max_size=2).map(tuple),
    )


def sample_attributes() -> Attributes:
    """Return the attributes of an angry voice: two more are known than :func:`sample_caption`
    says."""
    return Attributes(
        emotion=Attribute(
            value="angry",
            confidence=0.8214,
            distribution={"angry": 0.8214, "fearful": 0.0912, "happy": 0.0831, "sad": 0.0043},
            is_said=True,
        ),
        intensity=_known("strong", 0.91, None, is_said=False),
        loudness=_known("loud", 0.9713, -8.1234, is_said=True),
        pace=_known("fast", 0.9313, 5.9123, is_said=True),
        pitch=_known("high", 0.9913, 13.1234, is_said=True),
        variation=_known("lively", 0.9713, 4.8123, is_said=True),
        quality=_known("clear", 0.6, 14.2123, is_said=False),
        change=_known("louder", 0.93, 4.2123, is_said=True),
        valence=-0.4123,
        arousal=0.7123,
    )


def sample_caption() -> Caption:
    """Return a caption of normal length, of which two words were sent."""
    text = "A speaker sounds angry, loud and fast, in a high and lively voice, growing louder."
    known = sample_attributes()
    return Caption(
        path="clips/angry <1>.wav",
        text=text,
        length=CaptionLength.NORMAL,
        seed=0,
        attributes=known,
        confidence=known.joint_confidence(),
        speech=CaptionSpeech(share=0.8957, duration_s=2.1769375, spans=((0.1119375, 2.288875),)),
        usage=CaptionUsage(
            num_blocks=1,
            num_tokens=2,
            num_drafted_tokens=16,
            num_disclosed_tokens=2,
            num_frames=1,
            bytes_sent=1046,
            bytes_received=1046,
        ),
        latency_ms=Latency(total=79.365, encode=50.421, draft=18.944, wait=10.0),
        tokens=tuple(
            CaptionToken(
                text=f" {word}",
                source=TokenSource.VERIFIED if 1 < index < 4 else TokenSource.DRAFTED,
                uncertainty=0.1169,
                disclosed=1 < index < 4,
                replaced="",
                slot=Slot.EMOTION if index < 4 else Slot.LOUDNESS,
            )
            for index, word in enumerate(text.split())
        ),
    )


def _known(value: str, confidence: float, measured: float | None, *, is_said: bool) -> Attribute:
    return Attribute(
        value=value,
        confidence=confidence,
        distribution={value: confidence},
        measured=measured,
        is_said=is_said,
    )
