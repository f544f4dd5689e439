"""No straw man: a drafter names the right emotion about as often as a probe of what it hears."""

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
from ugsd_sdk.drafter.onnx import AUDIO_ENCODER_GRAPH, OnnxDrafter, find_file

FREE = Path(ugsd_sdk.__file__).parent / "free"
EARS = find_file(FREE, AUDIO_ENCODER_GRAPH)


def split(name: str) -> list[Clip]:
    return [clip for clip in load_corpora(None) if clip.split == name]


@pytest.fixture(scope="module")
def heard() -> dict[str, str]:
    return probe_emotions(EARS, split("train"), split("test"), lambda *_: None)


@pytest.mark.timeout(300)
def test_the_free_drafter_is_within_three_points_of_a_probe_on_the_same_data(
    heard: dict[str, str],
) -> None:
    """Of clips whose speakers both know by then."""
    ears = CachedDrafter(OnnxDrafter(FREE))
    ears.load()
    clips = ears.encode_clips(
        split("test"), Stage(lambda *_: None, "listening", len(split("test")))
    )
    probe = np.mean([heard[clip.id] == clip.emotion for clip in clips])
    with Captioner(ears) as captioner:
        said = [
            captioner.caption(ears.placeholder_for(c), ears.info.sample_rate).text for c in clips
        ]
    drafter = np.mean([emotion_right(t, c.emotion or "") for t, c in zip(said, clips, strict=True)])
    assert drafter >= probe - 0.03


@pytest.mark.timeout(300)
def test_the_probe_is_a_strong_one_and_the_same_again(heard: dict[str, str]) -> None:
    clips = split("test")
    commonest = Counter(clip.emotion for clip in clips).most_common(1)[0][1] / len(clips)
    assert np.mean([heard[clip.id] == clip.emotion for clip in clips]) > commonest + 0.4
    few = clips[:5]
    first, again = (
        probe_emotions(EARS, split("train")[::8], few, lambda *_: None) for _ in range(2)
    )
    assert first == again
