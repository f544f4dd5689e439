"""Agreement of captions with what people wrote."""

from __future__ import annotations

from math import isnan
from pathlib import Path

from ugsd_lab.data.human_captions import HumanCaption
from ugsd_lab.evaluation.claim_printing import human_markdown
from ugsd_lab.evaluation.human_agreement import human_agreement
from ugsd_sdk.attributes.length import CaptionLength

from tests.lab.evaluation.spoken_claims import ScriptedCaption, ScriptedSource, attributes

TEXTS = {
    "a": "语速很快，内心愤怒",
    "b": "心情愉快",
    "c": "语速缓慢，声音低沉，难过",
    "d": "He smiles. In the audio, the voice is loud and angry. In the text, he is sad.",
}


def quiet(stage: str, done: int, of: int, note: str) -> None:
    """Progress that is ignored."""


def test_attributes_are_compared_where_both_name_them() -> None:
    def script(path: Path, length: CaptionLength) -> ScriptedCaption:
        assert length is CaptionLength.RICH
        pitch = {"pitch": "medium"} if path.stem == "c" else {}
        return ScriptedCaption("", attributes({"emotion": "angry", "pace": "fast"} | pitch))

    human = [HumanCaption(Path(f"{name}.wav"), text) for name, text in TEXTS.items()]
    found = human_agreement(ScriptedSource(script), human, quiet, length=CaptionLength.RICH)
    by_name = {one.attribute: one for one in found}
    emotion, pace, pitch = by_name["emotion"], by_name["pace"], by_name["pitch"]
    assert (emotion.described, emotion.compared, emotion.agreement) == (4, 4, 0.5)
    assert emotion.most_frequent == 0.5
    assert (pace.described, pace.compared, pace.agreement) == (2, 2, 0.5)
    assert (pitch.described, pitch.compared) == (1, 0)
    assert isnan(pitch.agreement)
    table = human_markdown(found)
    assert "out-of-domain" in table
    assert "| emotion | 4 | 4 | 0.50 | 0.50 |" in table
