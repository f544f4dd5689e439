"""``ugsd audit report`` and ``ugsd audit fleet``, with homes from which captions were sent."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.log_signer import LogSigner
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.files.marks import MarkFile
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_privacy.reports.schema import read_report
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.home import Home, UserEgress
from ugsd_sdk.settings.config import Settings

from tests.doubles.reasons import why_of

Capsys = pytest.CaptureFixture[str]
DAY_S = 86_400
USER = "ada@home"
"""A name that occurs in no hash or key by chance."""


@pytest.fixture
def used(new_captioner: Callable[..., Captioner], voice: NDArray[Any], tmp_path: Path) -> Path:
    """A home from which one caption of ada's was sent."""
    with new_captioner(user=USER) as captioner:
        assert captioner.caption(voice, 16_000).unverified_reason is None
    return tmp_path / "home"


def tamper(home: Path) -> None:
    db = sqlite3.connect(Ledger(home / "ledger").path)
    db.execute("UPDATE charges SET bytes = bytes + 1 WHERE leaf = 2")
    db.commit()
    db.close()


def written(home: Path, *arguments: str, code: int = 0, out: Path) -> str:
    options = ["--home", str(home), "--user", USER, "--out", str(out), *arguments]
    assert main(["audit", "report", *options]) == code
    return out.read_text("utf-8")


def test_report_contains_what_was_logged(used: Path, tmp_path: Path, fake: Any) -> None:
    text = written(used, "--format", "json", "--since", "1d", out=tmp_path / "r.json")
    report = read_report(text.encode())
    sent = [token for block in fake.blocks for token in (*block.prefix, *block.tokens)]
    (caption,) = report.captions
    assert [part.token for part in caption.content if part.kind == "word"] == sent
    assert report.total.bytes == sum(map(len, fake.frames))
    assert report.verification.outcome == "verified"
    assert report.never
    assert "summary, without noise" in report.protections[0].title
    assert report.protections[0].learnt, "blocks were sent, so figures are shown"
    assert report.checkpoint.startswith(report.log.partition("+")[0])


def test_each_format_is_written(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    assert written(used, out=tmp_path / "r.html").startswith("<!DOCTYPE html>")
    markdown = written(used, "--format", "md", out=tmp_path / "r.md")
    assert f"# What was sent for {USER}" in markdown.replace("\\", "")
    empty = tmp_path / "empty"
    assert main(["audit", "report", "--home", str(empty), "--format", "md"]) == 0
    assert "nothing was sent yet" in capsys.readouterr().out
    assert not empty.exists()


def test_failed_log_is_reported_with_exit_code(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    tamper(used)
    out = tmp_path / "r.json"
    report = read_report(written(used, "--format", "json", code=1, out=out).encode())
    assert (report.verification.outcome, report.verification.index) == ("failed", 2)
    assert "charge 2" in capsys.readouterr().err
    page = written(used, code=1, out=tmp_path / "r.html")
    assert "The log does NOT verify at record 2" in page


def test_lost_ledger_is_reported_as_failure(used: Path, tmp_path: Path) -> None:
    Ledger(used / "ledger").path.unlink()
    text = written(used, "--format", "json", code=1, out=tmp_path / "r.json")
    assert "removed" in read_report(text.encode()).verification.message


def test_report_counts_without_owner_key(used: Path, tmp_path: Path) -> None:
    (used / "owner.key").rename(tmp_path / "stick.key")
    out = tmp_path / "r.json"
    report = read_report(written(used, "--format", "json", out=out).encode())
    assert report.verification.unread > 0
    assert report.captions[0].content == ()
    assert report.total.tokens > 0
    key = str(tmp_path / "stick.key")
    whole = read_report(written(used, "--format", "json", "--owner-key", key, out=out).encode())
    assert whole.captions[0].content


def test_fleet_names_failed_log_but_no_user(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    share = ("--format", "json", "--without-content")
    good, bad = tmp_path / "hall.json", tmp_path / "kitchen.json"
    assert USER not in written(used, *share, "--since", "0d", out=good)
    tamper(used)
    written(used, *share, "--since", "2d", "--until", "1d", code=1, out=bad)
    capsys.readouterr()
    command = ["audit", "fleet", str(good), str(bad), "--format"]
    assert main([*command, "json"]) == 1
    printed = capsys.readouterr()
    names = {row["device"] for row in json.loads(printed.out)["devices"]}
    assert names == {"file hall", "file kitchen"}, "nothing proves which device sent a report"
    assert "does NOT verify at record 2" in printed.err
    assert main([*command, "md", "--by-file"]) == 1
    assert "without proof, that its log does NOT verify at record 2" in capsys.readouterr().err
    assert main([*command, "html", "--out", str(tmp_path / "f.html")]) == 1
    assert main(["audit", "fleet", str(good), "--format", "md"]) == 0


def test_fleet_verifies_exports_against_known_logs(
    used: Path, tmp_path: Path, new_captioner: Any, voice: NDArray[Any], capsys: Capsys
) -> None:
    known, files = (
        tmp_path / "known.json",
        [str(tmp_path / f"hall.{kind}") for kind in ("json", "ugsd")],
    )

    def sent() -> None:
        written(used, "--format", "json", "--without-content", out=Path(files[0]))
        assert main(["audit", "export", files[1], "--home", str(used)]) == 0
        capsys.readouterr()

    def fleet(*options: str, code: int = 0) -> dict[str, Any]:
        named = ["--by-file", "--known", str(known), "--format", "json", *options]
        assert main(["audit", "fleet", *files, *named]) == code
        page: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert USER not in json.dumps(page)
        return page

    sent()
    (row,) = fleet()["devices"]
    assert (row["device"], row["verified_by"], row["earlier"]) == ("hall", "reader", None)
    old = Path(files[1]).read_bytes()
    with new_captioner(user=USER) as captioner:
        captioner.caption(voice, 16_000)
    sent()
    (row,) = fleet()["devices"]
    assert row["verification"]["size"] > row["earlier"] > 0
    Path(files[1]).write_bytes(old)
    row, claim = fleet(code=1)["devices"]
    assert (row["device"], claim["device"]) == ("hall", "report hall")
    for found in (row, claim):
        assert "truncated" in found["verification"]["message"]
    sent()
    assert fleet()["devices"][0]["verification"]["outcome"] == "verified", (
        "the known logs are unchanged"
    )
    Path(files[0]).write_text("{}")
    outcomes = [row["verification"] for row in fleet(code=1)["devices"]]
    assert [found["outcome"] for found in outcomes] == ["failed", "verified"]
    assert "hall.json: not a report" in outcomes[0]["message"]
    files[:] = [str(tmp_path / "office.ugsd")]
    Path(files[0]).write_bytes(b"damaged")
    by_device = {row["device"]: row["verification"]["outcome"] for row in fleet(code=1)["devices"]}
    assert by_device == {"office": "failed", "hall": "missing"}
    known.write_text("[]")
    assert main(["audit", "fleet", files[0], "--known", str(known)]) == 1
    assert "not a file of known logs from an earlier fleet report" in capsys.readouterr().err


def test_export_and_report_join_by_log(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    report, export = tmp_path / "a.json", tmp_path / "b.ugsd"
    written(used, "--format", "json", "--without-content", out=report)
    assert main(["audit", "export", str(export), "--home", str(used)]) == 0
    capsys.readouterr()
    assert main(["audit", "fleet", str(report), str(export), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["devices"]
    assert (row["verified_by"], row["device"]) == ("reader", row["log"].partition("+")[0])


def read(home: Path, *arguments: str, out: Path, code: int = 0) -> Any:
    return read_report(written(home, "--format", "json", *arguments, code=code, out=out).encode())


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ([], -30, 0),
        (["--since", "0d"], 0, 0),
        (["--since", "7d", "--until", "1d"], -7, -1),
        (["--since", "1970-01-02", "--until", "1970-01-03"], None, None),
        (["--since", "99999d"], -99999, 0),
    ],
)
def test_report_covers_whole_days(
    used: Path, tmp_path: Path, options: list[str], first: int | None, last: int | None
) -> None:
    today = int(time.time()) // DAY_S
    report = read(used, *options, out=tmp_path / "r.json")
    begin, end = (1, 2) if first is None or last is None else (max(0, today + first), today + last)
    assert (report.since_s, report.until_s) == (begin * DAY_S, (end + 1) * DAY_S)
    assert bool(report.total.frames) == (end == today)
    assert bool(report.earlier or report.later) == (end != today)


def test_unknown_user_or_home_is_noted(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["audit", "report", "--home", str(used), "--user", "adda", "--format", "md"]) == 0
    assert f"has no records of 'adda'; it has records of '{USER}'" in capsys.readouterr().err
    nowhere = tmp_path / "nowhere"
    assert main(["audit", "report", "--home", str(nowhere), "--format", "md"]) == 0
    assert f"the log at {nowhere / 'ledger'} has no records of 'default'" in capsys.readouterr().err
    written(used, "--until", "1d", out=tmp_path / "r.html")
    assert "has no records" not in capsys.readouterr().err, "it has records of other days"


def test_report_with_words_is_private(used: Path, tmp_path: Path) -> None:
    mine, shared = tmp_path / "mine.html", tmp_path / "shared.html"
    mine.write_text("old")
    mine.chmod(0o644)
    written(used, out=mine)
    written(used, "--without-content", out=shared)
    assert (mine.stat().st_mode & 0o777, shared.stat().st_mode & 0o077) == (0o600, 0o044)
    assert not list(tmp_path.glob(".*"))


def test_cosigned_checkpoint_exposes_a_lost_ledger(used: Path, tmp_path: Path) -> None:
    home = Home.from_path(used)
    with home.open_ledger() as ledger, ledger.signing() as log:
        note = LogSigner(LogKey.load(home.log_key)).sign(log)[1]
    home.cosigned.mkdir()
    (home.cosigned / "0123.note").write_text(note)
    MarkFile(home.cosigned).make()
    assert read(used, out=tmp_path / "r.json").verification.outcome == "verified"
    shutil.rmtree(home.ledger)
    for path in (home.log_key, home.anchor):
        path.unlink()
    found = read(used, code=1, out=tmp_path / "r.json").verification
    assert (found.outcome, found.index) == ("failed", 0)
    assert main(["audit", "verify", "--home", str(used)]) == 1


def test_protections_are_those_of_sent_blocks(
    new_captioner: Callable[..., Captioner], voice: NDArray[Any], tmp_path: Path
) -> None:
    sent = {
        USER: {"noise": {"sigma": 2.0}, "disclosure": "summary"},
        "ben": {"disclosure": "block_states"},
        "cyd": {"disclosure": "tokens"},
    }
    home = tmp_path / "home"
    for user, settings in sent.items():
        config = Settings.model_validate({"home": home, "user": user, **settings})
        with new_captioner(config=config, policy=AlwaysEscalate(config.disclosure)) as captioner:
            captioner.caption(voice, 16_000)
    ada = read(home, out=tmp_path / "r.json")
    way, configured = ada.protections
    assert way.title == "Blocks sent as summary, with noise of sigma 2"
    assert "the epsilon that is shown with" in way.bound[0]
    assert "noise = none" in configured.title
    others = {}
    for user in ("ben", "cyd"):
        ways = read(home, "--user", user, out=tmp_path / "r.json").protections
        others[user] = [(way.title.partition("as ")[2], way.bound[0]) for way in ways[:-1]]
    assert others == {
        "ben": [("block_states, without noise", "nothing: the states were sent without noise")],
        "cyd": [
            ("tokens, without states",
             "nothing: no states were sent, and words never have noise"),
        ],
    }  # fmt: skip


def test_report_for_others_contains_no_settings(used: Path, tmp_path: Path) -> None:
    config = tmp_path / "ugsd.toml"
    config.write_text('[verifier]\nurl = "wss://ada-smith:hunter2@captions.example.org/ada"\n')
    for form in ("json", "md", "html"):
        options = ["--config", str(config), "--format", form]
        shared = written(used, "--without-content", *options, out=tmp_path / "r")
        mine = written(used, *options, out=tmp_path / "r")
        for secret in ("hunter2", "example.org", "ada-smith"):
            assert secret not in shared
            assert secret not in mine, "a report never contains a password"


def test_report_has_caps_of_user_and_device(used: Path, tmp_path: Path) -> None:
    config = tmp_path / "ugsd.toml"
    config.write_text(f'[users."{USER}"]\nblocks_per_day = 77\n')
    home = ["--home", str(used), "--user", USER]
    assert main(["budget", "set", "bytes_per_day=5000", *home]) == 0
    caps = {c.cap: c for c in read(used, "--config", str(config), out=tmp_path / "r").caps}
    assert caps["blocks_per_day"].configured == 77
    assert caps["bytes_per_day"].on_device == 5000
    assert caps["bytes_per_day"].used == read(used, out=tmp_path / "r").total.bytes


def test_every_decision_is_counted(
    new_captioner: Callable[..., Captioner], voice: NDArray[Any], tmp_path: Path
) -> None:
    limits = {"blocks_per_day": 1}
    config = Settings.model_validate({"home": tmp_path / "home", "user": USER, "limits": limits})
    with new_captioner(config=config) as captioner:
        reasons_given = [
            why_of(captioner.caption(voice, 16_000).unverified_reason) for _ in range(3)
        ]
    assert any(reasons_given)
    reasons = read(tmp_path / "home", out=tmp_path / "r").reasons
    blocked = {r.reason: r.blocks for r in reasons if r.outcome == "blocked"}
    assert blocked["blocks_per_day"] >= 2


TAMPERING = [
    "UPDATE charges SET bytes = -256 WHERE leaf = 1",
    "UPDATE charges SET caption = x'00' WHERE leaf = 1",
    "UPDATE charges SET hour = -5 WHERE leaf = 1",
    "UPDATE totals SET spend = -1",
    "DELETE FROM checkpoints",
    "DELETE FROM epochs",
    "DROP TABLE nodes",
    "UPDATE leaves SET sealed = x'01' WHERE leaf = 1",
]
BESIDE = [
    "UPDATE start SET time_s = 9e999",
    f"INSERT INTO caps VALUES ('{USER}', 'blocks_per_day', 9e999)",
    f"INSERT INTO caps VALUES ('{USER}', 'blocks_per_day', -1)",
    f"INSERT INTO caps VALUES ('{USER}', 'foo', 5)",
    "UPDATE decisions SET tokens = -5",
    "UPDATE decisions SET time_s = 9223372036854775807",
    "UPDATE decisions SET outcome = 'x'",
]


@pytest.mark.parametrize("statement", [*TAMPERING, *BESIDE])
def test_report_finds_the_faults_that_verify_finds(
    used: Path, tmp_path: Path, statement: str
) -> None:
    db = sqlite3.connect(used / "ledger" / "ledger.sqlite3")
    db.execute(statement)
    db.commit()
    db.close()
    code = main(["audit", "verify", "--home", str(used)])
    report = read(used, out=tmp_path / "r.json", code=code)
    for form in ("html", "md"):
        written(used, "--format", form, out=tmp_path / "r", code=code)
    if statement in BESIDE:
        assert code == 0, "it is no part of the log"
        assert bool(report.faults) == (
            "decisions SET time_s" not in statement and "'x'" not in statement
        )


def test_faults_outside_the_log_hide_none_inside(used: Path, tmp_path: Path) -> None:
    tamper(used)
    db = sqlite3.connect(used / "ledger" / "ledger.sqlite3")
    db.execute(BESIDE[2])
    db.commit()
    db.close()
    report = read(used, out=tmp_path / "r.json", code=1)
    assert report.verification.index == 2
    assert report.faults == ("a cap that was set on this device is invalid",)
    assert report.total.frames, "the content of the log is still shown"


def test_report_never_names_another_user(
    used: Path, new_captioner: Any, voice: NDArray[Any], tmp_path: Path
) -> None:
    with new_captioner(user="ben@home") as captioner:
        captioner.caption(voice, 16_000)
    db = sqlite3.connect(used / "ledger" / "ledger.sqlite3")
    db.execute("UPDATE totals SET bytes = bytes + 1 WHERE user = 'ben@home' AND window = 'day'")
    db.commit()
    db.close()
    text = written(used, "--format", "json", out=tmp_path / "r.json", code=1)
    assert "ben@home" not in text
    assert "the totals of another user are wrong" in text
    own = read(used, "--user", "ben@home", out=tmp_path / "r.json", code=1)
    assert "the total of ben@home's day" in own.verification.message


def test_each_user_has_a_stable_subject(
    used: Path, new_captioner: Any, voice: NDArray[Any], tmp_path: Path
) -> None:
    with new_captioner(user="ben") as captioner:
        captioner.caption(voice, 16_000)
    subjects = [
        read(used, "--user", user, out=tmp_path / "r").subject for user in (USER, "ben", USER)
    ]
    assert subjects[0] == subjects[2] != subjects[1]
    assert all(len(subject) == 16 for subject in subjects)


def test_unreadable_records_claim_no_protection(used: Path, tmp_path: Path) -> None:
    (used / "owner.key").unlink()
    unread, configured = read(used, out=tmp_path / "r.json").protections
    assert "blocks whose records cannot be read" in unread.title
    assert "unknown" in unread.learnt[0]
    assert configured.title.startswith("With the settings")


def test_figures_appear_once_whatever_the_target(used: Path, tmp_path: Path) -> None:
    config = tmp_path / "ugsd.toml"
    config.write_text("target_risk = 0.3\n")
    for options in ([], ["--config", str(config)]):
        way, configured = read(used, *options, out=tmp_path / "r.json").protections
        assert "summary" in way.title
        assert way.learnt[0] != "nothing", "a verifier was set when they were sent"
        if not options:
            assert configured.learnt == ()


def test_devices_with_equal_file_names_stay_apart(
    used: Path, new_captioner: Any, voice: NDArray[Any], tmp_path: Path, capsys: Capsys
) -> None:
    with new_captioner(user=USER, home=tmp_path / "other") as captioner:
        captioner.caption(voice, 16_000)
    files = []
    for folder, home in (("a", used), ("b", tmp_path / "other")):
        report, export = tmp_path / folder / "report.json", tmp_path / folder / "report.ugsd"
        written(home, "--format", "json", "--without-content", out=report)
        assert main(["audit", "export", str(export), "--home", str(home)]) == 0
        files += [str(report), str(export)]
    known = ["--known", str(tmp_path / "known.json"), "--format", "json"]
    capsys.readouterr()
    for _ in range(2):
        assert main(["audit", "fleet", *files, "--by-file", *known]) == 0
        rows = json.loads(capsys.readouterr().out)["devices"]
        assert [(row["device"], row["verified_by"]) for row in rows] == [
            ("a/report", "reader"), ("b/report", "reader")
        ]  # fmt: skip
    assert main(["audit", "fleet", *files, *known]) == 2
    assert "names devices by their files: give --by-file" in capsys.readouterr().err
    assert main(["audit", "fleet", *files, files[0], "--format", "json"]) == 0, (
        "a file given twice counts once"
    )
    linked = tmp_path / "again.json"
    linked.symlink_to(files[0])
    assert main(["audit", "fleet", *files, str(linked), "--format", "json"]) == 0
    again = tmp_path / "copy.json"
    shutil.copy(files[0], again)
    capsys.readouterr()
    assert main(["audit", "fleet", *files, str(again), "--format", "json"]) == 1
    fleet = json.loads(capsys.readouterr().out)
    outcomes = [row["verification"]["outcome"] for row in fleet["devices"]]
    assert outcomes == ["disputed", "disputed", "verified", "verified"]
    assert fleet["total"]["bytes"] == rows[1]["total"]["bytes"]


def test_forked_exports_of_one_log_fail(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    shutil.copytree(used, tmp_path / "fork")
    files = []
    for name, home in (("one", used), ("two", tmp_path / "fork")):
        user_egress = UserEgress(Home.from_path(home), BudgetLimits(), USER)
        user_egress.open().acts.reset(["day" if name == "one" else "hour"])
        user_egress.close()
        files.append(str(tmp_path / f"{name}.ugsd"))
        assert main(["audit", "export", files[-1], "--home", str(home)]) == 0
    capsys.readouterr()
    assert main(["audit", "fleet", *files, "--by-file", "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)["devices"]
    assert [row["verification"]["outcome"] for row in rows] == ["failed", "failed"]


def test_faulty_files_are_named(used: Path, tmp_path: Path, capsys: Capsys) -> None:
    for arguments in (["--since", "soon"], ["--since", "2030-01-01", "--until", "2029-01-01"]):
        assert main(["audit", "report", "--home", str(used), *arguments]) == 2
    capsys.readouterr()
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    assert main(["audit", "fleet", str(broken)]) == 1
    assert "not a report that this release can read" in capsys.readouterr().err
    assert main(["audit", "fleet", str(tmp_path / "none.json")]) == 1
    nowhere = str(broken / "r.json")
    assert main(["audit", "report", "--home", str(used), "--format", "json", "--out", nowhere]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_schema_is_printed(capsys: Capsys) -> None:
    assert main(["audit", "report", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "UGSD reports"
