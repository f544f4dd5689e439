"""``ugsd audit``: the log for others, from a real home."""

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

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.checkpoint import sign_checkpoint
from ugsd_privacy.audit.cosignature import WitnessKey, cosign
from ugsd_privacy.audit.merkle import EMPTY_ROOT
from ugsd_privacy.audit.witness import AddCheckpoint
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.keys import LogKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.home import Door, Home

New = Callable[..., Captioner]
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch, drafter: ScriptedDrafter) -> None:
    """The commands load a drafter that needs no weights."""
    monkeypatch.setattr(Captioner, "_drafter", lambda self: (drafter, None))


@pytest.fixture
def leave(new_captioner: New, voice: NDArray[np.float32]) -> Callable[[], None]:
    """Let a caption's hello and five blocks leave the home."""

    def one() -> None:
        with new_captioner(user="ada") as captioner:
            assert captioner.caption(voice, 16_000).degraded is None

    return one


@pytest.fixture
def home(leave: Callable[[], None], tmp_path: Path) -> Path:
    leave()
    return tmp_path / "home"


@pytest.fixture
def log_key(home: Path) -> str:
    return LogKey.load(home / "log.key").public.to_text()


def audit(*arguments: str | Path, home: Path | None = None) -> int:
    place = [] if home is None else ["--home", str(home)]
    return main(["audit", *map(str, arguments), *place])


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A home of another machine, from which nothing left."""
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("bodies", [False, True])
def test_an_export_verifies_elsewhere_and_says_whose_key_it_took(
    home: Path, log_key: str, elsewhere: Path, tmp_path: Path, capsys: Out, bodies: bool
) -> None:
    file = tmp_path / "log.ugsd"
    options = ["--with-bodies"] if bodies else []
    assert audit("export", file, *options, home=home) == 0
    fingerprint = capsys.readouterr().out.splitlines()[-1].split(": ")[1]
    assert audit("verify", file, home=elsewhere) == 0
    told = capsys.readouterr().out
    assert "verifies: 6 passages (5 blocks, 24 tokens" in told
    assert ("with 6 of their bodies, sealed" in told) == bodies
    assert ("without their bodies" in told) != bodies
    assert "only as trustworthy as that" in told
    assert fingerprint in told
    assert audit("verify", file, "--log-key", log_key, home=elsewhere) == 0
    assert "trustworthy" not in capsys.readouterr().out
    (tmp_path / "log.pub").write_text(log_key + "\n")
    assert audit("verify", file, "--log-key", tmp_path / "log.pub", home=elsewhere) == 0
    assert audit("verify", file, "--log-key", LogKey.generate().public.to_text()) == 1
    assert not elsewhere.exists()


def test_a_damaged_export_is_named(home: Path, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "log.ugsd"
    audit("export", file, home=home)
    with Home.at(home).open_ledger() as ledger, ledger.reading() as view:
        (content, _), *_ = view.leaves(3, 4)
    data = bytearray(file.read_bytes())
    data[data.index(content) + 9] ^= 1
    file.write_bytes(data)
    assert audit("verify", file) == 1
    told = capsys.readouterr().err
    assert "does NOT verify" in told
    assert "leaf 3 is damaged" in told
    assert audit("verify", tmp_path / "nothing") == 1
    assert "cannot read" in capsys.readouterr().err


def test_a_log_that_is_shorter_than_a_checkpoint_kept_elsewhere_is_named(
    home: Path, leave: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    backup, file, tiles = tmp_path / "backup", tmp_path / "log.ugsd", tmp_path / "tiles"
    shutil.copytree(home, backup)
    leave()
    assert audit("export", "--tiles", tiles, home=home) == 0
    note = tiles / "checkpoint"
    assert audit("export", file, home=backup) == 0
    capsys.readouterr()
    for arguments in (["verify", file], ["verify"]):
        assert audit(*arguments, "--checkpoint", note, home=backup) == 1
        assert "truncated: 12 leaves were signed, 6 are here" in capsys.readouterr().err
    assert audit("export", tmp_path / "other", "--since", note, home=backup) == 1
    assert not (tmp_path / "other").exists()
    assert audit("export", "--tiles", tiles, home=backup) == 1
    assert "rolled back" in capsys.readouterr().err
    assert audit("verify", "--checkpoint", note, home=home) == 0
    leave()
    assert audit("export", file, "--since", note, home=home) == 0
    assert audit("verify", file) == 0
    assert ", 2 signed checkpoints" in capsys.readouterr().out


def test_tiles_are_files_below_a_folder_and_grow(
    home: Path, leave: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    folder = tmp_path / "public"
    assert audit("export", "--tiles", folder, home=home) == 0
    leave()
    assert audit("export", "--tiles", folder, home=home) == 0
    assert "12 passages, 2 new files" in capsys.readouterr().out
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    widths = ("000.p/6", "000.p/12")
    assert names == {"checkpoint"} | {f"tile/{k}/{w}" for k in ("0", "entries") for w in widths}


def test_receipts_and_proofs_verify_by_the_key_and_by_no_other(
    home: Path, log_key: str, leave: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    audit("show", "--json", home=home)
    caption = json.loads(capsys.readouterr().out.splitlines()[1])["caption_id"]
    file = tmp_path / "receipt.json"
    for arguments, receipts in ((["2"], 1), (["--caption", caption], 5)):
        assert audit("receipt", *arguments, home=home) == 0
        file.write_text(capsys.readouterr().out)
        assert audit("verify", file, "--log-key", log_key) == 0
        assert capsys.readouterr().out.count("is in the log of 6 passages") == receipts
    assert audit("verify", file, home=home) == 0
    assert "by the key of this home's log" in capsys.readouterr().out
    assert audit("verify", file, "--log-key", LogKey.generate().public.to_text()) == 1
    audit("export", "--tiles", tmp_path / "t", home=home)
    leave()
    capsys.readouterr()
    assert audit("prove", "--from", tmp_path / "t" / "checkpoint", home=home) == 0
    proof = capsys.readouterr().out
    file.write_text(proof)
    assert audit("verify", file, "--log-key", log_key) == 0
    assert "the log of 12 passages extends that of 6" in capsys.readouterr().out
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
    ("arguments", "told"),
    [
        (["export"], "name a FILE"),
        (["receipt"], "INDEX or --caption"),
        (["receipt", "1", "--caption", "00"], "INDEX or --caption"),
        (["receipt", "--caption", "zz"], "is hex"),
    ],
)
def test_wrong_usage_is_told(home: Path, arguments: list[str], told: str, capsys: Out) -> None:
    assert audit(*arguments, home=home) == 2
    assert told in capsys.readouterr().err


def test_what_is_not_there_is_told(
    home: Path, elsewhere: Path, tmp_path: Path, capsys: Out
) -> None:
    assert audit("receipt", "6", home=home) == 1
    assert audit("receipt", "--caption", "00", home=home) == 1
    assert capsys.readouterr().err.count("no such passage") == 2
    for command in (["export", tmp_path / "x"], ["receipt", "0"], ["prove", "--from", "x"]):
        assert audit(*command, home=elsewhere) == 1
        assert "nothing has left yet" in capsys.readouterr().err
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


def test_the_logs_key_is_printed_for_those_who_verify(
    home: Path, log_key: str, elsewhere: Path, capsys: Out
) -> None:
    assert audit("key", home=home) == 0
    printed = capsys.readouterr()
    assert printed.out == log_key + "\n"
    assert LogKey.load(home / "log.key").public.fingerprint in printed.err
    assert audit("key", home=elsewhere) == 1


def test_another_logs_key_or_checkpoint_is_not_passed_over(
    home: Path, tmp_path: Path, capsys: Out
) -> None:
    other = LogKey.generate()
    assert audit("verify", "--log-key", other.public.to_text(), home=home) == 1
    assert f"not of {other.public.origin}" in capsys.readouterr().err
    (tmp_path / "junk.note").write_text("junk")
    assert audit("verify", "--checkpoint", tmp_path / "junk.note", home=home) == 2
    assert "junk.note: not a signed note" in capsys.readouterr().err


def test_conditions_that_a_file_cannot_be_held_to_are_refused(
    home: Path, tmp_path: Path, capsys: Out
) -> None:
    file, proof = tmp_path / "log.ugsd", tmp_path / "r.json"
    assert audit("export", file, home=home) == 0
    capsys.readouterr()
    assert audit("receipt", "0", home=home) == 0
    printed = capsys.readouterr().out
    proof.write_text("\n \n" + printed + "\n" + printed)
    witness = WitnessKey.generate().public.to_text()
    assert audit("verify", proof, home=home) == 0
    assert capsys.readouterr().out.count("passage 0 is in the log") == 2
    for options in (
        [file, "--owner-key", tmp_path / "none"], [proof, "--owner-key", tmp_path / "none"],
        [proof, "--witness-key", witness], [proof, "--checkpoint", proof],
    ):  # fmt: skip
        assert audit("verify", *options, home=home) == 2


def test_an_export_has_what_witnesses_cosigned(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    carrier, file = Carrier(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    carrier.learn_key()
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0
    leave_from(home)
    assert audit("export", file, home=home) == 0
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", carrier.key) == 0
    assert "cosigned 6 of the 14 passages" in capsys.readouterr().out


def test_a_folder_of_tiles_verifies_elsewhere(
    home: Path, log_key: str, elsewhere: Path, tmp_path: Path, capsys: Out
) -> None:
    tiles = tmp_path / "tiles"
    assert audit("export", "--tiles", tiles, home=home) == 0
    capsys.readouterr()
    assert audit("verify", tiles, "--log-key", log_key, home=elsewhere) == 0
    told = capsys.readouterr().out
    assert "the log verifies: 6 passages (5 blocks, 24 tokens, 3026 bytes)" in told
    assert "no signature was checked" not in told
    assert audit("verify", tiles, home=elsewhere) == 0
    assert "no signature was checked: name --log-key" in capsys.readouterr().out
    assert audit("verify", tiles, "--log-key", LogKey.generate().public.to_text()) == 1
    (tile,) = (tiles / "tile" / "0").glob("*.p/*")
    data = tile.read_bytes()
    tile.write_bytes(data[:70] + bytes([data[70] ^ 1]) + data[71:])
    capsys.readouterr()
    assert audit("verify", tiles, "--log-key", log_key, home=elsewhere) == 1
    assert f"{tile.parent.name}/{tile.name}" in capsys.readouterr().err


def test_passages_under_no_signature_are_told(home: Path, capsys: Out) -> None:
    assert audit("verify", home=home) == 0
    assert "under no signed checkpoint" not in capsys.readouterr().out
    reset = ["budget", "reset", "--user", "ada", "--window", "day", "--yes", "--home", str(home)]
    assert main(reset) == 0
    assert audit("verify", home=home) == 0
    assert "of these 1 at the end under no signed checkpoint yet" in capsys.readouterr().out
    with closing(sqlite3.connect(home / "ledger" / "ledger.sqlite3")) as db:
        db.execute("DELETE FROM checkpoints")
        db.commit()
    assert audit("verify", home=home) == 0
    assert "of these 7 at the end under no signed checkpoint yet" in capsys.readouterr().out
    assert audit("report", "--user", "ada", "--format", "md", home=home) == 0
    assert "7 records at the end under no signed checkpoint" in capsys.readouterr().out


class Carrier:
    """Carries requests and answers between a home and a witness, as files."""

    def __init__(self, folder: Path, log_key: str, out: Out) -> None:
        self.request, self.response = folder / "ask", folder / "answer"
        self._state, self._log_key, self._out = folder / "witness", log_key, out
        folder.mkdir(exist_ok=True)
        self.key = ""

    def witnessed(self) -> int:
        return audit(
            "witness", "--state", self._state, "--log-key", self._log_key,
            "--request", self.request, "--response", self.response,
        )  # fmt: skip

    def learn_key(self) -> None:
        self._out.readouterr()
        assert audit("witness", "--state", self._state) == 0
        self.key = self._out.readouterr().out.strip().split(": ")[1]

    def asking(self, key: str | None = None) -> list[str | Path]:
        return ["cosign", "--witness-key", key or self.key, "--request", self.request]

    def taking(self) -> list[str | Path]:
        return [*self.asking(), "--response", self.response]


def test_a_log_is_cosigned_by_files_and_a_rollback_against_its_witness_is_refused(
    home: Path, log_key: str, leave: Callable[[], None], tmp_path: Path, capsys: Out
) -> None:
    carrier, file = Carrier(tmp_path / "carried", log_key, capsys), tmp_path / "log.ugsd"
    carrier.learn_key()
    assert audit("verify", "--witness-key", carrier.key, home=home) == 1
    assert "cosigned no checkpoint" in capsys.readouterr().err
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0
    capsys.readouterr()
    assert audit(*carrier.taking(), home=home) == 0
    assert "cosigned 6 passages;" in capsys.readouterr().out
    first = carrier.request.read_bytes(), carrier.response.read_bytes()
    backup = tmp_path / "backup"
    shutil.copytree(home, backup)
    leave()
    assert audit(*carrier.asking(), home=home) == 0
    assert "from 6 passages on" in capsys.readouterr().out
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0
    carrier.request.write_bytes(first[0])
    carrier.response.write_bytes(first[1])
    capsys.readouterr()
    assert audit(*carrier.taking(), home=home) == 0
    assert "cosigned 12 passages later, which are kept" in capsys.readouterr().out
    assert audit("verify", "--witness-key", carrier.key, home=home) == 0
    assert "cosigned 12 of the 12 passages at 20" in capsys.readouterr().out
    assert audit("export", file, "--tiles", tmp_path / "t", home=home) == 0
    assert (tmp_path / "t" / "checkpoint").read_text("utf-8").count("— ") == 2
    capsys.readouterr()
    assert audit("verify", file, "--log-key", log_key, "--witness-key", carrier.key) == 0
    assert "cosigned 12 of the 12" in capsys.readouterr().out
    other = WitnessKey.generate().public.to_text()
    assert audit("verify", file, "--witness-key", other) == 1

    # The ledger alone is restored: what the witness cosigned, kept beside it, finds that.
    shutil.rmtree(home / "ledger")
    shutil.copytree(backup / "ledger", home / "ledger")
    (home / "ledger.anchor").write_bytes((backup / "ledger.anchor").read_bytes())
    assert audit("verify", home=home) == 1
    assert "truncated: 12 leaves were signed, 6 are here" in capsys.readouterr().err
    assert audit("report", "--format", "md", "--out", tmp_path / "r.md", home=home) == 1
    assert "NOT verify at record 6" in (tmp_path / "r.md").read_text("utf-8")
    assert audit(*carrier.asking(), home=home) == 1
    assert "rolled back: the witness cosigned 12 leaves, 6" in capsys.readouterr().err

    # The whole home is restored: the witness itself finds that.
    assert audit(*carrier.asking(), home=backup) == 0
    assert carrier.witnessed() == 1
    assert "this witness is at 12 passages" in capsys.readouterr().err
    assert audit(*carrier.taking(), home=backup) == 1
    assert "rolled back: the witness cosigned 12 leaves, 6" in capsys.readouterr().err

    # And goes on from there: it has forked.
    leave_from(backup)
    assert audit(*carrier.asking(), home=backup) == 0
    assert carrier.witnessed() == 1
    assert audit(*carrier.taking(), home=backup) == 1
    assert "carry" in capsys.readouterr().err
    assert carrier.witnessed() == 1
    assert "refused (422)" in capsys.readouterr().err


def leave_from(home: Path) -> None:
    """Eight more passages of a home: resets, which need no verifier."""
    door = Door(Home.at(home), BudgetLimits(), "ada")
    egress = door.open()
    for _ in range(8):
        egress.reset(["day"])
    door.close()


def test_a_witness_that_is_behind_is_asked_once_more_from_there(
    home: Path, log_key: str, tmp_path: Path, capsys: Out
) -> None:
    carrier = Carrier(tmp_path / "carried", log_key, capsys)
    carrier.learn_key()
    assert audit(*carrier.asking(), home=home) == 0
    assert carrier.witnessed() == 0, "an answer that never came back"
    assert audit(*carrier.asking(), home=home) == 0, "it knows of nothing cosigned"
    assert carrier.witnessed() == 1, "the witness is at 6"
    assert audit(*carrier.taking(), home=home) == 1
    assert f"carry {carrier.request} to it once more" in capsys.readouterr().err
    assert carrier.witnessed() == 0
    assert audit(*carrier.taking(), home=home) == 0


def test_a_witness_is_begun_by_its_key_and_asked_with_all_it_needs(
    log_key: str, tmp_path: Path, capsys: Out
) -> None:
    state, ask = ["--state", tmp_path / "w"], ["--request", tmp_path / "ask"]
    told = []
    for _ in range(2):
        assert audit("witness", *state) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("witness key: ugsd.witness/")
    back, key = ["--response", tmp_path / "answer"], ["--log-key", log_key]
    for given in (ask, [*ask, *back], [*ask, *key], back):
        assert audit("witness", *state, *given) == 2
    assert "--request" in capsys.readouterr().err
    (tmp_path / "w" / "witness.sqlite3").write_bytes(b"")
    assert audit("witness", *state) == 1
    assert "forgot what it cosigned" in capsys.readouterr().err


def test_another_log_of_the_size_that_was_cosigned_is_refused_and_no_answer_written(
    tmp_path: Path, capsys: Out
) -> None:
    key = LogKey.generate()
    carrier = Carrier(tmp_path / "carried", key.public.to_text(), capsys)
    for old, root, code in ((0, bytes(32), 0), (3, b"f" * 32, 1)):
        carrier.response.unlink(missing_ok=True)
        note = sign_checkpoint(3, root, key)
        carrier.request.write_bytes(AddCheckpoint(old, (), note).to_bytes())
        assert carrier.witnessed() == code
    assert "refused (409): not the tree of 3 leaves" in capsys.readouterr().err
    assert not carrier.response.exists()


def test_a_cosignature_of_no_calendars_time_is_refused_when_it_is_taken_in(
    home: Path, tmp_path: Path, capsys: Out
) -> None:
    key, ask = WitnessKey.generate(), tmp_path / "ask"
    given = ["cosign", "--witness-key", key.public.to_text(), "--request", ask]
    assert audit(*given, home=home) == 0
    text = AddCheckpoint.from_bytes(ask.read_bytes()).note.partition("\n\n")[0] + "\n"
    (tmp_path / "answer").write_text(cosign(text, key, 2**62), "utf-8")
    assert audit(*given, "--response", tmp_path / "answer", home=home) == 1
    assert "a time that is none" in capsys.readouterr().err
    assert audit("verify", home=home) == 0


@pytest.mark.parametrize("command", ["export", "receipt", "prove", "cosign", "witness", "verify"])
def test_help_is_given_with_an_example(command: str, capsys: Out) -> None:
    assert audit(command, "--help") == 0
    out = capsys.readouterr().out
    assert f"ugsd audit {command}" in out[out.index("Example") :]


def test_an_export_takes_the_place_of_nothing_that_a_home_needs(
    home: Path, tmp_path: Path, capsys: Out
) -> None:
    before = (home / "log.key").read_bytes()
    for target in (home / "log.key", home / "ledger" / "x", home / ".." / home.name / "y"):
        assert audit("export", target, home=home) == 2
    assert audit("export", "--tiles", home / "tiles", home=home) == 2
    assert (home / "log.key").read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    assert audit("export", tmp_path / "pipe", home=home) == 2
    for option in (["--with-bodies"], ["--since", tmp_path / "x"]):
        assert audit("export", "--tiles", tmp_path / "t", *option, home=home) == 2
    assert "name one" in capsys.readouterr().err


def test_what_a_folder_of_tiles_calls_itself_colours_no_terminal(
    tmp_path: Path, capsys: Out
) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    root = base64.b64encode(EMPTY_ROOT).decode()
    name = "evil\x1b[2J\x07.example"
    signature = base64.b64encode(bytes(68)).decode()
    (folder / "checkpoint").write_text(f"{name}\n0\n{root}\n\n\u2014 evil {signature}\n", "utf-8")
    audit("verify", folder)
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


@pytest.mark.parametrize("hour", [-5, 70_389_600, 10**14, 2**63 - 1])
def test_an_hour_that_is_none_is_shown_as_none_and_not_exported(
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


def test_a_home_without_a_log_meets_no_demand_for_a_witness(elsewhere: Path, capsys: Out) -> None:
    witness = WitnessKey.generate().public.to_text()
    assert audit("verify", "--witness-key", witness, home=elsewhere) == 1
    assert "cosigned" in capsys.readouterr().err


def test_a_day_before_which_is_erased_begins_in_utc(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    asked: list[object] = []
    monkeypatch.setattr(
        "ugsd_privacy.egress.Egress.erase", lambda self, **given: asked.append(given) or (0, -1)
    )
    try:
        assert audit("erase", "--before", "2026-01-02", "--yes", home=home) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked[-1]["before_s"] == 1_767_312_000  # 2026-01-02 00:00 UTC
