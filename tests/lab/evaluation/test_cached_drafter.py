"""How clips are encoded for an evaluation: enrolment first, then clips that are scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_lab.data.corpora import Clip, load_corpora
from ugsd_lab.errors import EvaluationError
from ugsd_lab.evaluation.study import limited
from ugsd_lab.evaluation.systems import CachedDrafter, Stage
from ugsd_lab.training.profiles import MIN_ENROLMENT, in_recording_order
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile

from tests.lab.evaluation.runs import SCORED, after_enrolment, few_clips, run, sample_speakers


class LengthDrafter:
    """Stands for an ONNX drafter: its embedding is the clip's length, conditioned on the
    profile."""

    def __init__(self) -> None:
        scripted = ScriptedDrafter()
        phrase = GenderedPhrase(neutral="w2", female="she", male="he")
        self.info: DrafterInfo = replace(scripted.info, gendered_phrases=(phrase,))
        self.text = scripted.text

    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array([len(speech)], dtype=np.float32)

    def condition(
        self, embedding: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        vector = np.array([profile.count, *profile.mean], dtype=np.float32)
        femininity = 9.0 if profile.count else 0.0
        return ConditionedClip(vector, 1.0, voice=ClipVoice(embedding, femininity=femininity))


def new_drafter() -> CachedDrafter:
    return CachedDrafter(LengthDrafter())  # type: ignore[arg-type]


@pytest.fixture
def drafter() -> CachedDrafter:
    return new_drafter()


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Test clips of two corpora."""
    return [clip for clip in few_clips() if clip.split == "test"]


def encoding() -> Stage:
    return Stage(lambda *_: None, "encoding", 99)


def test_clips_of_the_enrolment_are_not_scored(clips: list[Clip], drafter: CachedDrafter) -> None:
    scored = drafter.encode_clips(clips, encoding())
    assert scored == after_enrolment(clips)
    assert len(scored) == 3 * SCORED
    for clip in clips:
        assert (drafter.conditioned(clip).decoder_input[0] >= MIN_ENROLMENT) == (clip in scored)


def test_clip_is_conditioned_on_earlier_clips_only(
    clips: list[Clip], drafter: CachedDrafter
) -> None:
    drafter.encode_clips(clips, encoding())
    lengths: dict[tuple[str, str], list[float]] = {}
    for clip in (clips[i] for i in in_recording_order(clips)):
        earlier = lengths.setdefault((clip.corpus, clip.speaker), [])
        conditioned = drafter.encode(
            [drafter.placeholder_for(clip)], SpeakerProfile(99, np.zeros(1, dtype=np.float32))
        )
        assert conditioned is drafter.conditioned(clip), "whatever profile the captioner has"
        assert conditioned.decoder_input[0] == len(earlier)
        if earlier:
            assert conditioned.decoder_input[1] == pytest.approx(np.mean(earlier))
        assert conditioned.voice is not None
        earlier.append(float(conditioned.voice.embedding[0]))


def test_encoding_in_two_steps_gives_the_same_embeddings(
    clips: list[Clip], drafter: CachedDrafter
) -> None:
    corpora = [[c for c in clips if c.corpus == name] for name in ("emodb", "elsewhere")]
    scored = [clip for own in corpora for clip in drafter.encode_clips(own, encoding())]
    at_once = new_drafter()
    assert scored == at_once.encode_clips([*corpora[0], *corpora[1]], encoding())
    for clip in clips:
        np.testing.assert_array_equal(
            drafter.conditioned(clip).decoder_input, at_once.conditioned(clip).decoder_input
        )


def test_gender_is_worded_as_on_the_device(clips: list[Clip], drafter: CachedDrafter) -> None:
    (enrolled, *_) = drafter.encode_clips(clips, encoding())
    unenrolled = next(clip for clip in clips if not drafter.conditioned(clip).decoder_input[0])
    assert drafter.worded(unenrolled, [1, 2]) == "w1 w2"
    assert drafter.worded(enrolled, [1, 2]) == "w1 she"


def test_limit_counts_scored_clips_only(drafter: CachedDrafter) -> None:
    """Clips of the enrolment are added, and speakers who have no more clips are omitted."""
    test = [clip for clip in load_corpora(None) if clip.split == "test"]
    speakers = sorted({clip.speaker for clip in test})
    for limit in (1, 4):
        scored = drafter.encode_clips(limited(test, limit), encoding())
        assert sorted(clip.speaker for clip in scored) == sorted(speakers * limit)
    few = [*sample_speakers(test, MIN_ENROLMENT + 2)[: MIN_ENROLMENT + 2], test[-1]]
    assert limited(few, 5) == limited(few, None) == few[:-1]
    assert not limited(sample_speakers(test, MIN_ENROLMENT), None)


def test_speakers_with_too_few_clips_are_an_error(clips: list[Clip], cache: Path) -> None:
    with pytest.raises(EvaluationError, match="more than the 3 clips"):
        run(sample_speakers(clips, MIN_ENROLMENT), cache, systems=[])
