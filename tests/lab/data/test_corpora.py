from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import ugsd_lab.data.corpora
from ugsd_lab.data.corpora import (
    BUNDLED_EMODB,
    CORPORA,
    EMOTIONS,
    KNOWN_CORPORA,
    SPLITS,
    Clip,
    load_corpora,
    load_corpus,
    read_samples,
)
from ugsd_lab.errors import CorpusError


def a_recording(path: Path, *, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(rate // 5) / 20), rate)


def a_text(path: Path, *lines: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)


def by_name(clips: list[Clip]) -> dict[str, Clip]:
    found = {clip.id.partition("/")[2]: clip for clip in clips}
    assert len(found) == len(clips)
    return found


def splits_by_speaker(clips: list[Clip]) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = {}
    for clip in clips:
        splits.setdefault(clip.speaker, set()).add(clip.split)
    return splits


CREMAD_VOTES = '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"'


def a_cremad(folder: Path) -> Path:
    """Write ten actors with a clip each, in the layout of the repository."""
    rows = ['"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.91,"N"']
    rows += [f'"1000{n}",2,0,0,6,2,0,"10{n}_TSI_HAP_HI",10,0.6,"H"' for n in range(11, 20)]
    rows += ['"200001",9,9,9,9,9,9,"1001_IEO_NEU_XX",54,1,"A"']
    rows += ['"300001",9,9,9,9,9,9,"1001_IEO_NEU_XX",54,1,"A"']
    rows += ['"106423",0,0,0,0,5,4,"1076_MTI_SAD_XX",9,0.5,"N"']
    a_text(folder / "processedResults" / "tabulatedVotes.csv", CREMAD_VOTES, *rows)
    a_text(
        folder / "VideoDemographics.csv",
        '"ActorID","Age","Sex","Race","Ethnicity"',
        '1001,51,"Male","Caucasian","Not Hispanic"',
        *(f'{n},21,"Female","Caucasian","Not Hispanic"' for n in range(1011, 1020)),
    )
    for name in ["1001_IEO_NEU_XX", *(f"10{n}_TSI_HAP_HI" for n in range(11, 20))]:
        a_recording(folder / "AudioWAV" / f"{name}.wav")
    return folder


def a_savee(folder: Path) -> Path:
    for name in ("DC/a01", "DC/sa01", "JE/a01", "JK/su15", "KL/n30"):
        a_recording(folder / "AudioData" / f"{name}.wav", rate=44_100)
    a_text(folder / "AudioData" / "Info.txt", "Speakers")
    return folder


def a_tess(folder: Path) -> Path:
    a_recording(folder / "OAF_neutral" / "OA_bite_neutral.wav", rate=24_414)
    a_recording(folder / "OAF_Pleasant_surprise" / "OAF_back_ps.wav", rate=24_414)
    a_recording(folder / "YAF_fear" / "YAF_back_fear.wav", rate=24_414)
    return folder


MELD_HEAD = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)


def a_meld(folder: Path) -> Path:
    rows = {
        "train": (
            '1,"Oh, hello.",Chandler,joy,positive,0,0,8,21,"00:16:16,059","00:16:21,731"',
            '2,"No.",The Interviewer,disgust,negative,125,3,8,21,"00:16:16,059","00:16:21,731"',
        ),
        "dev": (
            '1,"He’s lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"',
            '2,"What?",Monica,surprise,negative,1,0,4,7,"00:21:01,927","00:21:03,261"',
        ),
        "test": (
            '1,"Why?",Mark,anger,negative,0,0,3,19,"00:14:38,127","00:14:40,378"',
        ),
    }  # fmt: skip
    for part, lines in rows.items():
        a_text(folder / f"{part}_sent_emo.csv", MELD_HEAD, *lines)
    a_recording(folder / "train_splits" / "dia0_utt0.wav")
    a_recording(folder / "dev_splits_complete" / "dia0_utt0.flac")
    a_recording(folder / "dev_splits_complete" / "dia1_utt0.flac")
    a_recording(folder / "test" / "dia0_utt0.wav")
    a_recording(folder / "test" / "final_videos_testdia0_utt0.wav")
    return folder


def a_secap(folder: Path) -> Path:
    captions = {"tx_emotion_00201000015": "悲伤逆流成河", "tx_xiao_0100101000076": "心情平静"}
    a_text(
        folder / "dataset" / "fid2captions.json", json.dumps(captions, ensure_ascii=False, indent=4)
    )
    a_text(
        folder / "dataset" / "text.txt",
        "tx_emotion_00201000015 一年又一年,一日复一日。 ",
        "tx_xiao_0100101000076\t费尽心思",
    )
    for name in captions:
        a_recording(folder / "dataset" / "wav" / f"{name}.wav")
    return folder


MER_SPLITS = {0: "train", 8: "test", 11: "calibration", 72: "dev"}


def a_mer2024(folder: Path) -> Path:
    a_text(
        folder / "label-disdim.csv",
        "name,discrete,valence",
        *(f"sample_{n:08},worried,-1.5" for n in MER_SPLITS),
    )
    a_text(folder / "label-transcription.csv", "name,chinese", "sample_00000000,我哪知道啊！")
    a_text(
        folder / "final-EMER-reason.csv",
        "name,chinese,english",
        'sample_00000000,在视频中。,"In the audio, the tone is raised."',
        "sample_00000648,在视频中。,He roars.",
    )
    for n in [*MER_SPLITS, 648]:
        a_recording(folder / "audio" / f"sample_{n:08}.wav")
    return folder


MADE: dict[str, Callable[[Path], Path]] = {
    "cremad": a_cremad, "savee": a_savee, "tess": a_tess,
    "meld": a_meld, "secap": a_secap, "mer2024": a_mer2024,
}  # fmt: skip


def test_exported_names_are_stable() -> None:
    assert ugsd_lab.data.corpora.__all__ == [
        "BUNDLED_EMODB", "CORPORA", "EMOTIONS", "KNOWN_CORPORA", "SPLITS", "Clip", "Split",
        "load_corpora", "load_corpus", "read_samples",
    ]  # fmt: skip
    assert CORPORA == ("emodb", "ravdess", "nemo")
    assert (*CORPORA, *MADE) == KNOWN_CORPORA


def test_bundled_emodb_is_complete() -> None:
    clips = load_corpora(None)
    assert len(clips) == 535
    assert len({clip.speaker for clip in clips}) == 10
    assert len({clip.emotion for clip in clips}) == 7
    assert {clip.emotion for clip in clips} <= set(EMOTIONS)


def test_no_speaker_is_in_two_splits() -> None:
    assert all(len(found) == 1 for found in splits_by_speaker(load_corpora(None)).values())


@pytest.mark.parametrize("name", [name for name in MADE if name != "meld"])
def test_no_speaker_crosses_splits_in_other_corpora(name: str, tmp_path: Path) -> None:
    clips = load_corpus(name, MADE[name](tmp_path))
    assert all(len(found) == 1 for found in splits_by_speaker(clips).values())


@pytest.mark.parametrize("name", MADE)
def test_every_clip_is_named_labelled_and_readable(name: str, tmp_path: Path) -> None:
    clips = load_corpus(name, MADE[name](tmp_path))
    for clip in by_name(clips).values():
        assert clip.corpus == name
        assert clip.emotion in {*EMOTIONS, None}
        assert clip.split in SPLITS
        assert clip.syllables is None or clip.syllables > 0
        assert (clip.syllables is None) == (not clip.sentence)
        assert abs(len(read_samples(clip)) - 3200) <= 1
        assert pickle.loads(pickle.dumps(clip)) == clip
        assert isinstance(hash(clip), int)


def test_ravdess_names_are_read_as_published(tmp_path: Path) -> None:
    a_recording(tmp_path / "Actor_21" / "03-01-06-02-02-01-21.wav")
    (clip,) = load_corpus("ravdess", tmp_path)
    assert (clip.emotion, clip.intensity, clip.gender, clip.split) == (
        "fearful", "strong", "male", "test",
    )  # fmt: skip
    assert clip.syllables == len(["o", "a", "e", "i", "i", "y", "e", "oo"])


def test_nemo_rows_are_read_as_published(tmp_path: Path) -> None:
    a_recording(tmp_path / "SM0_sadness_3.wav")
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        "SM0_sadness_3.wav\tsadness\tTak.\ttak\t        SM0\tmale\t24\n",
        encoding="utf-8",
    )
    (clip,) = load_corpus("nemo", tmp_path)
    assert (clip.emotion, clip.speaker, clip.split, clip.language) == (
        "sad", "SM0", "dev", "Polish",
    )  # fmt: skip


def test_cremad_keeps_acted_emotion_and_listeners_votes(tmp_path: Path) -> None:
    clips = by_name(load_corpus("cremad", a_cremad(tmp_path)))
    neutral, happy = clips["1001_IEO_NEU_XX"], clips["1011_TSI_HAP_HI"]
    assert len(clips) == 10  # the soundless 1076_MTI_SAD_XX is left out
    assert (neutral.emotion, neutral.intensity, neutral.gender) == ("neutral", None, "male")
    assert (happy.emotion, happy.intensity, happy.gender) == ("happy", "strong", "female")
    assert happy.sentence == "The surface is slick."
    assert neutral.votes == {
        "angry": 0, "disgusted": 0, "fearful": 0, "happy": 1, "neutral": 10, "sad": 0,
    }  # fmt: skip
    assert {clips[f"10{n}_TSI_HAP_HI"].split for n in (12, 13, 14, 15, 16)} == {"train"}
    assert [clips[f"10{n}_TSI_HAP_HI"].split for n in (17, 18, 19)] == [
        "dev", "calibration", "test",
    ]  # fmt: skip


@pytest.mark.parametrize(("level", "intensity"), [("LO", "normal"), ("MD", "normal")])
def test_cremad_lower_levels_have_normal_intensity(
    level: str, intensity: str, tmp_path: Path
) -> None:
    a_cremad(tmp_path)
    a_recording(tmp_path / "AudioWAV" / f"1001_IEO_ANG_{level}.wav")
    row = f'"100002",5,0,0,0,0,0,"1001_IEO_ANG_{level}",5,1,"A"'
    a_text(tmp_path / "processedResults" / "tabulatedVotes.csv", CREMAD_VOTES, row)
    (clip,) = load_corpus("cremad", tmp_path)
    assert (clip.emotion, clip.intensity) == ("angry", intensity)


@pytest.mark.parametrize("flat", [False, True])
def test_savee_names_are_read_as_published(flat: bool, tmp_path: Path) -> None:
    a_savee(tmp_path)
    if flat:
        for path in sorted(tmp_path.rglob("*.wav")):
            path.rename(tmp_path / f"{path.parent.name}_{path.name}")
    clips = by_name(load_corpus("savee", tmp_path))
    assert {name: clip.emotion for name, clip in clips.items()} == {
        "DC_a01": "angry", "DC_sa01": "sad", "JE_a01": "angry",
        "JK_su15": "surprised", "KL_n30": "neutral",
    }  # fmt: skip
    assert {clip.speaker for clip in clips.values()} == {"DC", "JE", "JK", "KL"}
    assert {(clip.gender, clip.split) for clip in clips.values()} == {("male", "test")}


def test_tess_names_are_read_as_published(tmp_path: Path) -> None:
    clips = by_name(load_corpus("tess", a_tess(tmp_path)))
    assert {name: (clip.speaker, clip.emotion) for name, clip in clips.items()} == {
        "OA_bite_neutral": ("OAF", "neutral"),
        "OAF_back_ps": ("OAF", "surprised"),
        "YAF_back_fear": ("YAF", "fearful"),
    }
    assert clips["OAF_back_ps"].sentence == "Say the word back."
    assert {(clip.gender, clip.split) for clip in clips.values()} == {("female", "test")}


def test_meld_is_read_by_its_published_parts(tmp_path: Path) -> None:
    clips = by_name(load_corpus("meld", a_meld(tmp_path)))
    assert {name: (clip.split, clip.emotion) for name, clip in clips.items()} == {
        "train_dia0_utt0": ("train", "happy"),
        "dev_dia0_utt0": ("dev", "sad"),
        "dev_dia1_utt0": ("calibration", "surprised"),
        "test_dia0_utt0": ("test", "angry"),
    }
    first, last = clips["train_dia0_utt0"], clips["test_dia0_utt0"]
    assert (first.speaker, first.gender, first.sentence) == ("Chandler", "male", "Oh, hello.")
    assert (last.speaker, last.gender) == ("Mark", None)


def test_secap_has_captions_and_no_classes(tmp_path: Path) -> None:
    sad, calm = load_corpus("secap", a_secap(tmp_path))
    assert (sad.captions, calm.captions) == (("悲伤逆流成河",), ("心情平静",))
    assert (sad.speaker, calm.speaker) == ("tx_emotion_002", "tx_xiao_01001")
    assert (sad.emotion, sad.gender, sad.language, sad.split) == (None, None, "Chinese", "test")
    assert (sad.syllables, calm.syllables) == (10, 4)
    assert len(load_corpus("secap", tmp_path / "dataset")) == 2


def test_mer2024_joins_labels_words_and_descriptions(tmp_path: Path) -> None:
    clips = by_name(load_corpus("mer2024", a_mer2024(tmp_path)))
    whole, only_emer = clips["sample_00000000"], clips["sample_00000648"]
    assert whole.captions == ("In the audio, the tone is raised.",)
    assert (whole.emotion, whole.sentence, whole.syllables) == ("fearful", "我哪知道啊！", 5)
    assert (only_emer.emotion, only_emer.captions) == (None, ("He roars.",))
    assert clips["sample_00000008"].captions == ()
    assert {n: clips[f"sample_{n:08}"].split for n in MER_SPLITS} == MER_SPLITS


@pytest.mark.parametrize("table", ["label-disdim.csv", "final-EMER-reason.csv"])
def test_mer2024_and_emer_load_without_each_other(table: str, tmp_path: Path) -> None:
    a_mer2024(tmp_path)
    (tmp_path / table).unlink()
    assert len(load_corpus("mer2024", tmp_path)) == (
        2 if table.startswith("label") else len(MER_SPLITS)
    )


@pytest.mark.parametrize("name", KNOWN_CORPORA)
def test_folder_with_another_layout_is_refused(name: str, tmp_path: Path) -> None:
    a_recording(tmp_path / name / "what.wav")
    with pytest.raises(CorpusError, match=name):
        load_corpus(name, tmp_path / name)


@pytest.mark.parametrize("name", KNOWN_CORPORA)
def test_empty_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(CorpusError, match=name):
        load_corpus(name, tmp_path / name)


TABLES = [
    ("nemo", "data.tsv"),
    ("cremad", "VideoDemographics.csv"),
    ("cremad", "processedResults/tabulatedVotes.csv"),
    ("meld", "train_sent_emo.csv"),
    ("meld", "dev_sent_emo.csv"),
    ("meld", "test_sent_emo.csv"),
    ("secap", "dataset/fid2captions.json"),
    ("secap", "dataset/text.txt"),
]


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_missing_table_is_named_in_the_error(name: str, table: str, tmp_path: Path) -> None:
    if name in MADE:
        MADE[name](tmp_path)
        (tmp_path / table).unlink()
    with pytest.raises(CorpusError, match=Path(table).name):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        *TABLES,
        ("mer2024", "label-disdim.csv"),
        ("mer2024", "label-transcription.csv"),
        ("mer2024", "final-EMER-reason.csv"),
    ],
)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b'"' + b"a" * 200_000, b"a,b\n1\n", b"[[[[", b'{"a": 1}\n']
)
def test_damaged_table_is_named_in_the_error(
    name: str, table: str, content: bytes, tmp_path: Path
) -> None:
    if name in MADE:
        MADE[name](tmp_path)
    (tmp_path / table).write_bytes(content)
    with pytest.raises(CorpusError, match=Path(table).name):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "published", "damaged"),
    [
        ("cremad", "VideoDemographics.csv", '1001,51,"Male"', '1001,51,"M"'),
        ("cremad", "VideoDemographics.csv", "1001,51", "1092,51"),
        ("cremad", "processedResults/tabulatedVotes.csv", "1001_IEO_NEU_XX", "1001_IEO_NEU"),
        ("cremad", "processedResults/tabulatedVotes.csv", "1001_IEO_NEU_XX", "1001_XXX_NEU_XX"),
        ("cremad", "processedResults/tabulatedVotes.csv", "1001_IEO_NEU_XX", "../../1001_A_B_C"),
        ("cremad", "processedResults/tabulatedVotes.csv", '"100001",0,0', '"100001",0,-1'),
        ("cremad", "processedResults/tabulatedVotes.csv", '"100001"', '"1"'),
        ("cremad", "processedResults/tabulatedVotes.csv", '"100001",0,0', '"100001"\n"",0,0'),
        ("meld", "train_sent_emo.csv", "joy", "glee"),
        ("meld", "train_sent_emo.csv", "positive,0,0", "positive,0,x"),
        ("meld", "train_sent_emo.csv", "Oh, hello.", 'Oh, "hello.'),
        ("secap", "dataset/text.txt", "tx_emotion_00201000015 ", ""),
        ("secap", "dataset/text.txt", " 一年又一年,一日复一日。", ""),
        ("secap", "dataset/fid2captions.json", '"心情平静"', "7"),
        ("secap", "dataset/fid2captions.json", "tx_xiao_0100101000076", "../tx_xiao"),
        ("mer2024", "label-disdim.csv", "00000000,worried", "00000000,contempt"),
        ("mer2024", "label-disdim.csv", "sample_00000000,worried,-1.5", "sample_00000000"),
    ],
)
def test_damaged_row_is_refused(
    name: str, table: str, published: str, damaged: str, tmp_path: Path
) -> None:
    MADE[name](tmp_path)
    text = (tmp_path / table).read_text("utf-8")
    assert published in text
    (tmp_path / table).write_text(text.replace(published, damaged, 1), "utf-8")
    with pytest.raises(CorpusError):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cremad", "AudioWAV/1001_IEO_NEU_XX.wav"),
        ("meld", "dev_splits_complete/dia1_utt0.flac"),
        ("secap", "dataset/wav/tx_xiao_0100101000076.wav"),
        ("mer2024", "audio/sample_00000648.wav"),
    ],
)
def test_missing_recording_is_named_in_the_error(name: str, file: str, tmp_path: Path) -> None:
    MADE[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(CorpusError, match=Path(file).stem):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("savee", "DC/x01.wav"),
        ("savee", "XX_a01.wav"),
        ("tess", "OAF_back_bored.wav"),
        ("tess", "XAF_back_sad.wav"),
        ("tess", "OAF_back.wav"),
    ],
)
def test_recording_with_unknown_code_is_named(name: str, file: str, tmp_path: Path) -> None:
    a_recording(tmp_path / file)
    with pytest.raises(CorpusError, match=Path(file).stem):
        load_corpus(name, tmp_path)


@pytest.mark.parametrize("name", ["savee", "tess"])
def test_duplicate_clip_is_refused(name: str, tmp_path: Path) -> None:
    shutil.copytree(MADE[name](tmp_path / "once"), tmp_path / "twice")
    with pytest.raises(CorpusError, match="same clip"):
        load_corpus(name, tmp_path)


def test_every_known_corpus_with_a_folder_is_loaded(tmp_path: Path) -> None:
    for name, make in MADE.items():
        make(tmp_path / name)
    assert {clip.corpus for clip in load_corpora(tmp_path)} == {"emodb", *MADE}


def test_unknown_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="mer2024"):
        load_corpus("iemocap", tmp_path)


def test_data_folder_without_corpora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="ravdess"):
        load_corpora(tmp_path)


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    shutil.copy(BUNDLED_EMODB / "15a01Wa.opus", tmp_path)
    (clip,) = load_corpus("emodb", tmp_path)
    at_16k = read_samples(clip)
    samples, _ = soundfile.read(clip.path)
    soundfile.write(tmp_path / "15a01Wa.wav", np.repeat(samples, 3), 48_000)
    (tmp_path / "15a01Wa.opus").unlink()
    (again,) = load_corpus("emodb", tmp_path)
    assert abs(len(read_samples(again)) - len(at_16k)) <= 1


def test_damaged_recording_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "15a01Wa.opus").write_bytes(b"OggS and no more")
    (clip,) = load_corpus("emodb", tmp_path)
    with pytest.raises(CorpusError, match="15a01Wa"):
        read_samples(clip)


@pytest.mark.parametrize("name", MADE)
def test_damaged_sound_of_other_corpora_is_named(name: str, tmp_path: Path) -> None:
    clip = load_corpus(name, MADE[name](tmp_path))[0]
    clip.path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(CorpusError, match=clip.path.stem):
        read_samples(clip)


def test_recording_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "15a01Wa.wav", np.zeros(0), 16_000)
    (clip,) = load_corpus("emodb", tmp_path)
    with pytest.raises(CorpusError, match="no sound"):
        read_samples(clip)
