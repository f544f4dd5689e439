"""``ugsd audit export``, ``receipt``, ``prove`` and ``verify`` with a real home."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.merkle import EMPTY_ROOT
from ugsd_sdk.cli import main
from ugsd_sdk.home import Home

from tests.sdk.cli.audit.commands import Out, audit


@pytest.mark.parametrize("bodies", [False, True])
def test_export_verifies_elsewhere_and_names_its_key(
    home: Path, log_key: str, elsewhere: Path, tmp_path: Path, capsys: Out, bodies: bool
) -> None:
    file = tmp_path / "log.ugsd"
    options = ["--with-bodies"] if bodies else []
    assert audit("export", file, *options, home=home) == 0
    fingerprint = capsys.readouterr().out.splitlines()[-1].split(": ")[1]
    assert audit("verify", file, home=elsewhere) == 0
    printed = capsys.readouterr().out
    assert "verifies: 6 records (5 blocks, 24 tokens" in printed
    assert ("with 6 of their bodies, sealed" in printed) == bodies
    assert ("without their bodies" in printed) != bodies
    assert "proves no more than the file" in printed
    assert fingerprint in printed
    assert audit("verify", file, "--log-key", log_key, home=elsewhere) == 0
    assert "proves no more" not in capsys.readouterr().out
    (tmp_path / "log.pub").write_text(log_key + "\n")
    assert audit("verify", file, "--log-key", tmp_path / "log.pub", home=elsewhere) == 0
    assert audit("verify", file, "--log-key", LogKey.generate().public.to_text()) == 1
    assert not elsewhere.exists()


def test_damaged_export_is_detected(home: Path, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "log.ugsd"
    audit("export", file, home=home)
    with Home.from_path(home).open_ledger() as ledger, ledger.reading() as view:
        (content, _), *_ = view.leaves(3, 4)
    data = bytearray(file.read_bytes())
    data[data.index(content) + 9] ^= 1
    file.write_bytes(data)
    assert audit("verify", file) == 1
    printed = capsys.readouterr().err
    assert "does NOT verify" in printed
    assert "leaf 3 is damaged" in printed
    assert audit("verify", tmp_path / "nothing") == 1
    assert "cannot read" in capsys.readouterr().err


def test_log_shorter_than_a_checkpoint_is_detected(
    home: Path, send_caption: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    backup, file, tiles = tmp_path / "backup", tmp_path / "log.ugsd", tmp_path / "tiles"
    shutil.copytree(home, backup)
    send_caption()
    assert audit("export", "--tiles", tiles, home=home) == 0
    note = tiles / "checkpoint"
    assert audit("export", file, home=backup) == 0
    capsys.readouterr()
    for arguments in (["verify", file], ["verify"]):
        assert audit(*arguments, "--checkpoint", note, home=backup) == 1
        assert "truncated: 12 leaves were signed, but only 6 are here" in capsys.readouterr().err
    assert audit("export", tmp_path / "other", "--since", note, home=backup) == 1
    assert not (tmp_path / "other").exists()
    assert audit("export", "--tiles", tiles, home=backup) == 1
    assert "rolled back" in capsys.readouterr().err
    assert audit("verify", "--checkpoint", note, home=home) == 0
    send_caption()
    assert audit("export", file, "--since", note, home=home) == 0
    assert audit("verify", file) == 0
    assert ", 2 signed checkpoints" in capsys.readouterr().out


def test_tiles_are_files_and_grow(
    home: Path, send_caption: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    folder = tmp_path / "public"
    assert audit("export", "--tiles", folder, home=home) == 0
    send_caption()
    assert audit("export", "--tiles", folder, home=home) == 0
    assert "12 records, 2 new files" in capsys.readouterr().out
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    widths = ("000.p/6", "000.p/12")
    assert names == {"checkpoint"} | {f"tile/{k}/{w}" for k in ("0", "entries") for w in widths}


def test_receipts_and_proofs_verify_only_by_key(
    home: Path, log_key: str, send_caption: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    audit("show", "--json", home=home)
    caption = json.loads(capsys.readouterr().out.splitlines()[1])["caption_id"]
    file = tmp_path / "receipt.json"
    for arguments, receipts in ((["2"], 1), (["--caption", caption], 5)):
        assert audit("receipt", *arguments, home=home) == 0
        file.write_text(capsys.readouterr().out)
        assert audit("verify", file, "--log-key", log_key) == 0
        assert capsys.readouterr().out.count("is in the log of 6 records") == receipts
    assert audit("verify", file, home=home) == 0
    assert "with the key of this home's log" in capsys.readouterr().out
    assert audit("verify", file, "--log-key", LogKey.generate().public.to_text()) == 1
    audit("export", "--tiles", tmp_path / "t", home=home)
    send_caption()
    capsys.readouterr()
    assert audit("prove", "--from", tmp_path / "t" / "checkpoint", home=home) == 0
    proof = capsys.readouterr().out
    file.write_text(proof)
    assert audit("verify", file, "--log-key", log_key) == 0
    assert "the log of 12 records extends the log of 6" in capsys.readouterr().out
    steps = json.loads(proof)
    assert steps["proof"]
    for changed in (
        steps | {"proof": steps["proof"][1:]},
        steps | {"earlier": steps["later"], "later": steps["earlier"]},
        steps | {"surplus": 1},
        {},
    ):
        file.write_text(json.dumps(changed))
        assert audit("verify", file, "--log-key", log_key) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "give a FILE"),
        (["receipt"], "INDEX or --caption"),
        (["receipt", "1", "--caption", "00"], "INDEX or --caption"),
        (["receipt", "--caption", "zz"], "is hexadecimal"),
    ],
)
def test_wrong_usage_is_an_error(
    home: Path, arguments: list[str], message: str, capsys: Out
) -> None:
    assert audit(*arguments, home=home) == 2
    assert message in capsys.readouterr().err


def test_missing_records_and_logs_are_errors(
    home: Path, elsewhere: Path, tmp_path: Path, capsys: Out
) -> None:
    assert audit("receipt", "6", home=home) == 1
    assert audit("receipt", "--caption", "00", home=home) == 1
    assert capsys.readouterr().err.count("no such record") == 2
    for command in (["export", tmp_path / "x"], ["receipt", "0"], ["prove", "--from", "x"]):
        assert audit(*command, home=elsewhere) == 1
        assert "nothing was sent" in capsys.readouterr().err
    assert audit("verify", "--checkpoint", tmp_path / "none", home=elsewhere) == 2
    (tmp_path / "r.json").write_text("{}")
    assert audit("verify", tmp_path / "r.json", home=elsewhere) == 1
    assert "--log-key" in capsys.readouterr().err
    key, root = LogKey.load(home / "log.key"), bytes(32)
    (tmp_path / "later").write_text(sign_checkpoint(99, root, key), "utf-8")
    assert audit("prove", "--from", tmp_path / "later", home=home) == 1
    later = ["--from", tmp_path / "later", "--to", tmp_path / "later"]
    assert audit("prove", *later, home=home) == 1
    assert "rolled back" in capsys.readouterr().err
    assert not elsewhere.exists()


def test_log_key_is_printed(home: Path, log_key: str, elsewhere: Path, capsys: Out) -> None:
    assert audit("key", home=home) == 0
    printed = capsys.readouterr()
    assert printed.out == log_key + "\n"
    assert LogKey.load(home / "log.key").public.fingerprint in printed.err
    assert audit("key", home=elsewhere) == 1


def test_key_or_checkpoint_of_another_log_fails(home: Path, tmp_path: Path, capsys: Out) -> None:
    other = LogKey.generate()
    assert audit("verify", "--log-key", other.public.to_text(), home=home) == 1
    assert f"not to {other.public.origin}" in capsys.readouterr().err
    (tmp_path / "junk.note").write_text("junk")
    assert audit("verify", "--checkpoint", tmp_path / "junk.note", home=home) == 2
    assert "junk.note: not a signed note" in capsys.readouterr().err


def test_options_that_do_not_fit_are_refused(home: Path, tmp_path: Path, capsys: Out) -> None:
    file, proof = tmp_path / "log.ugsd", tmp_path / "r.json"
    assert audit("export", file, home=home) == 0
    capsys.readouterr()
    assert audit("receipt", "0", home=home) == 0
    printed = capsys.readouterr().out
    proof.write_text("\n \n" + printed + "\n" + printed)
    witness = WitnessKey.generate().public.to_text()
    assert audit("verify", proof, home=home) == 0
    assert capsys.readouterr().out.count("record 0 is in the log") == 2
    for options in (
        [file, "--owner-key", tmp_path / "none"], [proof, "--owner-key", tmp_path / "none"],
        [proof, "--witness-key", witness], [proof, "--checkpoint", proof],
    ):  # fmt: skip
        assert audit("verify", *options, home=home) == 2


def test_folder_of_tiles_verifies_elsewhere(
    home: Path, log_key: str, elsewhere: Path, tmp_path: Path, capsys: Out
) -> None:
    tiles = tmp_path / "tiles"
    assert audit("export", "--tiles", tiles, home=home) == 0
    capsys.readouterr()
    assert audit("verify", tiles, "--log-key", log_key, home=elsewhere) == 0
    printed = capsys.readouterr().out
    assert "the log verifies: 6 records (5 blocks, 24 tokens, 3026 bytes)" in printed
    assert "no signature was checked" not in printed
    assert audit("verify", tiles, home=elsewhere) == 0
    assert "no signature was checked: give --log-key" in capsys.readouterr().out
    assert audit("verify", tiles, "--log-key", LogKey.generate().public.to_text()) == 1
    (tile,) = (tiles / "tile" / "0").glob("*.p/*")
    data = tile.read_bytes()
    tile.write_bytes(data[:70] + bytes([data[70] ^ 1]) + data[71:])
    capsys.readouterr()
    assert audit("verify", tiles, "--log-key", log_key, home=elsewhere) == 1
    assert f"{tile.parent.name}/{tile.name}" in capsys.readouterr().err


def test_records_without_signed_checkpoint_are_reported(home: Path, capsys: Out) -> None:
    assert audit("verify", home=home) == 0
    assert "under no signed checkpoint" not in capsys.readouterr().out
    reset = ["budget", "reset", "--user", "ada", "--window", "day", "--yes", "--home", str(home)]
    assert main(reset) == 0
    assert audit("verify", home=home) == 0
    assert "the last 1 are under no signed checkpoint yet" in capsys.readouterr().out
    with closing(sqlite3.connect(home / "ledger" / "ledger.sqlite3")) as db:
        db.execute("DELETE FROM checkpoints")
        db.commit()
    assert audit("verify", home=home) == 0
    assert "the last 7 are under no signed checkpoint yet" in capsys.readouterr().out
    assert audit("report", "--user", "ada", "--format", "md", home=home) == 0
    assert "the last 7 records under no signed checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["export", "receipt", "prove", "cosign", "witness", "verify"])
def test_help_has_an_example(command: str, capsys: Out) -> None:
    assert audit(command, "--help") == 0
    out = capsys.readouterr().out
    assert f"ugsd audit {command}" in out[out.index("Example") :]


def test_export_never_overwrites_the_home(home: Path, tmp_path: Path, capsys: Out) -> None:
    before = (home / "log.key").read_bytes()
    for target in (home / "log.key", home / "ledger" / "x", home / ".." / home.name / "y"):
        assert audit("export", target, home=home) == 2
    assert audit("export", "--tiles", home / "tiles", home=home) == 2
    assert (home / "log.key").read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    assert audit("export", tmp_path / "pipe", home=home) == 2
    for option in (["--with-bodies"], ["--since", tmp_path / "x"]):
        assert audit("export", "--tiles", tmp_path / "t", *option, home=home) == 2
    assert "need a FILE: give one" in capsys.readouterr().err


def test_name_of_tiles_is_escaped_on_terminals(tmp_path: Path, capsys: Out) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    root = base64.b64encode(EMPTY_ROOT).decode()
    name = "evil\x1b[2J\x07.example"
    signature = base64.b64encode(bytes(68)).decode()
    (folder / "checkpoint").write_text(f"{name}\n0\n{root}\n\n\u2014 evil {signature}\n", "utf-8")
    audit("verify", folder)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err


@pytest.mark.parametrize("hour", [-5, 70_389_600, 10**14, 2**63 - 1])
def test_invalid_hour_is_not_shown_or_exported(
    home: Path, tmp_path: Path, hour: int, capsys: Out
) -> None:
    (home / "owner.key").unlink()
    with closing(sqlite3.connect(home / "ledger" / "ledger.sqlite3")) as db:
        db.execute("UPDATE charges SET hour = ? WHERE leaf = 3", (hour,))
        db.commit()
    assert audit("show", home=home) == 0
    assert "no time" in capsys.readouterr().out
    assert audit("export", tmp_path / "x.ugsd", home=home) == 1
    assert "hour" in capsys.readouterr().err
    assert audit("erase", "--older-than", "9" * 24, "--yes", home=home) == 2


def test_erase_before_a_day_uses_utc(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    asked: list[object] = []
    monkeypatch.setattr(
        "ugsd_privacy.audit.owner_acts.OwnerActs.erase",
        lambda self, **given: asked.append(given) or (0, -1),
    )
    try:
        assert audit("erase", "--before", "2026-01-02", "--yes", home=home) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked[-1]["before_s"] == 1_767_312_000  # 2026-01-02 00:00 UTC


@pytest.mark.parametrize("command", [["key"], ["receipt", "1"], ["export", "log.ugsd"]])
def test_lost_log_key_is_not_an_unused_home(home: Path, capsys: Out, command: list[str]) -> None:
    (home / "log.key").unlink()
    assert audit("verify", home=home) == 1
    verified = capsys.readouterr().err
    assert audit(*command, home=home) == 1
    assert capsys.readouterr().err == verified
    assert "log.key was removed, but its log has records: restore it" in verified


@pytest.mark.parametrize(
    "command",
    [["audit", "verify"], ["audit", "key"], ["budget", "show"], ["budget", "explain"],
     ["budget", "set", "tokens_per_day=1"], ["audit", "show"]],
)  # fmt: skip
def test_home_that_is_a_file_fails(command: list[str], tmp_path: Path, capsys: Out) -> None:
    home = tmp_path / "home"
    home.write_text("no folder")
    assert main([*command, "--home", str(home)]) == 1
    assert capsys.readouterr().err == f"ugsd: {home} is not a folder: move it away\n"
