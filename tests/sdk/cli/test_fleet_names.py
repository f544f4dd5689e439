"""``ugsd audit fleet``: no file can take another device's place in the table or known logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from ugsd_privacy.audit.offline import verify_export
from ugsd_privacy.audit.records import RECORD_VERSION
from ugsd_privacy.errors import LogOfAnotherVersion
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger
from ugsd_sdk.cli import main

from tests.doubles.impostor import forged_export, impostor_of

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def honest(new_captioner: Any, voice: NDArray[Any], tmp_path: Path) -> Path:
    with new_captioner() as captioner:
        captioner.caption(voice, 16_000)
    export = tmp_path / "honest.ugsd"
    assert main(["audit", "export", str(export), "--home", str(tmp_path / "home")]) == 0
    return export


@pytest.fixture
def forged(honest: Path, tmp_path: Path) -> Path:
    key = impostor_of(LogKey.load(tmp_path / "home" / "log.key").public)
    with Ledger(tmp_path / "home" / "ledger") as ledger, ledger.reading() as view:
        return forged_export(view, key, tmp_path / "forged.ugsd")


def rows_of(capsys: Capsys, *files: Path, known: Path, code: int) -> dict[str, str]:
    capsys.readouterr()
    names = map(str, files)
    arguments = ["audit", "fleet", *names, "--known", str(known), "--format", "json"]
    assert main(arguments) == code
    rows = json.loads(capsys.readouterr().out)["devices"]
    return {row["device"]: row["verification"]["outcome"] for row in rows}


def test_forged_export_displaces_no_honest_one(
    honest: Path, forged: Path, tmp_path: Path, capsys: Capsys
) -> None:
    origin = LogKey.load(tmp_path / "home" / "log.key").public.origin
    known = tmp_path / "known.json"
    assert rows_of(capsys, forged, known=known, code=1) == {"file forged": "failed"}
    for files in ([forged, honest], [honest, forged]):
        found = rows_of(capsys, *files, known=known, code=1)
        assert found == {origin: "verified", "file forged": "failed"}
    assert list(json.loads(known.read_text())["logs"]) == [origin]
    assert rows_of(capsys, honest, known=known, code=0) == {origin: "verified"}


def test_export_of_another_release_is_named(
    honest: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ugsd_privacy.audit.records.RECORD_VERSION", RECORD_VERSION + 1)
    capsys.readouterr()
    assert main(["audit", "verify", str(honest)]) == 1
    printed = capsys.readouterr().err
    assert "was written by another release and cannot be read by this one: leaf 0" in printed
    assert "does NOT verify" not in printed
    with honest.open("rb") as file, pytest.raises(LogOfAnotherVersion) as found:
        verify_export(file)
    assert found.value.index == 0
    found_rows = rows_of(capsys, honest, known=tmp_path / "known.json", code=1)
    assert found_rows == {"file honest": "other version"}
    assert main(["audit", "fleet", str(honest), "--format", "html"]) == 1
    printed_page = capsys.readouterr()
    assert "1 of 1 log of another version" in printed_page.out
    assert "The log was written by another release" in printed_page.err


def test_unsealed_claim_to_a_log_fails(honest: Path, tmp_path: Path, capsys: Capsys) -> None:
    """A log's key and its checkpoints are public: anyone can put them into a file."""
    origin = LogKey.load(tmp_path / "home" / "log.key").public.origin
    copied = tmp_path / "copied.ugsd"
    copied.write_bytes(honest.read_bytes()[:-30] + bytes(30))
    report = tmp_path / "report.json"
    options = ["--home", str(tmp_path / "home"), "--format", "json", "--out", str(report)]
    assert main(["audit", "report", *options]) == 0
    for files in ([copied, honest], [honest, copied]):
        for more in ([], [report]):
            found = rows_of(capsys, *files, *more, known=tmp_path / "known.json", code=1)
            assert found == {origin: "verified", "file copied": "failed"}
