"""A program that another user runs by mistake creates nothing in a home folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.errors import LedgerUnavailable
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.errors import ProfileError
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.profile.matching import DEFAULT_ENROLMENT
from ugsd_sdk.profile.profile_file import ProfileFile
from ugsd_sdk.profile.speaker_profile import ClipVoice

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can give files to other users"
)

_OTHER_USER = 12345


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    os.chown(folder, _OTHER_USER, _OTHER_USER)
    return folder


def test_refused_run_creates_no_home(theirs: Path) -> None:
    home = theirs / ".ugsd"
    with pytest.raises(LedgerUnavailable, match="run this as user id 12345"):
        UserEgress(Home.from_path(home), BudgetLimits.without_caps(), "ada").open()
    with pytest.raises(LedgerUnavailable, match="run this as user id 12345"):
        Ledger(home / "ledger", create=True).open()
    with pytest.raises(ProfileError, match="run this as user id 12345"):
        ProfileFile(home / "habits", "ada", b"ears").add(
            ClipVoice(np.zeros(3, dtype=np.float32)), DEFAULT_ENROLMENT
        )
    assert not list(theirs.iterdir())
