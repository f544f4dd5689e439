"""A voice's description, and what a caption states of it."""

from __future__ import annotations

import pytest
from ugsd_sdk.attributes.attribute import DecidedBy
from ugsd_sdk.attributes.attributes import Attributes
from ugsd_sdk.attributes.description import VoiceDescription
from ugsd_sdk.attributes.length import CaptionLength
from ugsd_sdk.profile.usual_prosody import NO_PROSODY


def worded(emotion: str, decided_by: DecidedBy) -> Attributes:
    """Return the attributes of a caption of a speaker who sounds sad to the device."""
    described = VoiceDescription.of(
        {"sad": 0.8, "happy": 0.2},
        0.2,
        None,
        femininity=None,
        usual=NO_PROSODY,
        previous=None,
        now_s=0.0,
    )
    return described.worded(described.plan(CaptionLength.NORMAL, "0"), emotion, decided_by)


def test_own_emotion_has_valence_and_arousal() -> None:
    found = worded("sad", DecidedBy.DEVICE)
    assert (found.emotion.value, found.emotion.confidence) == ("sad", 0.8)
    assert found.valence is not None
    assert found.arousal is not None
    assert found.valence < 0


@pytest.mark.parametrize("emotion", ["happy", "angry"])
def test_verifiers_emotion_is_not_contradicted(emotion: str) -> None:
    found = worded(emotion, DecidedBy.VERIFIER)
    assert (found.emotion.value, found.emotion.confidence) == (emotion, None)
    assert (found.valence, found.arousal) == (None, None)
