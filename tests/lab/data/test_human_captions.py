"""Captions by people: their files and the lexicon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_lab.data import human_captions
from ugsd_lab.data.corpora import EMOTIONS
from ugsd_lab.data.human_captions import read_human_captions
from ugsd_lab.data.human_lexicon import HUMAN_LEXICON, attributes_described, voice_part
from ugsd_lab.errors import CorpusError
from ugsd_sdk.attributes.slots import SLOT_VALUES, Slot

FILES = {
    "fid2captions.json": json.dumps({"one": "伤心难过", "two": "心情平静"}),
    "captions.tsv": "one\t伤心难过\n\ntwo.wav\t心情平静\n",
    "final-EMER-reason.csv": 'name,chinese,english\none,x,"A, ""sad"" voice"\ntwo,y,Calm\n',
    "track3_train_ovmerd.csv": "name,reason\none,Sad\ntwo,Calm\n",
}


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.wav").write_bytes(b"")
    return folder


def a_file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FILES)
def test_published_layouts_are_read(tmp_path: Path, audio: Path, name: str) -> None:
    found = read_human_captions(a_file(tmp_path, name, FILES[name]), audio)
    assert [caption.path.stem for caption in found] == ["one", "two"]
    emotions = [attributes_described(caption.text)["emotion"] for caption in found]
    assert emotions == [{"sad"}, {"calm"}]
    assert len(read_human_captions(tmp_path / name, audio, limit=1)) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[1]", "map names"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.json", '{"one": 5}', "map names"),
        ("a.json", "{}", "no captions"),
        ("a.json", '{"one": ""}', "empty"),
        ("a.json", '{"../one": "sad"}', "not the name"),
        ("a.json", '{"three": "sad"}', "missing"),
        ("a.tsv", "one sad\n", "line 1"),
        ("a.csv", "name,text\none,sad\n", "english"),
        ("a.csv", "name,reason\none\n", "too few cells"),
        ("a.csv", "", "lacks"),
        ("a.xlsx", "", "such a file"),
    ],
)
def test_other_layouts_raise_a_corpus_error(
    tmp_path: Path, audio: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        read_human_captions(a_file(tmp_path, name, content), audio)


def test_missing_and_undecodable_files_are_corpus_errors(tmp_path: Path, audio: Path) -> None:
    with pytest.raises(CorpusError, match="missing"):
        read_human_captions(tmp_path / "none.json", audio)
    for name in ("a.json", "a.tsv", "a.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\xff")
        with pytest.raises(CorpusError, match="cannot be read"):
            read_human_captions(tmp_path / name, audio)


def test_size_and_number_are_bounded(
    tmp_path: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_file(tmp_path, "a.tsv", "one\tsad\ntwo\tsad\n")
    monkeypatch.setattr(human_captions, "_MAX_CHARACTERS", 2)
    with pytest.raises(CorpusError, match="longer"):
        read_human_captions(file, audio)
    monkeypatch.setattr(human_captions, "_MAX_CAPTIONS", 1)
    with pytest.raises(CorpusError, match="more than 1"):
        read_human_captions(file, audio)
    monkeypatch.setattr(human_captions, "_MAX_BYTES", 1)
    with pytest.raises(CorpusError, match="larger"):
        read_human_captions(file, audio)


@given(st.binary(max_size=200), st.sampled_from(["a.json", "a.tsv", "a.csv"]))
def test_damaged_files_raise_only_corpus_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    folder = tmp_path_factory.mktemp("human")
    (folder / name).write_bytes(content)
    with pytest.raises(CorpusError):
        read_human_captions(folder / name, folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("语速很快，声音洪亮，十分愤怒", {"pace": "fast", "loudness": "loud", "emotion": "angry"}),
        ("语速缓慢，声音低沉，很难过", {"pace": "slow", "pitch": "low", "emotion": "sad"}),
        ("不高兴", {}),
        ("没有生气", {}),
        ("心生不满", {"emotion": "angry"}),
        ("平静的阐述，无情绪", {"emotion": "calm neutral"}),
        ("又惊又喜，出乎意料的高兴", {"emotion": "surprised happy"}),
        ("The voice is loud, speech is fast and angry.",
         {"loudness": "loud", "pace": "fast", "emotion": "angry"}),
        ("She isn't angry, not very happy, and without fear.", {}),
        ("Unhappy-go-lucky, sadly.", {}),
    ],
)  # fmt: skip
def test_lexicon_reads_words_and_negations(text: str, expected: dict[str, str]) -> None:
    assert attributes_described(text) == {
        name: frozenset(values.split()) for name, values in expected.items()
    }


def test_no_word_stands_for_two_values() -> None:
    for values in HUMAN_LEXICON.values():
        words = [word for some in values.values() for word in some]
        assert len(words) == len(set(words))


def test_lexicon_has_only_values_of_slots() -> None:
    for name, values in HUMAN_LEXICON.items():
        assert set(values) <= set(EMOTIONS if name == "emotion" else SLOT_VALUES[Slot(name)])


def test_only_the_audio_part_of_a_description_counts() -> None:
    text = (
        "In the video, she looks happy. In the audio, the tone is low and sad. In the text, the "
        "subtitle says: I am angry."
    )
    assert attributes_described(voice_part(text)) == {
        "emotion": frozenset({"sad"}), "pitch": frozenset({"low"}),
    }  # fmt: skip
    assert voice_part("伤心") == "伤心"
