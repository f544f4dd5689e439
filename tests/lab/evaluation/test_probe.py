"""A drafter names the right emotion about as often as a probe of its audio embedding."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import ugsd_sdk
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.evaluation.metrics import emotion_right
from ugsd_lab.evaluation.probe import probe_emotions
from ugsd_lab.evaluation.systems import CachedDrafter, Stage
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.bundle import AUDIO_ENCODER_GRAPH, DrafterBundle
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.speech.reader import WholeRecording

FREE = Path(ugsd_sdk.__file__).parent / "free"
AUDIO_ENCODER = DrafterBundle(FREE).find(AUDIO_ENCODER_GRAPH)


def split(name: str) -> list[Clip]:
    return [clip for clip in load_corpora(None) if clip.split == name]


@pytest.fixture(scope="module")
def predicted() -> dict[str, str]:
    return probe_emotions(AUDIO_ENCODER, split("train"), split("test"), lambda *_: None)


@pytest.mark.timeout(300)
def test_free_drafter_nearly_reaches_the_probe(
    predicted: dict[str, str],
) -> None:
    """Only clips after enrolment count."""
    drafter = CachedDrafter(OnnxDrafter(FREE))
    drafter.load()
    clips = drafter.encode_clips(
        split("test"), Stage(lambda *_: None, "encoding", len(split("test")))
    )
    probe = np.mean([predicted[clip.id] == clip.emotion for clip in clips])
    with Captioner(drafter, detector=WholeRecording()) as captioner:
        texts = [
            captioner.caption(drafter.placeholder_for(c), drafter.info.sample_rate).text
            for c in clips
        ]
    accuracy = np.mean(
        [emotion_right(t, c.emotion or "") for t, c in zip(texts, clips, strict=True)]
    )
    assert accuracy >= probe - 0.03


@pytest.mark.timeout(300)
def test_probe_is_strong_and_repeatable(predicted: dict[str, str]) -> None:
    clips = split("test")
    commonest = Counter(clip.emotion for clip in clips).most_common(1)[0][1] / len(clips)
    assert np.mean([predicted[clip.id] == clip.emotion for clip in clips]) > commonest + 0.4
    few = clips[:5]
    first, again = (
        probe_emotions(AUDIO_ENCODER, split("train")[::16], few, lambda *_: None) for _ in range(2)
    )
    assert first == again
