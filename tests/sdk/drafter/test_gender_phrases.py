"""Gender is worded on the device; tokens and frames do not depend on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ugsd_sdk
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from ugsd_privacy.protocol.messages import Block, Verdict
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli.caption_output import caption_text
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo
from ugsd_sdk.drafter.gender_phrases import Gender, GenderedPhrase, with_gender
from ugsd_sdk.drafter.onnx import OnnxDrafter
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import ModelError
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.settings.config import Settings

STARTER = Path(ugsd_sdk.__file__).parent / "starter"
PHRASES = [
    GenderedPhrase(neutral="speaker", female="woman", male="man"),
    GenderedPhrase(neutral="the speaker", female="she", male="he"),
    GenderedPhrase(neutral="the speaker's", female="her", male="his"),
]
ACTING = [GenderedPhrase(neutral="player", female="actress", male="male player")]
OFFICER = [GenderedPhrase(neutral="officer", female="policewoman", male="officer")]

Voice = NDArray[np.float32]
soup = st.lists(
    st.sampled_from(
        ["the", "The", "speaker", "speaker's", "speakers", "a", "A", "an", ",", "voice", "she"]
    ),
    max_size=9,
).map(" ".join)


def text(neutral: str, gender: Gender, phrases: Sequence[GenderedPhrase] = PHRASES) -> str:
    return "".join(with_gender([neutral], gender, phrases))


@pytest.mark.parametrize(
    ("pieces", "female", "male"),
    [
        ([" The", " speaker", " speaks", "."], [" She", "", " speaks", "."],
         [" He", "", " speaks", "."]),
        (["The", " speaker's", " voice"], ["Her", "", " voice"], ["His", "", " voice"]),
        ([" A", " speaker", ","], [" A", " woman", ","], [" A", " man", ","]),
        (["", " and", " the", " speaker", ""], ["", " and", " she", "", ""],
         ["", " and", " he", "", ""]),
        ([" the", " spea", "ker", "'s", " own"], [" her", "", "", "", " own"],
         [" his", "", "", "", " own"]),
        (["in the speaker's way"], ["in her way"], ["in his way"]),
        ([" Speaker"], [" Woman"], [" Man"]),
        ([], [], []),
    ],
)  # fmt: skip
def test_first_piece_of_phrase_gets_the_words(
    pieces: list[str], female: list[str], male: list[str]
) -> None:
    assert with_gender(pieces, "female", PHRASES) == female
    assert with_gender(pieces, "male", PHRASES) == male


@pytest.mark.parametrize("neutral", ["speakers", "loudspeaker", "speaker-like", "a speaker's", "s"])
def test_only_whole_words_are_replaced(neutral: str) -> None:
    assert text(neutral, "female") == neutral


def test_article_matches_the_following_word() -> None:
    assert text("A player and a player", "female", ACTING) == "An actress and an actress"
    assert text("a player", "male", ACTING) == "a male player"
    assert text("An officer", "female", OFFICER) == "A policewoman"
    assert text("An officer", "male", OFFICER) == "An officer"
    assert text("a sad player", "female", ACTING) == "a sad actress"
    assert with_gender([" a", " player"], "female", ACTING) == [" an", " actress"]


@given(st.lists(soup))
def test_without_gender_or_phrases_caption_stays_neutral(pieces: list[str]) -> None:
    assert with_gender(pieces, None, PHRASES) == pieces
    assert with_gender(pieces, "female", []) == pieces


@given(soup, st.lists(st.integers(0, 60)), st.sampled_from(["female", "male"]))
def test_wording_does_not_depend_on_cuts(neutral: str, cuts: list[int], gender: Gender) -> None:
    ends = [0, *sorted(min(cut, len(neutral)) for cut in cuts), len(neutral)]
    pieces = [neutral[start:end] for start, end in pairwise(ends)]
    out = with_gender(pieces, gender, PHRASES)
    assert len(out) == len(pieces)
    assert "".join(out) == text(neutral, gender)


@given(soup)
def test_both_genders_replace_the_same_phrases(neutral: str) -> None:
    """Only the words differ between the genders."""
    female, male = (with_gender(neutral.split(), gender, PHRASES) for gender in ("female", "male"))
    assert [bool(piece) for piece in female] == [bool(piece) for piece in male]


@pytest.mark.parametrize("phrase", ["", " the speaker", "she "])
def test_phrase_with_surrounding_space_is_invalid(phrase: str) -> None:
    with pytest.raises(ValidationError):
        GenderedPhrase(neutral=phrase, female="she", male="he")


class _Voiced(ScriptedDrafter):
    """A drafter that reports a given gender and drafts random words about speakers."""

    gender: Gender | None = None

    @property
    def info(self) -> DrafterInfo:
        phrases = (
            GenderedPhrase(neutral="the speaker", female="she", male="he"),
            GenderedPhrase(neutral="speaker", female="woman", male="man"),
        )
        return replace(super().info, gendered_phrases=phrases)

    def encode(
        self, speech: Iterable[Voice], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        femininity = {"female": 3.0, "male": -3.0, None: 0.5}[self.gender]
        voice = ClipVoice(np.ones(3, dtype=np.float32), femininity=femininity)
        return replace(super().encode(speech, profile), voice=voice)

    def piece(self, token: int) -> str:
        if token == self.info.eos:
            return ""
        return (" the", " speaker", " speaks")[token % 3]


@pytest.fixture
def drafter() -> ScriptedDrafter:
    return _Voiced(seed=3, vocabulary_size=400)


def test_gender_changes_caption_but_nothing_sent(
    new_captioner: Callable[..., Captioner], fake: Any, drafter: _Voiced, voice: Voice
) -> None:
    accept = fake.answer

    def correct_the_first(block: Block) -> Verdict:
        verdict: Verdict = accept(block)
        if block.start:
            return verdict
        return verdict.model_copy(update={"accepted": 0, "correction": 9, "continuation": (7,)})

    fake.answer = correct_the_first
    captions, sent = {}, {}
    for gender in ("female", "male", None):
        drafter.gender = gender
        fake.blocks.clear()
        with new_captioner(config=Settings(min_enrolment=0, gender=True)) as captioner:
            captions[gender] = captioner.caption(voice, 16_000)
        sent[gender] = [
            (block.start, block.tokens, np.asarray(block.states).tobytes()) for block in fake.blocks
        ]
        caption = captions[gender]
        assert caption.unverified_reason is None
        assert caption.text == "".join(token.text for token in caption.tokens).strip()
        caption_text(caption, colour=False)
    assert sent["female"] == sent["male"] == sent[None] != []
    words = {gender: set(caption.text.lower().split()) for gender, caption in captions.items()}
    assert {"she", "woman"} <= words["female"]
    assert {"he", "man"} <= words["male"]
    assert words[None] == {"the", "speaker", "speaks"}
    assert captions[None].tokens[0].replaced
    for caption in captions.values():
        assert [(t.source, t.disclosed, t.replaced) for t in caption.tokens] == [
            (t.source, t.disclosed, t.replaced) for t in captions[None].tokens
        ]


def test_gender_is_worded_only_by_setting(drafter: _Voiced, voice: Voice) -> None:
    """Misnaming people is worse than silence."""
    drafter.gender = "female"
    with Captioner(drafter) as captioner:
        words = captioner.caption(voice, 16_000).text.lower().split()
    assert not {"she", "woman"} & set(words)


def test_word_is_shown_sent_if_any_token_was(drafter: _Voiced, voice: Voice) -> None:
    drafter.gender = "female"
    with Captioner(drafter, config=Settings(gender=True)) as captioner:
        caption = captioner.caption(voice, 16_000)
    merged = next(i for i, token in enumerate(caption.tokens) if not token.text)
    tokens = [
        token.model_copy(update={"disclosed": i == merged})
        for i, token in enumerate(caption.tokens)
    ]
    shown = caption_text(caption.model_copy(update={"tokens": tuple(tokens)}), colour=False).plain
    assert shown.lower().count("[she]") == 1


@pytest.mark.skipif(not (STARTER / "gate.json").exists(), reason="needs the starter's files")
def test_drafter_without_phrases_stays_neutral(tmp_path: Path) -> None:
    folder = tmp_path / "drafter"
    shutil.copytree(STARTER, folder, ignore=shutil.ignore_patterns("clips"))
    shutil.copytree(STARTER.parent / "audio_encoder", tmp_path / "audio_encoder")
    path = folder / "model.json"
    description = json.loads(path.read_text())
    phrases = [phrase.model_dump() for phrase in PHRASES]
    for given_phrases, expected in (([], ()), (phrases, tuple(PHRASES))):
        path.write_text(json.dumps({**description, "gendered": given_phrases}))
        drafter = OnnxDrafter(folder)
        drafter.load()
        assert drafter.info.gendered_phrases == expected
    description.pop("gendered", None)
    path.write_text(json.dumps(description))
    drafter = OnnxDrafter(folder)
    drafter.load()
    assert drafter.info.gendered_phrases == ()
    path.write_text(json.dumps({**description, "gendered": [{"neutral": "speaker"}]}))
    with pytest.raises(ModelError, match=r"gendered\.0\.female"):
        OnnxDrafter(folder).load()
