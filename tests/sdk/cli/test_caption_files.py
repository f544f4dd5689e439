"""``ugsd caption`` with folders, patterns, standard input, formats, files and interruptions."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.files.atomic_files import is_temporary
from ugsd_sdk.caption import Caption
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import VerifierUnreachable
from ugsd_sdk.users.models import Models

from tests.sdk.exports.subtitle_readers import read_srt, read_vtt

Printed = pytest.CaptureFixture[str]
BUNDLED = Path(__file__).parents[3] / "sdk" / "ugsd_sdk" / "starter" / "clips"


@pytest.fixture
def folder(
    tmp_path: Path,
    voice: NDArray[np.float32],
    drafter: ScriptedDrafter,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder of clips, and a command that loads a drafter that needs no weights."""
    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "clips"
    for name in ("a10.wav", "a9.WAV", "ben/b.wav", ".hidden.wav", ".cache/c.wav"):
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, voice, 16_000, format="WAV")
    (made / "notes.txt").write_text("no clip")
    (made / "ben" / "loop").symlink_to(made, target_is_directory=True)
    return made


@pytest.fixture
def captioned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The name and the user of each clip that is captioned."""
    seen: list[tuple[str, str | None]] = []
    real: Callable[..., Caption] = Captioner.caption

    def caption(self: Captioner, clip: Any, *given: Any, **options: Any) -> Caption:
        seen.append((Path(str(clip)).name, options.get("user")))
        return real(self, clip, *given, **options)

    monkeypatch.setattr(Captioner, "caption", caption)
    return seen


def _paths(text: str) -> list[str]:
    return [Path(json.loads(line)["path"]).name for line in text.splitlines()]


@pytest.mark.parametrize("argument", ["clips", "clips/", "cl*s"])
def test_folder_stands_for_its_clips(folder: Path, argument: str, capsys: Printed) -> None:
    assert main(["caption", "--json", argument]) == 0
    assert _paths(capsys.readouterr().out) == ["a9.WAV", "a10.wav", "b.wav"]


def test_pattern_stands_for_its_matches(folder: Path, capsys: Printed) -> None:
    assert main(["caption", "--json", "clips/*.wav", "clips/*/b.wav"]) == 0
    assert _paths(capsys.readouterr().out) == ["a10.wav", "b.wav"]
    (folder / "[x].wav").write_bytes((folder / "a10.wav").read_bytes())
    assert main(["caption", "--json", "clips/[x].wav"]) == 0, "a name that exists is no pattern"
    assert main(["caption", "clips/*.flac"]) == 1
    assert "clips/*.flac: cannot be opened" in capsys.readouterr().err


def test_standard_input_is_a_clip(
    folder: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = (folder / "a10.wav").read_bytes()
    raw = soundfile.read(folder / "a10.wav", dtype="int16")[0].tobytes()
    texts = []
    for data, options in ((encoded, []), (raw, ["--raw", "16000"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["caption", "--json", *options, "-"]) == 0
        caption = Caption.from_json(capsys.readouterr().out)
        assert caption.path == "-"
        texts.append(caption.text)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("data", "message"), [(b"", "no bytes"), (b"not audio", "ffmpeg")])
def test_bad_standard_input_is_named(
    data: bytes, message: str, folder: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["caption", "-"]) == 1
    assert message in capsys.readouterr().err


def test_torn_raw_samples_are_refused(
    folder: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"123")))
    assert main(["caption", "--raw", "16000", "-"]) == 1
    assert "3 bytes, which are no samples of 16 bits" in capsys.readouterr().err


def test_formats_on_standard_output(folder: Path, capsys: Printed) -> None:
    clip = "clips/a10.wav"
    assert main(["caption", "--format", "vtt", clip]) == 0
    (note,), (cue,) = read_vtt(capsys.readouterr().out.encode())
    assert "a10.wav" in note
    assert main(["caption", "--format", "srt", clip]) == 0
    assert read_srt(capsys.readouterr().out.encode())[0].text == cue.text
    assert main(["caption", "--format", "csv", "clips"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""), strict=True))
    assert [Path(row["path"]).name for row in rows] == ["a9.WAV", "a10.wav", "b.wav"]
    assert [row["text"] for row in rows] == [cue.text] * 3


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_interrupted_file_is_continued(
    kind: str, folder: Path, captioned: list[Any], capsys: Printed
) -> None:
    whole, out = Path(f"whole.{kind}"), Path(f"out.{kind}")
    assert main(["caption", "clips", "--out", str(whole)]) == 0
    lines = whole.read_bytes().splitlines(keepends=True)
    kept = len(lines) - 2
    partial = Path(f"{out}.partial")
    partial.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
    captioned.clear()
    assert main(["caption", "clips", "--out", str(out)]) == 2, "it would lose what is there"
    assert "--resume to continue it" in capsys.readouterr().err
    assert main(["caption", "clips", "--out", str(out), "--resume"]) == 0
    assert [name for name, _ in captioned] == ["a10.wav", "b.wav"]
    assert not partial.exists()
    new = out.read_bytes().splitlines(keepends=True)
    assert len(new) == len(lines)
    assert new[:kept] == lines[:kept]
    captioned.clear()
    assert main(["caption", "clips", "--out", str(out), "--resume"]) == 0
    assert captioned == [], "nothing is left, and no model is loaded"


def test_failed_clips_are_tried_again(folder: Path, captioned: list[Any]) -> None:
    bad = folder / "bad.wav"
    bad.write_bytes(b"not audio")
    assert main(["caption", "clips", "--out", "out.jsonl"]) == 1
    assert sum("error" in line for line in Path("out.jsonl").read_text().splitlines()) == 1
    shutil.copy(folder / "a10.wav", bad)
    captioned.clear()
    assert main(["caption", "clips", "--out", "out.jsonl", "--resume"]) == 0
    assert [name for name, _ in captioned] == ["bad.wav"]
    assert len(list(map(Caption.from_json, Path("out.jsonl").read_text().splitlines()))) == 4


@pytest.mark.parametrize("content", ["a,b\n1,2\n", '{"a": 1}\n', "\x00\n", "[" * 100_000 + "\n"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_foreign_file_is_not_continued(
    kind: str, content: str, folder: Path, capsys: Printed
) -> None:
    out = Path(f"out.{kind}")
    out.write_text(content)
    assert main(["caption", "clips", "--out", str(out), "--resume"]) == 1
    assert "line 1 of" in capsys.readouterr().err
    assert out.read_text() == content


@pytest.mark.parametrize("row", ['"a\n', '"a"b\n', "a,b\n"])
def test_damaged_row_is_not_continued(row: str, folder: Path, capsys: Printed) -> None:
    assert main(["caption", "clips/a9.WAV", "--out", "out.csv"]) == 0
    with Path("out.csv").open("a") as out:
        out.write(row)
    content = Path("out.csv").read_text()
    assert main(["caption", "clips", "--out", "out.csv", "--resume"]) == 1
    assert "line 3 of" in capsys.readouterr().err
    assert Path("out.csv").read_text() == content


def test_folder_gets_a_file_per_clip(folder: Path, captioned: list[Any], capsys: Printed) -> None:
    shutil.copy(folder / "a10.wav", folder / "a10.wave")
    assert main(["caption", "clips", "--format", "vtt", "--out", "subs/"]) == 0
    made = sorted(path.relative_to("subs").as_posix() for path in Path("subs").rglob("*.vtt"))
    assert made == ["a10.wav.vtt", "a10.wave.vtt", "a9.vtt", "ben/b.vtt"]
    assert not any(is_temporary(path.name) for path in Path("subs").rglob("*"))
    read_vtt(Path("subs/a9.vtt").read_bytes())
    Path("subs/a9.vtt").unlink()
    captioned.clear()
    assert main(["caption", "clips", "--format", "vtt", "--out", "subs"]) == 2
    assert main(["caption", "clips", "--format", "vtt", "--out", "subs", "--resume"]) == 0
    assert [name for name, _ in captioned] == ["a9.WAV"]
    assert main(["caption", "clips", "--format", "vtt", "--out", "subs", "--force"]) == 0
    assert len(captioned) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clips", "--format", "vtt"], "about one recording"),
        (["clips", "--out", "captions.xyz"], "add --format"),
        (["clips/a9.WAV", "--json", "--out", "clips/a9.WAV"], "is one of the clips"),
        (["clips/a9.WAV", "--json", "--out", "link.jsonl"], "is one of the clips"),
        (["clips", "--out", "there.csv"], "there.csv exists"),
        (["clips", "--out", "x.vtt", "--resume"], "about one recording"),
        (["clips", "--out", "x.txt", "--resume"], "continues a file of jsonl or csv"),
        (["clips", "--resume"], "go with --out"),
        (["clips", "--json", "--format", "csv"], "--json is --format jsonl"),
        (["clips", "--user", "ada", "--user-from", "file"], "leave out --user"),
        (["-", "-"], "only once"),
        (["clips", "--jobs", "0"], "--jobs"),
        (["clips/ben", "copy/ben", "--format", "srt", "--out", "subs/"], "one file"),
        (["odd", "--user-from", "folder"], "invisible character"),
    ],
)
def test_options_that_do_not_fit(
    arguments: list[str], message: str, folder: Path, captioned: list[Any], capsys: Printed
) -> None:
    Path("link.jsonl").symlink_to(folder / "a9.WAV")
    Path("there.csv").touch()
    shutil.copytree(folder / "ben", "copy/ben", symlinks=True)
    Path("odd/\x1b").mkdir(parents=True)
    shutil.copy(folder / "a10.wav", "odd/\x1b/a.wav")
    before = (folder / "a9.WAV").read_bytes()
    assert main(["caption", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert captioned == []
    assert (folder / "a9.WAV").read_bytes() == before


def test_empty_folder_is_named(folder: Path, capsys: Printed) -> None:
    Path("empty").mkdir()
    assert main(["caption", "empty", "clips/a9.WAV", "--json"]) == 1
    printed = capsys.readouterr()
    assert "empty: holds no audio file" in printed.err
    assert _paths(printed.out) == ["a9.WAV"]


@pytest.mark.parametrize(
    ("choice", "users"),
    [("folder", ["clips", "clips", "ben"]), ("file", ["a9", "a10", "b"])],
)
def test_users_are_named_by_path(
    choice: str, users: list[str], folder: Path, captioned: list[Any]
) -> None:
    assert main(["caption", "clips", "--user-from", choice]) == 0
    assert [user for _, user in captioned] == users


def test_clips_of_a_user_stay_in_order(folder: Path, captioned: list[Any]) -> None:
    for index in range(6):
        shutil.copy(folder / "a10.wav", folder / "ben" / f"c{index}.wav")
    assert main(["caption", "clips", "--user-from", "folder", "--jobs", "4", "--json"]) == 0
    bens = [name for name, user in captioned if user == "ben"]
    assert bens == ["b.wav", *(f"c{index}.wav" for index in range(6))]
    assert len(captioned) == 9


def test_jobs_lose_and_double_no_clip(folder: Path, capsys: Printed) -> None:
    assert main(["caption", "clips", "clips", "--jobs", "3", "--json"]) == 0
    assert sorted(_paths(capsys.readouterr().out)) == sorted(["a9.WAV", "a10.wav", "b.wav"] * 2)


def test_fault_of_the_model_ends_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    from ugsd_sdk.errors import ModelError

    def fail(self: Captioner, clip: object, *given: object, **options: object) -> Caption:
        raise ModelError("the drafter is damaged: reinstall")

    monkeypatch.setattr(Captioner, "caption", fail)
    assert main(["caption", "clips", "--jobs", "2"]) == 1
    assert capsys.readouterr().err == "ugsd: the drafter is damaged: reinstall\n"


def test_each_named_user_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, captioned: list[Any], capsys: Printed
) -> None:
    waits: list[tuple[str | None, float]] = []

    def wait(self: Captioner, timeout_s: float = 30.0, *, user: str | None = None) -> None:
        waits.append((user, timeout_s))
        if user == "clips":
            raise LedgerUnavailable("it is locked")

    monkeypatch.setattr(Captioner, "wait_until_connected", wait)
    assert main(["caption", "clips", "--user-from", "folder", "--jobs", "2"]) == 0
    assert sorted(user for user, _ in waits if user) == ["ben", "clips"]
    assert len({timeout_s for _, timeout_s in waits}) == 1
    assert "continuing for the user clips without the verifier" in capsys.readouterr().err
    assert len(captioned) == 3


def test_lost_verifier_is_waited_for_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, captioned: list[Any], capsys: Printed
) -> None:
    def wait(self: Captioner, timeout_s: float = 30.0, *, user: str | None = None) -> None:
        raise VerifierUnreachable("nobody answers")

    monkeypatch.setattr(Captioner, "wait_until_connected", wait)
    assert main(["caption", "clips", "--user-from", "file"]) == 0
    assert capsys.readouterr().err.count("without the verifier") == 1
    assert len(captioned) == 3


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_keeps_what_is_done(number: int, code: int, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    clip = next(BUNDLED.glob("*.opus"))
    for index in range(300):
        (clips / f"{index}.opus").symlink_to(clip)
    command = [sys.executable, "-m", "ugsd_sdk", "caption", "clips", "--out", "out.csv"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    partial = tmp_path / "out.csv.partial"
    ends_s = time.monotonic() + 60
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 2):
        assert time.monotonic() < ends_s
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code
    assert said.decode().count("\n") == 1
    assert "run the same command with --resume" in said.decode()
    lines = partial.read_bytes().decode()
    assert lines.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(lines, newline=""), strict=True))
    assert [row["path"] for row in rows] == [f"clips/{n}.opus" for n in range(len(rows))]
    assert not (tmp_path / "out.csv").exists()
