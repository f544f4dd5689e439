"""The embedded verifier's process: its announcement, its log and its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ugsd_sdk.connection.embedded import EmbeddedVerifier
from ugsd_sdk.errors import VerifierUnreachable

ANNOUNCE = 'print(\'{"url": "ws://127.0.0.1:9", "public_key": "k"}\', flush=True)'


class Child(EmbeddedVerifier):
    """An embedded verifier that runs other code."""

    def __init__(self, home: Path, code: str) -> None:
        super().__init__(home)
        self._code = code

    def _command(self) -> list[str]:
        return [sys.executable, "-c", self._code]

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self._process


def test_embedded_verifier_ends_with_its_standard_input(tmp_path: Path) -> None:
    child = Child(tmp_path / "home", f"{ANNOUNCE}\nimport sys; sys.stdin.read()")
    announced = child.start(20)
    process = child.process
    assert process is not None
    assert (announced.url, announced.public_key) == ("ws://127.0.0.1:9", "k")
    child.close()
    assert process.returncode == 0
    child.close()


def test_child_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ugsd_sdk.connection.embedded._STOP_TIMEOUTS_S", (0.2, 0.2, 2.0))
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN)"
    child = Child(tmp_path / "home", f"{stubborn}\n{ANNOUNCE}\nwhile True: time.sleep(1)")
    child.start(20)
    process = child.process
    assert process is not None
    child.close()
    assert process.returncode == -9


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit('no model')",
        "print('not json', flush=True)",
        "print('[]', flush=True)",
        "print('{}', flush=True)",
        "print('9' * 100_000, flush=True)",
        "import time; time.sleep(60)",
    ],
)
def test_child_without_valid_announcement_is_ended(tmp_path: Path, code: str) -> None:
    child = Child(tmp_path / "home", code)
    started = time.monotonic()
    with pytest.raises(VerifierUnreachable, match=r"embedded-verifier\.log"):
        child.start(1.0)
    assert child.process is None
    assert time.monotonic() - started < 5


def test_standard_error_of_child_is_logged(tmp_path: Path) -> None:
    with pytest.raises(VerifierUnreachable):
        Child(tmp_path / "home", "raise SystemExit('no model')").start(10)
    log = tmp_path / "home" / "embedded-verifier.log"
    assert "no model" in log.read_text()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_log_of_child_is_private(tmp_path: Path) -> None:
    log = tmp_path / "home" / "embedded-verifier.log"
    for _ in range(2):
        with pytest.raises(VerifierUnreachable):
            Child(tmp_path / "home", "raise SystemExit('no model')").start(10)
        assert log.stat().st_mode & 0o777 == 0o600
        log.chmod(0o644)  # the mode of an earlier release


def test_unusable_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(VerifierUnreachable, match="home"):
        EmbeddedVerifier(tmp_path / "home").start(1)


def test_child_ignores_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ugsd_server.py").write_text('print(\'{"url": "ws://evil", "public_key": ""}\')')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` does
    verifier = EmbeddedVerifier(tmp_path / "home")
    announced = verifier.start(30)
    verifier.close()
    assert announced.url.startswith("ws://127.0.0.1:")
