"""A fleet report separates what is proven here from what devices only claim."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from ugsd_privacy.audit.export import export_log
from ugsd_privacy.audit.log_signer import LogSigner
from ugsd_privacy.errors import ReportRejected
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.witness import WitnessKey
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports.fleet import (
    Device,
    header_of_export,
    merge_rows,
    name_of_log,
    verify_device,
)
from ugsd_privacy.reports.fleet_model import FleetRow
from ugsd_privacy.reports.html import fleet_html
from ugsd_privacy.reports.known_logs import KnownLog, KnownLogs
from ugsd_privacy.reports.markdown import fleet_markdown
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.parts import Amounts, Verification
from ugsd_privacy.reports.wording import fleet_verdict

from tests.privacy.reports.report_world import report_of, send

FAILED = Verification(outcome="failed", message="charge 1 differs from record 1", index=1)


class FakeDevice:
    """A device that reports and exports."""

    def __init__(self, world, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.send_block()

    def send_block(self) -> None:
        egress = self.world.egress()
        send(self.world, egress, self.world.connect(egress))
        with self.world.ledger.signing() as log:
            self.note = LogSigner(self.world.log_key).sign(log)[1]

    def report(self, **changes: object) -> Report:
        report = report_of(self.world, checkpoint=self.note)
        return report.model_copy(update=changes).redacted()

    def export(self, name: str = "log.ugsd") -> Path:
        path = self.folder / name
        with self.world.ledger.reading() as view, path.open("wb") as file:
            export_log(view, self.note, self.world.log_key, file)
        return path

    def known(self) -> KnownLog:
        row = verify_device(Device("hall", export=self.export()))
        return KnownLogs().updated([row]).logs["hall"]


@pytest.fixture
def hall(world, tmp_path: Path) -> FakeDevice:
    return FakeDevice(world, tmp_path)


@pytest.fixture
def elsewhere(new_world, tmp_path: Path) -> Iterator[FakeDevice]:
    world = new_world(tmp_path / "other" / "ledger")
    world.log_key = LogKey.generate()
    with world.ledger:
        yield FakeDevice(world, tmp_path / "other")


def failed(device: Device, what: str, index: int | None = None) -> FleetRow:
    row = verify_device(device)
    assert (row.verification.outcome, row.verification.index) == ("failed", index)
    assert re.search(what, row.verification.message), row.verification.message
    return row


def test_verified_export_extends_the_known_log(hall: FakeDevice) -> None:
    known = hall.known()
    hall.send_block()
    row = verify_device(Device("hall", hall.report(), hall.export(), known))
    assert (row.verification.outcome, row.verified_by) == ("verified", "reader")
    assert (row.earlier, row.verification.size) == (2, 4)
    assert row.logged == Amounts(blocks=2, tokens=4, bytes=row.total.bytes)
    assert row.log == hall.world.log_key.public.to_text()
    again = KnownLogs(logs={"hall": known}).updated([row]).logs["hall"]
    assert (again.size, again.key) == (4, known.key)


def test_report_without_export_is_unverified(hall: FakeDevice) -> None:
    row = verify_device(Device("hall", hall.report()))
    assert (row.verification.outcome, row.verified_by) == ("unverified", "device")
    assert "reported by the device, not verified" in row.verification.message
    assert (row.logged, row.log, row.claims) == (None, "", hall.report().log)
    assert KnownLogs().updated([row]).logs == {}, "nothing was proven"


def test_export_without_report_counts_the_whole_log(hall: FakeDevice) -> None:
    fleet = merge_rows([verify_device(Device("hall", export=hall.export()))])
    (row,) = fleet.devices
    assert (row.total, row.logged and row.logged.blocks) == (Amounts(), 1)
    assert fleet.until_s - fleet.since_s == 3600, "the hours in the export"


def test_tampered_export_is_reported_with_its_leaf(hall: FakeDevice) -> None:
    known, export = KnownLogs(logs={"hall": hall.known()}), hall.export()
    with hall.world.ledger.reading() as view:
        ((leaf, _),) = view.leaves(1, 2)
    smaller = leaf[:-5] + bytes([leaf[-5] - 1]) + leaf[-4:]
    export.write_bytes(export.read_bytes().replace(leaf, smaller))
    row = failed(Device("hall", hall.report(), export, known.logs["hall"]), "leaf 1", 1)
    assert row.verified_by == "reader"
    assert known.updated([row]) == known


def test_replayed_older_export_is_detected(hall: FakeDevice) -> None:
    old = hall.export("old.ugsd")
    hall.send_block()
    failed(Device("hall", export=old, known=hall.known()), "truncated: 4 leaves", 2)


def test_report_and_export_of_different_times_are_detected(hall: FakeDevice) -> None:
    old, report, known = hall.export("old.ugsd"), hall.report(), hall.known()
    hall.send_block()
    failed(
        Device("hall", hall.report(), old),
        "truncated: 4 leaves were signed, but only 2 are here",
        2,
    )
    failed(
        Device("hall", report, known=hall.known()), "rolled back: 4 records were known, 2 are here"
    )
    failed(
        Device("hall", hall.report(log="", checkpoint=""), known=known),
        "the report belongs to no log",
    )
    row = verify_device(Device("hall", hall.report(), known=known))
    assert row.verification.outcome == "missing", "it could be withheld"
    assert row.verification.message == "2 records known before, but no export was given"


@pytest.mark.parametrize("measure", ["frames", "blocks", "tokens", "bytes"])
def test_report_that_exceeds_the_log_is_detected(hall: FakeDevice, measure: str) -> None:
    report, export = hall.report(), hall.export()
    most = report.total.model_copy(update={"frames": 2})
    sound = verify_device(Device("hall", report.model_copy(update={"total": most}), export))
    assert sound.verification.outcome == "verified"
    more = most.model_copy(update={measure: getattr(most, measure) + 1})
    exceeding = report.model_copy(update={"total": more})
    failed(Device("hall", exceeding, export), "counts more than the log holds")
    empty = Verification(outcome="empty", message="nothing")
    failed(Device("hall", hall.report(verification=empty)), "says that nothing was sent")


@pytest.fixture
def forked(new_world, hall: FakeDevice, tmp_path: Path) -> Iterator[FakeDevice]:
    """A fork of the hall's log; both have four leaves."""
    (tmp_path / "fork").mkdir()
    hall.world.ledger.close()
    shutil.copytree(hall.world.ledger.path.parent, tmp_path / "fork" / "ledger")
    hall.world.ledger.open()
    world = new_world(tmp_path / "fork" / "ledger")
    with world.ledger:
        yield FakeDevice(world, tmp_path / "fork")


def test_forked_log_is_detected(hall: FakeDevice, forked: FakeDevice) -> None:
    hall.send_block()
    export, known = hall.export("mine.ugsd"), hall.known()
    assert verify_device(Device("hall", hall.report(), export, known)).verification.size == 4
    failed(Device("hall", forked.report(), export), "differ from what was signed", 0)
    failed(Device("hall", export=forked.export(), known=known), "differ from what was signed", 0)
    failed(Device("hall", forked.report(), known=known), "forked: another log of 4 records")
    failed(Device("hall", export=export, others=(forked.note,)), "differ from what was", 0)


def test_longest_of_several_exports_becomes_known(hall: FakeDevice) -> None:
    old = verify_device(Device("hall", export=hall.export("old.ugsd")))
    hall.send_block()
    new = verify_device(Device("hall", export=hall.export("new.ugsd")))
    for rows in ([old, new], [new, old]):
        assert KnownLogs().updated(rows).logs["hall"].size == 4
    assert KnownLogs(logs={"hall": hall.known()}).updated([old]).logs["hall"].size == 4


def test_log_of_another_device_is_detected(hall: FakeDevice, elsewhere: FakeDevice) -> None:
    known = hall.known()
    failed(Device("hall", export=elsewhere.export(), known=known), "the export belongs to")
    failed(Device("hall", elsewhere.report(), known=known), "the report belongs to")
    failed(Device("hall", elsewhere.report(), hall.export()), "the export belongs to")
    failed(Device("hall", elsewhere.report(), hall.export(), known), "the report belongs to")


def test_report_with_forged_checkpoint_is_detected(hall: FakeDevice) -> None:
    forged = hall.note.replace("\n2\n", "\n9\n")
    failed(Device("hall", hall.report(checkpoint=forged)), "does not verify")
    failed(Device("hall", hall.report(log="nobody")), "the log's key")


def test_failure_reported_by_device_outweighs_sound_export(hall: FakeDevice) -> None:
    row = verify_device(Device("hall", hall.report(verification=FAILED), hall.export()))
    assert (row.verification, row.verified_by) == (FAILED, "device")
    assert row.logged is not None
    assert KnownLogs().updated([row]).logs == {}


def test_known_log_that_was_not_given_is_missing(hall: FakeDevice) -> None:
    row = verify_device(Device("hall", known=hall.known()))
    assert row.verification.outcome == "missing"
    fleet = merge_rows([row])
    assert fleet.failed == (row,)
    for text in (fleet_html(fleet), fleet_markdown(fleet)):
        assert "1 of 1 log is missing" in text
        assert "1969" not in text


def test_unreadable_export_gets_a_failed_row(hall: FakeDevice) -> None:
    broken = hall.folder / "broken.ugsd"
    for data in (b"", b"\x00", b"\xff" * 99, hall.export().read_bytes()[:40]):
        broken.write_bytes(data)
        assert header_of_export(broken) is None
        failed(Device("hall", export=broken), "export|file|item")
    failed(Device("hall", fault="hall.json: no report"), "no report")
    header = header_of_export(hall.export())
    assert header is not None
    assert (header.key, header.size) == (hall.world.log_key.public.to_text(), 2)


def test_requested_witness_must_have_cosigned(hall: FakeDevice) -> None:
    other = WitnessKey.generate().public
    row = verify_device(Device("hall", export=hall.export()), [other])
    assert "cosigned none" in row.verification.message


def test_fleet_adds_up_and_names_the_failed_log(hall: FakeDevice, elsewhere: FakeDevice) -> None:
    sound = verify_device(Device("hall", hall.report()))
    broken = verify_device(Device("kitchen", elsewhere.report(verification=FAILED)))
    fleet = merge_rows([sound, broken])
    assert [row.device for row in fleet.devices] == ["kitchen", "hall"]
    assert [row.device for row in fleet.failed] == ["kitchen"]
    assert fleet.total.bytes == sound.total.bytes + broken.total.bytes
    for text in (fleet_html(fleet), fleet_markdown(fleet).replace("\\", "")):
        assert "1 unverified report of a log that does NOT verify" in text
        plain = re.sub("<.*?>", "", text)
        assert "without proof, that its log does NOT verify at record 1: charge 1 differs" in plain
    assert name_of_log(sound.claims) == hall.world.log_key.public.origin
    with pytest.raises(ReportRejected, match="neither"):
        merge_rows([])


def test_overlapping_reports_of_one_user_are_disputed(hall: FakeDevice) -> None:
    row = verify_device(Device("hall", hall.report(subject="0" * 16)))
    other = row.model_copy(update={"subject": "1" * 16})
    both = merge_rows([row, other])
    assert [found.device for found in both.devices] == ["hall", "hall (2)"]
    assert not both.failed
    for earlier in ({"since_s": row.since_s - 9, "until_s": row.since_s}, {"subject": ""}):
        assert not merge_rows([row, row.model_copy(update=earlier)]).failed
    for late in (row.since_s, row.until_s - 1):
        again = row.model_copy(update={"since_s": late, "until_s": row.until_s + 9})
        fleet = merge_rows([row, other, again])
        assert [row.verification.outcome for row in fleet.failed] == ["disputed"] * 2
        for disputed in fleet.failed:
            assert "covers the same user and time" in disputed.verification.message
        assert fleet.total.bytes == other.total.bytes


def test_damaged_file_of_known_logs_is_refused(hall: FakeDevice, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert KnownLogs.load(path).logs == {}
    known = KnownLogs(named_by="file", logs={"hall": hall.known()})
    known.save(path)
    assert KnownLogs.load(path) == known
    for text in ("", "{", '{"format": "ugsd-kept/2"}', known.model_dump_json()[:-9]):
        path.write_text(text)
        with pytest.raises(ReportRejected, match="earlier fleet report"):
            KnownLogs.load(path)
    other = LogKey.generate().public.to_text()
    for change in ({"key": "nobody"}, {"key": other}, {"checkpoint": "x"}, {"size": 99}):
        damaged = known.logs["hall"].model_copy(update=change)
        KnownLogs(named_by="file", logs={"hall": damaged}).save(path)
        with pytest.raises(ReportRejected, match="the entry of hall is damaged"):
            KnownLogs.load(path)


def test_changed_key_of_known_log_is_detected(hall: FakeDevice) -> None:
    other = hall.known().model_copy(update={"key": LogKey.generate().public.to_text()})
    failed(Device("hall", export=hall.export(), known=other), "the export belongs to")


MARKUP = (
    "# a", "- a", "12. a", "1) a", "=", "---", "***", "> a", "a | b", "`a`", "~~a~~", "<b>",
    "&amp;", "[a](b)", "![a](b)",
    "\\", "a\\|b", "www.a.b", "http://a.b", "a@b.c", "_a_", "+ a", "\ta",
)  # fmt: skip
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(MARKUP)


@given(name=NAMES)
def test_hostile_name_is_plain_text_in_markdown(name: str) -> None:
    name = plain_line(name)
    assume(name.strip())
    found = Verification(outcome="failed", message=name)
    row = verify_device(Device("x", fault="x")).model_copy(update={"verification": found})
    named = [merge_rows([row.model_copy(update={"device": device})]) for device in ("x", name)]
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    plain, hostile = (parser.parse(fleet_markdown(fleet)) for fleet in named)
    assert [token.type for token in hostile] == [token.type for token in plain]
    inline = [token for token in hostile if token.type == "inline"]
    assert {child.type for token in inline for child in token.children or ()} <= {
        "text", "strong_open", "strong_close"
    }  # fmt: skip
    words = " ".join(name.split())
    assert words in ["".join(child.content for child in token.children or ()) for token in inline]


def test_control_characters_in_name_or_message_are_escaped(hall: FakeDevice) -> None:
    found = Verification(outcome="failed", message="\x1b[31m\u202eevil", index=1)
    row = verify_device(Device("\x1b[2Jhall", hall.report(verification=found)))
    assert row.device == "\\x1b[2Jhall"
    assert row.verification.message.endswith("\\x1b[31m\\u202eevil")


def test_headline_distinguishes_verified_from_reported(
    hall: FakeDevice, elsewhere: FakeDevice
) -> None:
    proven = verify_device(Device("hall", hall.report(), hall.export()))
    reported = verify_device(Device("kitchen", elsewhere.report()))
    assert fleet_verdict(merge_rows([proven])) == "Every log verifies"
    assert fleet_verdict(merge_rows([proven, reported])) == (
        "No fault was found; 1 of 2 logs reported by the device, not verified"
    )


def test_period_of_fleet_is_that_of_its_reports(hall: FakeDevice, elsewhere: FakeDevice) -> None:
    report = hall.report()
    rows = [
        verify_device(Device("hall", report)),
        verify_device(Device("kitchen", export=elsewhere.export())),
    ]
    fleet = merge_rows(rows)
    assert (fleet.since_s, fleet.until_s) == (report.since_s, report.until_s)


def test_only_caps_without_remainder_are_listed(hall: FakeDevice) -> None:
    caps = tuple(cap.model_copy(update={"is_met": cap.cap == "bytes_per_day"})
                 for cap in hall.report().caps)  # fmt: skip
    assert verify_device(Device("hall", hall.report(caps=caps))).caps_met == ("bytes_per_day",)


def test_missing_export_or_folder_gets_a_failed_row(hall: FakeDevice) -> None:
    for path in (hall.folder / "gone.ugsd", hall.folder):
        assert header_of_export(path) is None
        failed(Device("hall", hall.report(), path), "its export cannot be read")
