"""MELD: English, dialogue of the television series Friends, seven emotions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ugsd_lab.data.corpora.clip import Clip, Split
from ugsd_lab.data.corpora.layout import find_recording, meaning, read_table
from ugsd_lab.errors import CorpusError

__all__ = ["load_meld"]

_EMOTIONS = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry",
    "surprise": "surprised", "fear": "fearful", "disgust": "disgusted",
}  # fmt: skip
_LEADS: dict[str, Literal["female", "male"]] = {
    "Monica": "female", "Phoebe": "female", "Rachel": "female",
    "Chandler": "male", "Joey": "male", "Ross": "male",
}  # fmt: skip
_FOLDERS: dict[Split, str] = {
    "train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test",
}  # fmt: skip
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_WITHOUT_SOUND = {"train_dia125_utt3", "dev_dia110_utt7"}


def load_meld(folder: Path) -> Iterator[Clip]:
    """Load MELD, Poria et al. 2019, doi:10.18653/v1/P19-1050. The release (declare-lab/MELD) holds
    video: extract its sound as WAV or FLAC under the same names, for example with
    ``ffmpeg -i dia0_utt0.mp4 -vn -ac 1 -ar 16000 dia0_utt0.wav``.

    - ``train_sent_emo.csv``, ``dev_sent_emo.csv``, ``test_sent_emo.csv``: words, speaker, emotion,
      numbers of dialogue and utterance.
    - ``train_splits/dia0_utt0.wav``, ``dev_splits_complete/``, ``output_repeated_splits_test/``,
      the release's own folders; ``train/``, ``dev/`` and ``test/`` are read too. Two clips, one
      damaged and one absent in the release, are skipped, and recordings without a row are not read.

    Expect laughter, music and clips that are cut wrongly. Perceived gender is known for the six
    leads, who speak five clips in six. A name such as "All" or "Waiter" is not one person.

    Split as published, except that dev dialogues of odd number are calibration. The published split
    is by dialogue: the six leads speak in every part, so results on MELD are not on unknown
    speakers.
    """
    for part in _FOLDERS:
        table = folder / f"{part}_sent_emo.csv"
        sound = _sound(folder, part)
        for row in read_table(table, _COLUMNS):
            dialogue, utterance = row["Dialogue_ID"], row["Utterance_ID"]
            if not (dialogue.isdecimal() and utterance.isdecimal()):
                raise CorpusError(
                    f"{table}: {dialogue!r}, {utterance!r} do not number an utterance"
                )
            file = f"dia{dialogue}_utt{utterance}"
            name = f"{part}_{file}"
            if name in _WITHOUT_SOUND:
                continue
            yield Clip(
                path=find_recording(sound, file),
                corpus="meld",
                speaker=row["Speaker"],
                gender=_LEADS.get(row["Speaker"]),
                language="English",
                emotion=meaning(row["Emotion"], _EMOTIONS, table),
                intensity=None,
                sentence=row["Utterance"],
                split="calibration" if part == "dev" and int(dialogue) % 2 else part,
                name=name,
            )


def _sound(folder: Path, part: Split) -> Path:
    published = folder / _FOLDERS[part]
    return published if published.is_dir() else folder / part
