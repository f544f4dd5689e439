"""Files planted by another user are not used, even with a private mode."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.errors import ReportRejected, WitnessUnavailable
from ugsd_privacy.keys.witness import open_witness
from ugsd_privacy.reports.known_logs import KnownLogs
from ugsd_sdk.cli import main
from ugsd_sdk.errors import ConfigError, ProfileError
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT
from ugsd_sdk.profile.profile_file import ProfileFile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice
from ugsd_sdk.settings.config import Settings

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files to other users"
)

OTHER_USER = 12345
PLANTED = "belongs to user id 12345"


def plant(path: Path) -> None:
    """Give a file, or a folder with its contents, to another user."""
    for each in [path, *path.rglob("*")]:
        os.chown(each, OTHER_USER, OTHER_USER, follow_symlinks=False)


def test_planted_home_is_not_used(
    new_captioner: Any, voice: NDArray[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_captioner() as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    home = tmp_path / "home"
    os.chown(home, OTHER_USER, OTHER_USER)
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
        assert caption.usage.num_blocks == 0
        assert caption.unverified_reason is not None
    for command in ("show", "verify", "key", "report"):
        assert main(["audit", command, "--home", str(home)]) == 1
        assert PLANTED in capsys.readouterr().err


def test_planted_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text("user = 'ada'\n")
    assert Settings.load(path).user == "ada"
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="others may write"):
        Settings.load(path)
    path.chmod(0o600)
    plant(path)
    with pytest.raises(ConfigError, match=PLANTED):
        Settings.load(path)


def test_planted_speaker_profile_is_not_used(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "habits", "ada", b"ears")
    clip = ClipVoice(np.ones(3, dtype=np.float32))
    file.add(clip, DEFAULT_ENROLMENT)
    assert file.open().count == 1
    plant(file.path)
    assert file.open() is EMPTY_PROFILE
    plant(tmp_path / "habits")
    with pytest.raises(ProfileError, match=PLANTED):
        ProfileFile(tmp_path / "habits", "ada", b"ears").add(clip, DEFAULT_ENROLMENT)


def test_planted_witness_is_refused(tmp_path: Path) -> None:
    open_witness(tmp_path / "witness")
    os.chown(tmp_path / "witness" / "witness.sqlite3", OTHER_USER, OTHER_USER)
    with pytest.raises(WitnessUnavailable, match=PLANTED):
        open_witness(tmp_path / "witness")
    os.chown(tmp_path / "witness" / "witness.sqlite3", 0, 0)
    os.chown(tmp_path / "witness", OTHER_USER, OTHER_USER)
    with pytest.raises(WitnessUnavailable, match=PLANTED):
        open_witness(tmp_path / "witness")


def test_planted_known_logs_are_refused(tmp_path: Path) -> None:
    KnownLogs().save(tmp_path / "kept.json")
    plant(tmp_path / "kept.json")
    with pytest.raises(ReportRejected, match=PLANTED):
        KnownLogs.load(tmp_path / "kept.json")
