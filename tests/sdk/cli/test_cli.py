"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.users.models import Models

New = Callable[..., Captioner]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch, drafter: ScriptedDrafter) -> None:
    """The commands load a drafter that needs no weights."""
    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))


@pytest.fixture
def clip(tmp_path: Path, voice: NDArray[np.float32]) -> str:
    soundfile.write(tmp_path / "clip.wav", voice, 16_000)
    return str(tmp_path / "clip.wav")


@pytest.fixture
def used_home(new_captioner: New, voice: NDArray[np.float32], tmp_path: Path) -> Path:
    """A home from which one caption's five blocks were sent."""
    with new_captioner(user="ada") as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    return tmp_path / "home"


def test_clip_is_captioned_for_people(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", clip]) == 0
    out = capsys.readouterr().out
    assert clip in out
    assert "no block was sent" in out
    assert "decided by the verifier" not in out, "no legend is needed"
    assert "w" in out.splitlines()[1]


def test_json_is_one_object_per_line(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "--json", clip, clip]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [clip, clip]


def test_bad_clip_does_not_stop_the_others(
    clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio")
    assert main(["caption", "--json", str(bad), clip]) == 1
    printed = capsys.readouterr()
    first, second = map(json.loads, printed.out.splitlines())
    assert first["path"] == str(bad)
    assert first["error"]["type"] == "UnreadableAudio"
    assert "ffmpeg" in first["error"]["message"]
    assert second["path"] == clip
    assert "bad.wav" in printed.err


def test_dead_verifier_leaves_caption_unverified(
    clip: str, new_captioner: New, fake: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "verifier.pub"
    key.write_text(fake.key.public.to_text())
    config = tmp_path / "ugsd.toml"
    config.write_text("threshold = 0.0\n")
    arguments = ["--verifier", "ws://127.0.0.1:1", "--verifier-key", str(key)]
    arguments += ["--home", str(tmp_path / "home"), "--config", str(config)]
    assert main(["caption", *arguments, clip]) == 0
    printed = capsys.readouterr()
    assert "continuing without the verifier" in printed.err
    assert "not fully verified: verifier unreachable" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["caption"], "Missing argument"),
        (["caption", "--offline", "--verifier", "embedded", "a.wav"], "--offline uses no verifier"),
        (["caption", "--verifier", "ws://127.0.0.1:1", "a.wav"], "key pinned"),
        (["caption", "--verifier", "http://x", "--verifier-key", "k", "a.wav"], "address"),
        (["caption", "--config", "/no/such.toml", "a.wav"], "/no/such.toml"),
        (["caption", "--user", "", "a.wav"], "user"),
        (["caption", "--details", "a.wav"], "add --json"),
        (["caption", "--length", "long", "a.wav"], "short"),
        (["caption", "--seed", "-1", "a.wav"], "--seed"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_exits_with_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_silent_verifier_delays_caption_by_one_deadline(
    clip: str, fake: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "ugsd.toml"
    config.write_text("threshold = 0.0\n[verifier]\ndeadline_s = 0.3\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        arguments = ["--verifier", url, "--verifier-key", fake.key.public.to_text()]
        arguments += ["--home", str(tmp_path / "home"), "--config", str(config)]
        started_s = time.monotonic()
        assert main(["caption", *arguments, clip]) == 0
    assert time.monotonic() - started_s < 3, "far less than connect_timeout_s"
    assert "not fully verified: verifier unreachable" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_undecodable_path_is_captioned_and_escaped(
    clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\x1b[2J\nb.wav")
    Path(clip).rename(odd)
    assert main(["caption", odd]) == 0
    assert "/a\\udcff\\x1b[2J\\nb.wav\n" in capsys.readouterr().out
    assert main(["caption", "--json", odd, odd + "\x1b"]) == 1
    printed = capsys.readouterr()
    paths = [json.loads(line)["path"] for line in printed.out.splitlines()]
    ends = ["/a\\udcff\x1b[2J\nb.wav", "/a\\udcff\x1b[2J\nb.wav\x1b"]
    assert [path.removeprefix(str(tmp_path)) for path in paths] == ends
    assert "\x1b" not in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["caption"],
        ["audit"],
        ["audit", "show"],
        ["budget"],
        ["budget", "show"],
        ["budget", "set"],
        ["budget", "reset"],
        ["budget", "explain"],
        ["demo"],
    ],
)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: ugsd" in out
    assert " ".join(["ugsd", *command]) in out[out.index("Example") :]


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ugsd 0.")


def test_log_is_listed(used_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "show", "--home", str(used_home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 6, "a header, the hello and five blocks"
    assert "hello" in lines[1]
    assert "summary" in lines[2]
    assert "ada" in lines[2]
    assert main(["audit", "show", "--json", "--home", str(used_home)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["index"] for record in records] == list(range(6))
    assert len(records[1]["tokens"]) == 5


def test_intact_log_verifies(used_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--home", str(used_home)]) == 0
    assert "verifies: 6 records (5 blocks, 24 tokens" in capsys.readouterr().out


def test_tampered_log_does_not_verify(used_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    with sqlite3.connect(Ledger(used_home / "ledger").path) as db:
        db.execute("UPDATE leaves SET sealed = x'0100000000000000000000' WHERE leaf = 2")
    db.close()
    assert main(["audit", "verify", "--home", str(used_home)]) == 1
    error = capsys.readouterr().err
    assert "does NOT verify" in error
    assert str(used_home / "ledger") in error
    assert "restore a backup, or move the home folder away" in error


def test_damaged_log_error_names_file_and_remedy(
    used_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Ledger(used_home / "ledger").path
    path.write_bytes(b"\xff" * 8192)
    for command in (["audit", "verify"], ["audit", "show"], ["budget", "show"]):
        assert main([*command, "--home", str(used_home)]) == 1
        error = capsys.readouterr().err
        assert f"{path} is damaged" in error
        assert "restore a backup, or move the home folder away" in error
        assert "verify the log" not in error


def test_damaged_record_does_not_hide_others(
    used_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sqlite3

    with sqlite3.connect(Ledger(used_home / "ledger").path) as db:
        db.execute("UPDATE leaves SET sealed = zeroblob(9) WHERE leaf = 2")
    db.close()
    assert main(["audit", "show", "--json", "--home", str(used_home)]) == 1
    printed = capsys.readouterr()
    assert [json.loads(line)["index"] for line in printed.out.splitlines()] == [0, 1, 3, 4, 5]
    assert "record 2 in" in printed.err
    assert "restore a backup" in printed.err


def test_lost_ledger_is_an_error(used_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(used_home / "ledger").path.unlink()
    for command in (["audit", "verify"], ["audit", "show"], ["budget", "show"]):
        assert main([*command, "--home", str(used_home)]) == 1
        assert "removed or emptied; restore it, or move the home" in capsys.readouterr().err
    assert not Ledger(used_home / "ledger").path.exists(), "reading creates none"


def test_log_signed_by_another_key_fails(
    used_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (used_home / "log.key").unlink()
    LogKey.generate().save(used_home / "log.key")
    assert main(["audit", "verify", "--home", str(used_home)]) == 1
    assert capsys.readouterr().err


def test_reading_a_missing_home_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--home", str(tmp_path / "nowhere")]
    assert main(["audit", "show", *nowhere]) == 0
    assert "nothing was sent from this home yet" in capsys.readouterr().out
    assert main(["budget", "show", *nowhere]) == 0
    assert main(["audit", "verify", *nowhere]) == 0
    assert "nothing was sent from this home yet" in capsys.readouterr().out
    assert not (tmp_path / "nowhere").exists()


def test_budget_is_shown_per_user(used_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for user, used in [("ada", "24"), ("eve", "0")]:
        assert main(["budget", "show", "--home", str(used_home), "--user", user]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        row = next(row for row in rows if row and row[0] == "tokens_per_day")
        remaining = str(20_000 - int(used))
        assert row[:5] == ["tokens_per_day", "20000", "20000", used, remaining]


def test_sent_and_replaced_words_are_shown(new_captioner: New, fake: Any, voice: Any) -> None:
    from ugsd_privacy.protocol.messages import Verdict
    from ugsd_sdk.cli.caption_output import caption_text

    fake.answer = lambda block: Verdict(
        caption=block.caption,
        start=block.start,
        accepted=0,
        correction=next(t for t in range(4, 9) if t != block.tokens[0]),
        continuation=(),
    )
    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    replaced = caption.tokens[0].replaced
    assert replaced
    assert caption_text(caption, colour=False).plain.startswith(f"[-{replaced.strip()}-]")
    assert replaced.strip() in caption_text(caption, colour=True).plain


def test_sent_words_are_marked_on_a_terminal(new_captioner: New, fake: Any, voice: Any) -> None:
    import io

    from rich.console import Console
    from ugsd_sdk.cli.caption_output import print_caption

    with new_captioner() as captioner:
        caption = captioner.caption(voice, 16_000)
    coloured, plain = io.StringIO(), io.StringIO()
    print_caption(Console(file=coloured, force_terminal=True, soft_wrap=True), caption)
    print_caption(Console(file=plain, soft_wrap=True), caption)
    assert "\x1b[" in coloured.getvalue()
    assert caption.text in plain.getvalue()
    assert "5 blocks sent: 24 tokens, 1 state" in plain.getvalue()


def test_sent_content_is_printed_exactly(
    used_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "show", "--content", "--home", str(used_home)]) == 0
    printed = capsys.readouterr().out
    assert "record 1: summary, no noise" in printed
    assert "  asked about any of the words, and " in printed
    assert "  state   0  " in printed
    assert main(["audit", "show", "--content", "--json", "--home", str(used_home)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[0]["content"] is None, "a hello has no content"
    assert [token["id"] for token in records[1]["content"]["tokens"]] == records[1]["tokens"]
    assert (records[0]["slot"], records[1]["slot"]) == (None, "any_token")
    assert records[1]["content"]["draft_weights"] == []


def test_log_without_owner_key_is_listed_and_verified(
    used_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (used_home / "owner.key").rename(tmp_path / "owner.key")
    assert main(["audit", "show", "--home", str(used_home)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("sealed") == 1 + 6
    assert "6 records are sealed to the owner's key: give --owner-key" in printed.err
    assert main(["audit", "verify", "--home", str(used_home)]) == 0
    assert "not read without the owner's key: 6" in capsys.readouterr().out
    given = ["--owner-key", str(key), "--home", str(used_home)]
    assert main(["audit", "show", *given]) == 0
    assert "summary" in capsys.readouterr().out
    assert main(["audit", "verify", *given]) == 0
    assert "not read" not in capsys.readouterr().out
    (used_home / "owner.pub").unlink()
    assert main(["audit", "erase", "--yes", "--home", str(used_home)]) == 1
    assert "owner.pub was removed" in capsys.readouterr().err


def test_erasure_removes_content_and_is_logged(
    used_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(used_home)]
    assert main(["audit", "erase", *home]) != 0, "no confirmation was given"
    assert main(["audit", "erase", "--older-than", "1", "--yes", *home]) == 0
    assert "0 bodies erased" in capsys.readouterr().out
    assert main(["audit", "erase", "--user", "adda", "--yes", *home]) == 1
    assert "has no records of 'adda'; it has records of 'ada'" in capsys.readouterr().err
    assert main(["audit", "erase", "--caption", "0" * 32, "--yes", *home]) == 1
    assert "no such caption" in capsys.readouterr().err
    assert main(["budget", "explain", "--user", "ada", *home]) == 0
    assert "sent by the policy" in capsys.readouterr().out
    assert main(["audit", "erase", "--user", "ADA", "--yes", *home]) == 0
    assert "6 bodies erased; logged as record 6" in capsys.readouterr().out
    assert main(["audit", "verify", *home]) == 0
    assert "6 erased by owner" in capsys.readouterr().out
    assert main(["audit", "show", *home]) == 0
    assert capsys.readouterr().out.count("erased") == 6
    assert main(["budget", "explain", "--user", "ada", *home]) == 0
    assert "sent by the policy" not in capsys.readouterr().out, "the journal is erased too"


def test_erasure_is_limited_by_caption_and_age(
    used_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = ["--home", str(used_home)]

    def erased(*options: str) -> int:
        assert main(["audit", "erase", "--yes", *options, *home]) == 0
        return int(capsys.readouterr().out.split(" bodies erased")[0])

    main(["audit", "show", "--json", *home])
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    captions = [record["caption_id"] for record in records if record["caption_id"]]
    day_s, hour_s = 86_400, records[-1]["hour"] * 3600
    monkeypatch.setattr(time, "time", lambda: hour_s + 2 * day_s + 3599.0)
    assert erased("--older-than", "2") == 0, "the hour ended less than two days ago"
    tomorrow = datetime.fromtimestamp(hour_s, UTC).date() + timedelta(days=1)
    assert erased("--before", str(tomorrow - timedelta(days=1))) == 0
    assert erased("--caption", captions[0]) == captions.count(captions[0])
    assert erased("--before", str(tomorrow)) == len(records) - captions.count(captions[0])


def test_missing_clip_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(tmp_path / "none.wav")
    assert main(["caption", clip, str(tmp_path)]) == 1
    folder, missing = capsys.readouterr().err.splitlines()
    assert missing.startswith(f"ugsd: {clip}: cannot be opened: No such file or directory")
    assert folder == (
        f"ugsd: {tmp_path}: holds no audio file: name the files themselves if they have other "
        "endings"
    )


def test_key_without_verifier_is_reported(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "--verifier-root", "root.pin", clip]) == 0
    assert "no verifier is used, although its key is given: add" in capsys.readouterr().err


def test_missing_manifest_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, manifest = "ugsd-root1:" + "A" * 43, tmp_path / "verifier.manifest"
    options = ["--verifier-root", root, "--verifier-manifest", str(manifest)]
    assert main(["trust", "show", *options]) == 1
    assert capsys.readouterr().err == (
        f"ugsd: no manifest at {manifest}; check the path, or ask the verifier's operator for it\n"
    )


def test_verifier_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match=r"verifier must be text, or a function .*, not int"):
        Captioner(verifier=5)  # type: ignore[arg-type]
