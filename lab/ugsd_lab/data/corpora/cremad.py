"""CREMA-D: English, 91 actors, six emotions, and listeners' votes on each clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ugsd_lab.data.corpora.clip import Clip, Split
from ugsd_lab.data.corpora.layout import find_recording, meaning, name_parts, read_table
from ugsd_lab.errors import CorpusError

__all__ = ["load_cremad"]

_EMOTIONS = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fearful",
    "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
_VOTES = {
    "A": "angry", "D": "disgusted", "F": "fearful", "H": "happy", "N": "neutral", "S": "sad",
}  # fmt: skip
_INTENSITIES: dict[str, Literal["normal", "strong"] | None] = {
    "LO": "normal", "MD": "normal", "HI": "strong", "XX": None,
}  # fmt: skip
_GENDERS: dict[str, Literal["female", "male"]] = {"Female": "female", "Male": "male"}
_SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_HELD_OUT: dict[str, Split] = {"7": "dev", "8": "calibration", "9": "test", "0": "test"}
_WITHOUT_SOUND = {"1076_MTI_SAD_XX"}


def load_cremad(folder: Path) -> Iterator[Clip]:
    """Load CREMA-D, Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244. ``folder`` is a copy of the
    repository CheyneyComputerScience/CREMA-D; three parts of it are read.

    - ``AudioWAV/1001_IEO_ANG_HI.wav``: actor, sentence, acted emotion, level. HI is strong, LO and
      MD are normal, XX is unspecified. One clip that the release lists as soundless is skipped.
    - ``VideoDemographics.csv``: an actor's sex.
    - ``processedResults/tabulatedVotes.csv``: answers per clip. Its row labels are 100000 times the
      kind of presentation plus the clip's number; only kind 1, voice alone, is read. The table
      counts final answers whose first click came within ten seconds.

    ``emotion`` is the acted one, even if most listeners chose another.

    Split by the last digit of the actor's number: 9 and 0 test, 8 calibration, 7 dev.
    """
    demographics = folder / "VideoDemographics.csv"
    genders = {
        row["ActorID"]: meaning(row["Sex"], _GENDERS, demographics)
        for row in read_table(demographics, ("ActorID", "Sex"))
    }
    tabulated = folder / "processedResults" / "tabulatedVotes.csv"
    for row in read_table(tabulated, ("", "fileName", *_VOTES)):
        name = row["fileName"]
        if not _by_voice_alone(row[""], tabulated) or name in _WITHOUT_SOUND:
            continue
        actor, sentence, emotion, level = name_parts(
            name, "actor_sentence_emotion_level", tabulated
        )
        yield Clip(
            path=find_recording(folder / "AudioWAV", name),
            corpus="cremad",
            speaker=actor,
            gender=meaning(actor, genders, demographics),
            language="English",
            emotion=meaning(emotion, _EMOTIONS, tabulated),
            intensity=meaning(level, _INTENSITIES, tabulated),
            sentence=meaning(sentence, _SENTENCES, tabulated),
            split=_HELD_OUT.get(actor[-1], "train"),
            votes=_votes(row, tabulated),
        )


def _by_voice_alone(label: str, table: Path) -> bool:
    if len(label) != 6 or not label.isdecimal():
        raise CorpusError(
            f"{table}: {label!r} is not a row label; copy the table again from the corpus"
        )
    return label[0] == "1"


def _votes(row: dict[str, str], table: Path) -> dict[str, int]:
    if not all(row[letter].isdecimal() for letter in _VOTES):
        raise CorpusError(f"{table}: the votes of {row['fileName']!r} are not counts")
    return {emotion: int(row[letter]) for letter, emotion in _VOTES.items()}
