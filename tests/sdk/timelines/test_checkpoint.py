"""Timelines that are continued after kills at many points, and from no checkpoint of another."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ugsd_sdk import Captioner, Profile, Timeline
from ugsd_sdk.errors import CheckpointError

from tests.doubles.calls_on_tape import call_of

TURNS = 3
VARYING = ("latency_ms", "id", "receipts")

KILLED = """
import os, signal, sys
from ugsd_sdk import Captioner
from ugsd_sdk.timelines import checkpoint as module

kill_at, is_torn = int(sys.argv[3]), sys.argv[4] == "torn"
written, write = 0, os.write

def counting_write(file, data):
    global written
    written += data.startswith(b'{"channel":')
    if written == kill_at:
        if is_torn:
            write(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(file, data)

module.os.write = counting_write
with Captioner() as captioner:
    captioner.timeline(sys.argv[1], checkpoint=sys.argv[2])
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "call.flac"
    soundfile.write(path, call_of(TURNS), 16_000)
    return path


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner()


def essence(timeline: Timeline) -> dict[str, object]:
    """Return all of a timeline but times of the machine, and ids at random."""
    fields = json.loads(timeline.to_json(details=True))
    fields["recording_id"] = None
    for channel in fields["channels"]:
        for one in channel["utterances"]:
            for name in VARYING:
                one["caption"].pop(name)
    return fields


def test_killed_timelines_continue_to_an_equal_one(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "call.checkpoint"
    whole = captioner.timeline(recording)
    kept = []
    for kill_at, how in ((1, "whole"), (2, "torn"), (1, "torn")):
        command = [sys.executable, "-c", KILLED, str(recording), str(checkpoint), str(kill_at), how]
        killed = subprocess.run(command, check=False, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        kept.append(len(checkpoint.read_bytes().splitlines()))
    assert kept == [1, 3, 3]  # a torn line counts until it is dropped
    resumed = captioner.timeline(recording, checkpoint=checkpoint)
    assert essence(resumed) == essence(whole)
    assert resumed.recording_id in checkpoint.read_text()
    again = captioner.timeline(recording, checkpoint=checkpoint)
    assert again == resumed
    assert checkpoint.stat().st_mode & 0o777 == 0o600


def test_cut_checkpoints_continue_to_an_equal_timeline(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "cut.checkpoint"
    whole = captioner.timeline(recording, checkpoint=checkpoint)
    data = checkpoint.read_bytes()
    lines = [at for at, byte in enumerate(data) if byte == ord("\n")]
    cuts = [5, lines[0] + 1, lines[2] - 7, lines[-2] + 90, len(data) - 1]
    for cut in cuts:
        checkpoint.write_bytes(data[:cut])
        resumed = captioner.timeline(recording, checkpoint=checkpoint)
        assert essence(resumed) == essence(whole), cut


def test_given_profiles_learn_the_same_after_a_resume(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    profiles = [{"left": Profile(), "right": Profile()} for _ in range(2)]
    for given in profiles:
        captioner.timeline(recording, profile=given, checkpoint=tmp_path / "profiles.checkpoint")
    first, second = profiles
    assert first["left"].num_clips >= TURNS - 1
    assert first["left"].digest() == second["left"].digest()
    assert first["right"].digest() == second["right"].digest() != first["left"].digest()


def test_checkpoints_of_something_else_are_refused(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "call.checkpoint"
    captioner.timeline(recording, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    other = tmp_path / "other.flac"
    soundfile.write(other, call_of(1), 16_000)
    with pytest.raises(CheckpointError, match="another recording"):
        captioner.timeline(other, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=r"other settings \(seed\)"):
        captioner.timeline(recording, seed=7, checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=r"\(channels\)"):
        captioner.timeline(recording, channels=("a", "b"), checkpoint=checkpoint)
    known = Profile()
    captioner.caption(call_of(1)[:, 0], 16_000, profile=known)
    with pytest.raises(CheckpointError, match=r"\(profile\)"):
        captioner.timeline(recording, profile={"left": known}, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_other_files_are_never_overwritten(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    contents = [
        b"RIFF....",
        b'{"format":"notes"',
        b"notes\nmore\n",
        b'{"format":2}\n',
        b'{"format":"notes","more":1}\n',
        b"\x00" * 100,
    ]
    for content in contents:
        file = tmp_path / "precious"
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(CheckpointError, match="no timeline checkpoint"):
            captioner.timeline(recording, checkpoint=file)
        assert file.read_bytes() == content


def test_damage_in_the_middle_is_refused(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "call.checkpoint"
    captioner.timeline(recording, checkpoint=checkpoint)
    lines = checkpoint.read_bytes().splitlines(keepends=True)
    checkpoint.write_bytes(b"".join([lines[0], lines[1][:50] + b"\n", *lines[2:]]))
    with pytest.raises(CheckpointError, match="damaged"):
        captioner.timeline(recording, checkpoint=checkpoint)


def test_recordings_that_cannot_be_read_again_have_none(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    with recording.open("rb") as file, pytest.raises(CheckpointError, match="read again"):
        captioner.timeline(file, checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match="cannot be written"):
        captioner.timeline(recording, checkpoint="/proc/nowhere/c")


def test_arrays_and_bytes_have_checkpoints(captioner: Captioner, tmp_path: Path) -> None:
    samples = call_of(1)
    made = captioner.timeline(samples, 16_000, checkpoint=tmp_path / "c")
    assert captioner.timeline(samples, 16_000, checkpoint=tmp_path / "c") == made
    with pytest.raises(CheckpointError, match="another recording"):
        captioner.timeline(np.float32(0.5) * samples, 16_000, checkpoint=tmp_path / "c")


NAN = float("nan")


def vectors(*shape: int, value: float = 0.0) -> dict[str, object]:
    data = np.full(shape, value, "<f4").tobytes()
    return {"shape": shape, "data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("entry", {"channel": 9}),
        ("entry", {"start_s": NAN}),
        ("clip", {"encoder": "00"}),
        ("clip", {"embedding": vectors(2)}),
        ("clip", {"embedding": vectors(2048, value=NAN)}),
        ("clip", {"embedding": {"shape": [3], "data": "!!!!"}}),
        ("clip", {"embedding": {"shape": [3, 7], "data": ""}}),
        ("clip", {"voice": vectors(2)}),
        ("clip", {"windows": vectors(1, 2)}),
        ("clip", {"duration_s": NAN}),
        ("clip", {"femininity": float("inf")}),
        ("clip", {"arousal": NAN}),
        ("clip", {"min_clips": -5}),
        ("prosody", {"pitch_st": NAN}),
    ],
)
def test_crafted_content_is_refused_untouched(
    recording: Path, captioner: Captioner, tmp_path: Path, place: str, changes: dict[str, object]
) -> None:
    checkpoint, file = tmp_path / "crafted.checkpoint", tmp_path / "known.profile"
    known = Profile()
    captioner.caption(call_of(1)[:, 0], 16_000, profile=known)
    known.save(file)
    given = {"left": Profile.load(file)}
    captioner.timeline(recording, profile=given, checkpoint=checkpoint)
    lines = [json.loads(line) for line in checkpoint.read_bytes().splitlines()]
    entry = next(line for line in lines[1:] if line["channel"] == 0)
    parts = {"entry": entry, "clip": entry["clip"], "prosody": entry["clip"]["prosody"]}
    parts[place].update(changes)
    crafted = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    checkpoint.write_bytes(crafted)
    before, again = file.read_bytes(), Profile.load(file)
    with pytest.raises(CheckpointError, match="damaged"):
        captioner.timeline(recording, profile={"left": again}, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == crafted
    assert file.read_bytes() == before
    assert again.digest() == known.digest()


def test_files_that_others_reach_are_refused(
    recording: Path, captioner: Captioner, tmp_path: Path
) -> None:
    shared, link, target = tmp_path / "shared", tmp_path / "link", tmp_path / "target"
    shared.touch()
    shared.chmod(0o644)
    with pytest.raises(CheckpointError, match="others may read"):
        captioner.timeline(recording, checkpoint=shared)
    link.symlink_to(target)
    with pytest.raises(CheckpointError, match="symbolic link"):
        captioner.timeline(recording, checkpoint=link)
    assert not target.exists()
    assert not shared.read_bytes()
