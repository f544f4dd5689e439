"""The bundled pair on the command line: captions, the demo, and the log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import ugsd_sdk
from ugsd_sdk.cli import main

CLIPS = Path(ugsd_sdk.__file__).parent / "starter" / "clips"

pytestmark = pytest.mark.skipif(
    not (CLIPS / "clips.json").exists(), reason="the starter's files are not in this checkout"
)


def test_demo_runs_and_its_log_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--home", str(tmp_path / "home")]) == 0
    printed = capsys.readouterr()
    assert "no audio was" in printed.out
    sent = re.search(r"(\d+) bytes of blocks and (\d+) bytes of handshakes were", printed.out)
    logged = re.search(r"the log verifies: .* tokens, (\d+) bytes", printed.out)
    assert sent is not None
    assert logged is not None
    assert int(sent[1]) + int(sent[2]) == int(logged[1]), "both lines have the same sum"
    assert int(sent[2]) > 0, "a handshake was sent"
    assert "continuing without" not in printed.err
    assert main(["audit", "verify", "--home", str(tmp_path / "home")]) == 0


def test_bundled_clips_are_captioned_with_embedded_verifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted(map(str, CLIPS.glob("*.opus")))[:2]
    config = tmp_path / "ugsd.toml"
    config.write_text("threshold = 0.0\nmin_enrolment = 0\n")
    options = ["--json", "--details", "--verifier", "embedded", "--home", str(tmp_path / "home")]
    assert main(["caption", *options, "--config", str(config), *clips]) == 0
    captions = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [caption["path"] for caption in captions] == clips
    for caption in captions:
        assert caption["unverified_reason"] is None
        assert caption["text"]
        assert caption["usage"]["num_frames"] == len(caption["receipts"]) > 0


def test_marker_of_sent_words_is_explained_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sorted(map(str, CLIPS.glob("*.opus")))[:2]
    config = tmp_path / "ugsd.toml"
    config.write_text("threshold = 0.0\nmin_enrolment = 0\n")
    options = ["--verifier", "embedded", "--home", str(tmp_path / "home"), "--config", str(config)]
    assert main(["caption", *options, *clips]) == 0
    assert capsys.readouterr().out.count("[sent to the verifier]") == 1
