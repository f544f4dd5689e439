"""A log's name is derived from its key, so nobody can use another log's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ugsd_privacy.audit.cosigned import CosignedNotes
from ugsd_privacy.audit.offline import verify_export
from ugsd_privacy.audit.publishing import publish_tiles
from ugsd_privacy.audit.tiles_folder import verify_tiles
from ugsd_privacy.errors import KeyFileError, LogTampered, ReportRejected
from ugsd_privacy.keys.log import LogKey, LogPublicKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.reports.fleet import Device, header_of_export, name_of_log, verify_device
from ugsd_privacy.reports.known_logs import KnownLog, KnownLogs
from ugsd_privacy.reports.schema import read_report
from ugsd_privacy.tlog.checkpoint import sign_checkpoint
from ugsd_privacy.tlog.witness import AddCheckpoint, Witness
from ugsd_privacy.tlog.witness_state import WitnessState

from tests.doubles.impostor import forged_export, impostor_of
from tests.privacy.reports.report_world import report_of, send


@pytest.fixture
def victim(log_key: LogKey) -> LogPublicKey:
    return log_key.public


@pytest.fixture
def forged(world, victim: LogPublicKey, tmp_path: Path) -> Iterator[Path]:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    with world.ledger.reading() as view:
        yield forged_export(view, impostor_of(victim), tmp_path / "forged.ugsd")


def test_export_under_another_logs_name_is_refused(forged: Path) -> None:
    with forged.open("rb") as file, pytest.raises(LogTampered, match="uses another log's name"):
        verify_export(file)
    with pytest.raises(LogTampered, match="uses another log's name"):
        header_of_export(forged)
    row = verify_device(Device("file forged", export=forged))
    assert row.verification.outcome == "failed"
    assert KnownLogs().updated([row]).logs == {}


def test_report_under_another_logs_name_is_refused(world, victim: LogPublicKey) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    fields = json.loads(report_of(world).model_dump_json())
    assert read_report(json.dumps(fields).encode()).log == victim.to_text()
    for log in (impostor_of(victim).public.to_text(), victim.origin, victim.to_text() + "\n"):
        with pytest.raises(ReportRejected, match="the report's log"):
            read_report(json.dumps(fields | {"log": log}).encode())


def test_known_log_under_another_name_is_refused(victim: LogPublicKey, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    for key in (impostor_of(victim), LogKey.generate()):
        log = KnownLog(
            key=key.public.to_text(), checkpoint=sign_checkpoint(1, bytes(32), key), size=1
        )
        KnownLogs(logs={victim.origin: log}).save(path)
        with pytest.raises(ReportRejected, match="belongs to another log"):
            KnownLogs.load(path)


def test_two_keys_for_one_file_store_nothing(
    world, new_world, victim: LogPublicKey, tmp_path: Path
) -> None:
    egress = world.egress()
    send(world, egress, world.connect(egress))
    rows = []
    for number, key in enumerate((world.log_key, LogKey.generate())):
        with world.ledger.reading() as view:
            export = forged_export(view, key, tmp_path / f"{number}.ugsd")
        rows.append(verify_device(Device("hall", export=export)))
    assert [row.verification.outcome for row in rows] == ["verified"] * 2
    for order in (rows, rows[::-1]):
        assert KnownLogs(named_by="file").updated(order).logs == {}
        first = KnownLogs(named_by="file").updated(rows[:1])
        assert first.updated(order) == first, "a known name stays bound to its key"


def test_every_reader_refuses_another_logs_name(
    world, forged: Path, victim: LogPublicKey, tmp_path: Path
) -> None:
    key = impostor_of(victim)
    with pytest.raises(KeyFileError, match="uses another log's name"):
        LogPublicKey.load(key.public.to_text())
    with world.ledger.reading() as view:
        note = sign_checkpoint(view.size(), view.root(view.size()), key)
        publish_tiles(view, note, key.public, tmp_path / "tiles")
    with pytest.raises(LogTampered, match="did not sign"):
        verify_tiles(tmp_path / "tiles", victim)
    with pytest.raises(LogTampered, match="did not sign"):
        CosignedNotes(tmp_path / "cosigned").store(note, WitnessKey.generate().public, victim)
    state = WitnessState(tmp_path / "witness.sqlite3", create=True).open()
    witness = Witness(WitnessKey.generate(), [victim], state)
    assert witness.add_checkpoint(AddCheckpoint(0, (), note).to_bytes()).status == 403
    assert name_of_log(victim.to_text()) == victim.origin
