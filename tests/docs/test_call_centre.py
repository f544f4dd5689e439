"""The example of a folder of calls: its table, its plot, and that it is continued."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import soundfile
from rich.progress import Progress
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.timelines.timeline import Timeline

from tests.docs.example_modules import example
from tests.doubles.calls_on_tape import call_between, speaker_clips

call_centre = example("call_centre")
EXCITED, CALM = ("a04Ab", "a07Fb"), ("b01Lc", "a01Nc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of a customer who calms down, and of one who says little; and files that are no
    calls."""
    path = tmp_path_factory.mktemp("calls")
    (agent,) = speaker_clips("15", "a01Nb")
    calms_down = speaker_clips("16", *EXCITED * 3, *CALM * 3)
    soundfile.write(path / "calms-down.flac", call_between([agent] * 12, calms_down), 16_000)
    soundfile.write(path / "mono.wav", agent, 16_000)
    soundfile.write(path / "short.flac", call_between([agent], calms_down[-1:]), 16_000)
    (path / "damaged.wav").write_bytes(b"RIFF")
    (path / "notes.txt").write_text("not a recording")
    return path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["call_centre.py", str(folder)])
    monkeypatch.setenv("COLUMNS", "200")
    call_centre.main()


def test_calls_are_continued_and_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "timelines"
    with monkeypatch.context() as patch:

        def interrupt(*_: object, completed: float, **__: object) -> None:
            if completed > 40:
                raise KeyboardInterrupt

        patch.setattr(Progress, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(folder, monkeypatch)
    assert (out / "calms-down.checkpoint").stat().st_size > 0
    assert not (out / "calms-down.json").exists()
    capsys.readouterr()

    run(folder, monkeypatch)
    printed = capsys.readouterr().out
    first, *others = (line for line in printed.splitlines() if line.startswith("│"))
    assert "│ calms-down │ 1:03" in first
    assert "calmer, lower, quieter" in first
    assert "0:33 from happy to bored" in first
    assert ["no customer is heard" in line for line in others] == [True, False]
    assert "damaged.wav: " in printed
    assert not list(out.glob("*.checkpoint"))

    def forbid(*_: object, **__: object) -> Timeline:
        raise AssertionError("the timeline was made already")

    with monkeypatch.context() as patch:
        (folder / "damaged.wav").unlink()
        patch.setattr(Captioner, "timeline", forbid)
        run(folder, monkeypatch)
    again = capsys.readouterr().out
    assert first in again
    drawn = ElementTree.parse(out / "calls.svg")
    assert drawn.getroot().tag.endswith("svg")
