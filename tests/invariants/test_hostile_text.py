"""Foreign text is printed as plain text by every command: no escape, no markup, no link."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.output.plain_text import is_visible
from ugsd_sdk.cli import main as ugsd
from ugsd_server.cli import main as server

Capsys = pytest.CaptureFixture[str]
Run = Callable[[str, Path], int]

NAMES = {
    "close": "[/b]",
    "link": "[link=http://evil.example]bob[/link]",
    "style": "[bold red]bob",
    "emoji": ":warning:",
}
"""Markup of rich; each may be in a user's name."""
TRICKS = {
    **NAMES,
    "clear": "a\x1b[2Jb",
    "hyperlink": "a\x1b]8;;http://evil.example\x1b\\b",
    "c1": "a\x9b2Jb",
    "bell": "a\x07b",
    "turned": "a\u202eb",
    "hidden": "a\u200bb",
    "filler": "a\u3164b",
    "return": "a\rb",
    "lines": "a\nugsd: the log verifies",
    "bytes": "a\udcffb",
}
"""Text that no line of output may contain unescaped."""
STYLES = re.compile(r"\x1b\[[0-9;]*m|\r(\x1b\[1A)?\x1b\[2K|\x1b\[\?25[hl]")
"""What rich itself writes: styles, and a progress bar that overwrites itself."""


def require_plain(output: str, trick: str) -> None:
    rest = STYLES.sub("", output)
    assert all(is_visible(c) or c == "\n" for c in rest), ascii(rest)
    assert trick in NAMES.values() or trick not in output
    assert not any(line.startswith("ugsd: the log verifies") for line in rest.splitlines())


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def toml(text: str) -> str:
    return json.dumps(text.encode("utf-8", "replace").decode())


PLACES: dict[str, Run] = {
    "setting key": lambda t, d: ugsd(
        ["budget", "show", "--config", str(written(d / "a.toml", f"{toml(t)} = 1\n"))]
    ),
    "setting value": lambda t, d: ugsd(
        ["budget", "show", "--config", str(written(d / "a.toml", f"traffic_shape = {toml(t)}\n"))]
    ),
    "preset": lambda t, d: ugsd(
        [
            "budget", "show", "--config",
            str(written(d / "a.toml", f"[users.ada]\npreset = {toml(t)}\n")),
        ]
    ),
    "table name": lambda t, d: ugsd(
        ["budget", "show", "--config", str(written(d / "a.toml", f"[users.{toml(t)}]\nx = 1\n"))]
    ),
    "config path": lambda t, d: ugsd(["budget", "show", "--config", f"{d}/{t}.toml"]),
    "drafter path": lambda t, d: ugsd(["caption", "--drafter", f"{d}/{t}", "clip.wav"]),
    "clip path": lambda t, d: ugsd(["caption", f"{d}/{t}.wav", "--home", str(d / "home")]),
    "home path": lambda t, d: ugsd(["audit", "show", "--home", f"{d}/{t}"]),
    "option": lambda t, d: ugsd(["audit", f"--{t}"]),
    "command": lambda t, d: ugsd([t]),
    "cap": lambda t, d: ugsd(["budget", "set", f"{t}=1"]),
    "cap value": lambda t, d: ugsd(["budget", "set", f"tokens_per_day={t}"]),
    "user": lambda t, d: ugsd(["budget", "explain", "--user", t, "--home", str(d / "home")]),
    "caption id": lambda t, d: ugsd(
        ["budget", "explain", "--caption", t, "--home", str(d / "home")]
    ),
    "log key": lambda t, d: ugsd(["audit", "verify", "--log-key", f"{t}+00000000+AAAA"]),
    "export path": lambda t, d: ugsd(["audit", "verify", f"{d}/{t}"]),
    "note": lambda t, d: ugsd(
        ["audit", "verify", "--checkpoint", str(written(d / "note", f"{t}\n1\nAAAA\n"))]
    ),
    "tiles": lambda t, d: ugsd(
        ["audit", "verify", str(written_tiles(d / "tiles", f"{t}\n0\nAAAA\n\n— {t} AAAA\n"))]
    ),
    "fleet file": lambda t, d: ugsd(
        ["audit", "fleet", str(written(d / f"{t.replace('/', '|')}.json", "{}")), "--format", "md"]
    ),
    "fleet report": lambda t, d: ugsd(
        [
            "audit", "fleet", str(written(d / "r.json", json.dumps({t: t, "log": t}))),
            "--format", "json",
        ]
    ),
    "known logs": lambda t, d: ugsd(
        [
            "audit", "fleet", str(written(d / "r.json", "{}")),
            "--known", str(written(d / "kept.json", json.dumps({"logs": {t: {"key": t}}}))),
        ]
    ),
    "vocabulary": lambda t, d: ugsd(
        ["audit", "show", "--content", "--vocabulary", f"{d}/{t}", "--home", str(d / "home")]
    ),
    "server key": lambda t, d: server(["--port", "0", "--key-file", f"{d}/{t}"]),
    "server option": lambda t, d: server([f"--{t}"]),
    "server manifest": lambda t, d: server(
        ["manifest-show", f"{d}/{t}", "--root", "ugsd-root1:" + "A" * 43]
    ),
    "server log key": lambda t, d: server(
        ["witness", "--state", str(d / "w"), "--log-key", f"{t}+00000000+AAAA"]
    ),
}  # fmt: skip


def written_tiles(folder: Path, note: str) -> Path:
    folder.mkdir()
    written(folder / "checkpoint", note)
    return folder


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", TRICKS)
def test_commands_escape_foreign_text(
    place: str, name: str, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("UGSD_HOME", str(tmp_path / "home"))
    PLACES[place](TRICKS[name], tmp_path)
    printed = capsys.readouterr()
    require_plain(printed.out + printed.err, TRICKS[name])


@pytest.fixture(params=NAMES)
def used(
    request: pytest.FixtureRequest, new_captioner: Any, voice: NDArray[Any], tmp_path: Path
) -> tuple[Path, str]:
    """A home from which a caption of a user with such a name was sent."""
    user = NAMES[request.param]
    with new_captioner(user=user) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    return tmp_path / "home", user


COMMANDS = (
    ["audit", "show"],
    ["audit", "show", "--content"],
    ["audit", "verify"],
    ["audit", "report", "--format", "md"],
    ["audit", "report", "--format", "html"],
    ["budget", "show"],
    ["budget", "explain"],
    ["profile", "show"],
    ["budget", "reset", "--yes"],
)


def test_users_named_like_markup_are_shown(
    used: tuple[Path, str], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, user = used
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for command in COMMANDS:
        mine = [] if command[:2] in (["audit", "show"], ["audit", "verify"]) else ["--user", user]
        assert ugsd([*command, "--home", str(home), *mine]) == 0
        printed = capsys.readouterr()
        require_plain(printed.out + printed.err, user)
        if command in (["audit", "show"], ["budget", "show"]):
            assert user in STYLES.sub("", printed.out)


@pytest.mark.parametrize("name", sorted(set(TRICKS) - {"bytes"}))
def test_ledger_with_hostile_names_is_shown(
    name: str,
    new_captioner: Any,
    voice: NDArray[Any],
    tmp_path: Path,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with new_captioner() as captioner:
        captioner.caption(voice, 16_000)
    home, trick = tmp_path / "home", TRICKS[name]
    (home / "owner.key").unlink()
    with sqlite3.connect(Ledger(home / "ledger").path) as db:
        db.execute("UPDATE charges SET user = ?", (trick,))
        db.execute("UPDATE totals SET user = ?", (trick,))
    db.close()
    for command in (["show"], ["show", "--json"], ["verify"], ["report", "--format", "md"]):
        ugsd(["audit", *command, "--home", str(home)])
        printed = capsys.readouterr()
        require_plain(printed.out + printed.err, trick)


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminals")
def test_hostile_name_prints_no_terminal_link(used: tuple[Path, str]) -> None:
    import pty

    home, user = used
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ugsd_sdk", "budget", "show", "--home", str(home)]
    limits = {"UGSD_LIMITS__TOKENS_PER_DAY": "100", "TERM": "xterm-256color"}
    running = subprocess.Popen(
        [*command, "--user", user], stdout=theirs, stderr=theirs, env=os.environ | limits
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert running.wait(30) == 0
    assert b"\x1b]8" not in shown
    assert user in STYLES.sub("", shown.decode())
