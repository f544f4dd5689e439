"""``ugsd audit fleet``: reports, which anyone can forge, beside an export signed by its log."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.keys.log import LogKey, LogPublicKey
from ugsd_privacy.reports import claims
from ugsd_sdk.cli import main

from tests.sdk.cli.test_foreign_numbers import KEY, LEAF, MOST, TOTAL, export_bytes, report_of

ORIGIN = KEY.public.origin
SUBJECT = "a" * 16
TAMPERED = {"outcome": "failed", "message": "the owner tampered with it", "index": 0}
FORGERIES: dict[str, dict[str, Any]] = {
    "same user": {},
    "same user, nothing sent": {"total": dict.fromkeys(dict(TOTAL), 0)},
    "failure": {"subject": "b" * 16, "verification": TAMPERED},
    "too much": {"subject": "c" * 16, "total": dict.fromkeys(dict(TOTAL), MOST)},
    "too much of the same user": {"total": dict.fromkeys(dict(TOTAL), MOST)},
}


def report(**changes: Any) -> dict[str, Any]:
    return report_of(KEY, subject=SUBJECT) | changes


def page(*files: Path, options: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main(["audit", "fleet", *map(str, files), "--format", "json", *options])
    rows = json.loads(out.getvalue())["devices"]
    assert len({row["device"] for row in rows}) == len(rows)
    return code, {row["device"]: row for row in rows}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The victim's report and export."""
    (tmp_path / "honest.json").write_text(json.dumps(report()))
    (tmp_path / "honest.ugsd").write_bytes(export_bytes(KEY, [LEAF, LEAF]))
    return [tmp_path / "honest.json", tmp_path / "honest.ugsd"]


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_report_fails_no_proven_log(kind: str, files: list[Path], tmp_path: Path) -> None:
    forged = tmp_path / "a-forged.json"
    forged.write_text(json.dumps(report(**FORGERIES[kind])))
    seen = []
    for order in itertools.permutations([forged, *files]):
        code, rows = page(*order)
        row, claim = rows[ORIGIN], rows["file a-forged"]
        assert (row["verification"]["outcome"], row["verified_by"]) == ("verified", "reader")
        assert row["logged"]["bytes"] == 2 * LEAF[0]
        assert claim["verification"]["outcome"] in {"disputed", "unverified"}
        assert ORIGIN in claim["verification"]["message"]
        assert (claim["log"], claim["claims"], code) == ("", KEY.public.to_text(), 1)
        seen.append({name: (r["verification"]["outcome"], r["total"]) for name, r in rows.items()})
    assert all(found == seen[0] for found in seen), "the order of files does not matter"
    if kind.startswith("same user"):
        assert seen[0]["file honest"][0] == "disputed", "nothing shows which report is honest"
    else:
        assert seen[0][ORIGIN][1] == report()["total"], "the victim's report stays joined"


@pytest.mark.parametrize("kind", FORGERIES)
def test_report_alone_cannot_take_log_name(kind: str, files: list[Path], tmp_path: Path) -> None:
    forged = tmp_path / "a-forged.json"
    forged.write_text(json.dumps(report(**FORGERIES[kind])))
    for order in ([forged, files[0]], [files[0], forged]):
        _, rows = page(*order)
        assert set(rows) == {"file a-forged", "file honest"}
        same = report(**FORGERIES[kind])["subject"] == SUBJECT
        for row in rows.values():
            assert row["verification"]["outcome"] == ("disputed" if same else "unverified")
            assert "not verified" in row["verification"]["message"] or same


def test_report_does_not_replace_a_missing_log(files: list[Path], tmp_path: Path) -> None:
    known = ("--known", str(tmp_path / "known.json"))
    assert page(*files, options=known)[0] == 0
    code, rows = page(files[0], options=known)
    assert code == 1
    assert rows[ORIGIN]["verification"]["outcome"] == "missing"
    assert rows["file honest"]["verification"]["outcome"] == "unverified"


def test_reports_together_cannot_exceed_their_log(files: list[Path], tmp_path: Path) -> None:
    reports = []
    for number in range(3):
        reports.append(tmp_path / f"{number}.json")
        reports[-1].write_text(json.dumps(report(subject=f"{number:016x}")))
    code, rows = page(*reports, files[1])
    assert (code, rows[ORIGIN]["verification"]["outcome"]) == (1, "verified")
    assert {rows[f"file {n}"]["verification"]["outcome"] for n in range(3)} == {"disputed"}


def test_damaged_export_cannot_take_log_name(files: list[Path]) -> None:
    data = files[1].read_bytes()
    files[1].write_bytes(data[:-30] + bytes(30))
    _, rows = page(files[1])
    assert set(rows) == {"file honest"}


def test_each_export_is_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures, exports = [], []
    verify, prove = LogPublicKey.verify, claims.prove
    monkeypatch.setattr(
        LogPublicKey, "verify", lambda *a, **k: signatures.append(1) or verify(*a, **k)
    )
    monkeypatch.setattr(claims, "prove", lambda *a, **k: exports.append(1) or prove(*a, **k))
    key, counts = LogKey.generate(), []
    for number in (10, 20):
        for index in range(number):
            leaves = [LEAF] * (index + 1)
            (tmp_path / f"{index}.ugsd").write_bytes(export_bytes(key, leaves))
        signatures.clear()
        exports.clear()
        code, rows = page(*(tmp_path / f"{index}.ugsd" for index in range(number)))
        assert (code, len(rows), len(exports)) == (0, number, number)
        counts.append(len(signatures))
    assert counts[1] <= 2 * counts[0]


def test_files_of_one_log_are_bounded(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MAX_EXPORTS", 2)
    monkeypatch.setattr(claims, "MAX_CLAIMS", 2)
    reports, exports = [], []
    for number in range(3):
        reports.append(tmp_path / f"r{number}.json")
        reports[-1].write_text(json.dumps(report(subject=f"{number:016x}")))
        exports.append(tmp_path / f"e{number}.ugsd")
        exports[-1].write_bytes(export_bytes(KEY, [LEAF] * (number + 1)))
    _, rows = page(*reports, *exports)
    assert rows["file e0"]["verification"]["outcome"] == "failed"
    assert rows[ORIGIN]["verification"]["outcome"] == "verified"
    assert "more than 2 reports" in rows["file r0"]["verification"]["message"]
