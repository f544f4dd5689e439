"""Many devices on one page: what is proven here, and what each device merely says."""

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
from ugsd_privacy.audit.signing import LogSigner
from ugsd_privacy.errors import ReportRejected
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
from ugsd_privacy.tlog.cosignature import WitnessKey
from ugsd_privacy.tlog.log_keys import LogKey

from tests.privacy.reports.report_world import report_of, send

FAILED = Verification(outcome="failed", message="charge 1 is not what record 1 says", index=1)


class Sender:
    """A device that reports and exports."""

    def __init__(self, world, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.leave()

    def leave(self) -> None:
        egress = self.world.egress()
        send(self.world, egress, self.world.connect(egress))
        with self.world.ledger.signing() as log:
            self.note = LogSigner(self.world.log_key).sign(log)[1]

    def report(self, **changes: object) -> Report:
        made = report_of(self.world, checkpoint=self.note)
        return made.model_copy(update=changes).redacted()

    def export(self, name: str = "log.ugsd") -> Path:
        path = self.folder / name
        with self.world.ledger.reading() as view, path.open("wb") as file:
            export_log(view, self.note, self.world.log_key, file)
        return path

    def kept(self) -> KnownLog:
        row = verify_device(Device("hall", export=self.export()))
        return KnownLogs().updated([row]).logs["hall"]


@pytest.fixture
def hall(world, tmp_path: Path) -> Sender:
    return Sender(world, tmp_path)


@pytest.fixture
def elsewhere(new_world, tmp_path: Path) -> Iterator[Sender]:
    world = new_world(tmp_path / "other" / "ledger")
    world.log_key = LogKey.generate()
    with world.ledger:
        yield Sender(world, tmp_path / "other")


def failed(device: Device, what: str, index: int | None = None) -> FleetRow:
    row = verify_device(device)
    assert (row.verification.outcome, row.verification.index) == ("failed", index)
    assert re.search(what, row.verification.message), row.verification.message
    return row


def test_an_export_is_verified_here_and_extends_what_was_kept(hall: Sender) -> None:
    kept = hall.kept()
    hall.leave()
    row = verify_device(Device("hall", hall.report(), hall.export(), kept))
    assert (row.verification.outcome, row.verified_by) == ("verified", "reader")
    assert (row.earlier, row.verification.size) == (2, 4)
    assert row.logged == Amounts(blocks=2, tokens=4, bytes=row.total.bytes)
    assert row.log == hall.world.log_key.public.to_text()
    again = KnownLogs(logs={"hall": kept}).updated([row]).logs["hall"]
    assert (again.size, again.key) == (4, kept.key)


def test_a_report_alone_is_the_devices_own_word(hall: Sender) -> None:
    row = verify_device(Device("hall", hall.report()))
    assert (row.verification.outcome, row.verified_by) == ("unverified", "device")
    assert "reported by the device, not verified" in row.verification.message
    assert (row.logged, row.log, row.claims) == (None, "", hall.report().log)
    assert KnownLogs().updated([row]).logs == {}, "nothing was proven"


def test_an_export_alone_counts_the_whole_log(hall: Sender) -> None:
    fleet = merge_rows([verify_device(Device("hall", export=hall.export()))])
    (row,) = fleet.devices
    assert (row.total, row.logged and row.logged.blocks) == (Amounts(), 1)
    assert fleet.until_s - fleet.since_s == 3600, "the hours in the export"


def test_a_tampered_export_is_named_with_its_leaf(hall: Sender) -> None:
    kept, export = KnownLogs(logs={"hall": hall.kept()}), hall.export()
    with hall.world.ledger.reading() as view:
        ((leaf, _),) = view.leaves(1, 2)
    smaller = leaf[:-5] + bytes([leaf[-5] - 1]) + leaf[-4:]
    export.write_bytes(export.read_bytes().replace(leaf, smaller))
    row = failed(Device("hall", hall.report(), export, kept.logs["hall"]), "leaf 1", 1)
    assert row.verified_by == "reader"
    assert kept.updated([row]) == kept


def test_last_weeks_export_sent_again_is_told_from_this_weeks(hall: Sender) -> None:
    old = hall.export("old.ugsd")
    hall.leave()
    failed(Device("hall", export=old, known=hall.kept()), "truncated: 4 leaves", 2)


def test_a_report_and_an_export_of_another_time_are_told(hall: Sender) -> None:
    old, report, kept = hall.export("old.ugsd"), hall.report(), hall.kept()
    hall.leave()
    failed(Device("hall", hall.report(), old), "truncated: 4 leaves were signed, 2 are here", 2)
    failed(
        Device("hall", report, known=hall.kept()), "rolled back: 4 records were known, 2 are here"
    )
    failed(
        Device("hall", hall.report(log="", checkpoint=""), known=kept), "the report is of no log"
    )
    row = verify_device(Device("hall", hall.report(), known=kept))
    assert row.verification.outcome == "missing", "it could be withheld"
    assert row.verification.message == "2 records known before, but no export was given"


@pytest.mark.parametrize("measure", ["frames", "blocks", "tokens", "bytes"])
def test_a_report_that_tells_of_more_than_the_log_holds_is_told(hall: Sender, measure: str) -> None:
    report, export = hall.report(), hall.export()
    most = report.total.model_copy(update={"frames": 2})
    sound = verify_device(Device("hall", report.model_copy(update={"total": most}), export))
    assert sound.verification.outcome == "verified"
    more = most.model_copy(update={measure: getattr(most, measure) + 1})
    told = report.model_copy(update={"total": more})
    failed(Device("hall", told, export), "counts more than the log holds")
    empty = Verification(outcome="empty", message="nothing")
    failed(Device("hall", hall.report(verification=empty)), "says that nothing was sent")


@pytest.fixture
def forked(new_world, hall: Sender, tmp_path: Path) -> Iterator[Sender]:
    """A copy of the hall's log that went another way; both have four leaves."""
    (tmp_path / "fork").mkdir()
    hall.world.ledger.close()
    shutil.copytree(hall.world.ledger.path.parent, tmp_path / "fork" / "ledger")
    hall.world.ledger.open()
    world = new_world(tmp_path / "fork" / "ledger")
    with world.ledger:
        yield Sender(world, tmp_path / "fork")


def test_forks_are_told(hall: Sender, forked: Sender) -> None:
    hall.leave()
    export, kept = hall.export("mine.ugsd"), hall.kept()
    assert verify_device(Device("hall", hall.report(), export, kept)).verification.size == 4
    failed(Device("hall", forked.report(), export), "not all those that were signed", 0)
    failed(Device("hall", export=forked.export(), known=kept), "not all those that were signed", 0)
    failed(Device("hall", forked.report(), known=kept), "forked: another log of 4 records")
    failed(Device("hall", export=export, others=(forked.note,)), "not all those that were", 0)


def test_of_several_exports_the_longest_is_kept(hall: Sender) -> None:
    old = verify_device(Device("hall", export=hall.export("old.ugsd")))
    hall.leave()
    new = verify_device(Device("hall", export=hall.export("new.ugsd")))
    for rows in ([old, new], [new, old]):
        assert KnownLogs().updated(rows).logs["hall"].size == 4
    assert KnownLogs(logs={"hall": hall.kept()}).updated([old]).logs["hall"].size == 4


def test_another_log_in_a_devices_place_is_told(hall: Sender, elsewhere: Sender) -> None:
    kept = hall.kept()
    failed(Device("hall", export=elsewhere.export(), known=kept), "the export is of")
    failed(Device("hall", elsewhere.report(), known=kept), "the report is of")
    failed(Device("hall", elsewhere.report(), hall.export()), "the export is of")
    failed(Device("hall", elsewhere.report(), hall.export(), kept), "the report is of")


def test_a_report_whose_checkpoint_is_not_signed_is_told(hall: Sender) -> None:
    forged = hall.note.replace("\n2\n", "\n9\n")
    failed(Device("hall", hall.report(checkpoint=forged)), "does not verify")
    failed(Device("hall", hall.report(log="nobody")), "the log's key")


def test_what_a_device_finds_wrong_itself_stands_though_its_export_is_sound(hall: Sender) -> None:
    row = verify_device(Device("hall", hall.report(verification=FAILED), hall.export()))
    assert (row.verification, row.verified_by) == (FAILED, "device")
    assert row.logged is not None
    assert KnownLogs().updated([row]).logs == {}


def test_a_log_that_did_not_come_is_missed(hall: Sender) -> None:
    row = verify_device(Device("hall", known=hall.kept()))
    assert row.verification.outcome == "missing"
    fleet = merge_rows([row])
    assert fleet.failed == (row,)
    for text in (fleet_html(fleet), fleet_markdown(fleet)):
        assert "1 of 1 log is missing" in text
        assert "1969" not in text


def test_what_cannot_be_read_is_a_row_of_its_own(hall: Sender) -> None:
    broken = hall.folder / "broken.ugsd"
    for data in (b"", b"\x00", b"\xff" * 99, hall.export().read_bytes()[:40]):
        broken.write_bytes(data)
        assert header_of_export(broken) is None
        failed(Device("hall", export=broken), "export|file|item")
    failed(Device("hall", fault="hall.json: no report"), "no report")
    said = header_of_export(hall.export())
    assert said is not None
    assert (said.key, said.size) == (hall.world.log_key.public.to_text(), 2)


def test_a_witness_that_is_asked_for_must_have_cosigned(hall: Sender) -> None:
    stranger = WitnessKey.generate().public
    row = verify_device(Device("hall", export=hall.export()), [stranger])
    assert "cosigned no checkpoint" in row.verification.message


def test_a_fleet_adds_up_and_tells_which_log_fails_and_where(
    hall: Sender, elsewhere: Sender
) -> None:
    sound = verify_device(Device("hall", hall.report()))
    broken = verify_device(Device("kitchen", elsewhere.report(verification=FAILED)))
    fleet = merge_rows([sound, broken])
    assert [row.device for row in fleet.devices] == ["kitchen", "hall"]
    assert [row.device for row in fleet.failed] == ["kitchen"]
    assert fleet.total.bytes == sound.total.bytes + broken.total.bytes
    for text in (fleet_html(fleet), fleet_markdown(fleet).replace("\\", "")):
        assert "1 unverified report of a log that does NOT verify" in text
        plain = re.sub("<.*?>", "", text)
        assert "without proof, that its log does NOT verify at record 1: charge 1 is not" in plain
    assert name_of_log(sound.claims) == hall.world.log_key.public.origin
    with pytest.raises(ReportRejected, match="neither"):
        merge_rows([])


def test_two_users_of_a_device_are_two_rows_and_no_time_is_counted_twice(hall: Sender) -> None:
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
        assert [told.verification.outcome for told in fleet.failed] == ["disputed"] * 2
        for told in fleet.failed:
            assert "covers the same user and time" in told.verification.message
        assert fleet.total.bytes == other.total.bytes


def test_what_was_kept_is_saved_whole_and_anything_else_refused(
    hall: Sender, tmp_path: Path
) -> None:
    path = tmp_path / "kept.json"
    assert KnownLogs.load(path).logs == {}
    kept = KnownLogs(named_by="file", logs={"hall": hall.kept()})
    kept.save(path)
    assert KnownLogs.load(path) == kept
    for text in ("", "{", '{"format": "ugsd-kept/2"}', kept.model_dump_json()[:-9]):
        path.write_text(text)
        with pytest.raises(ReportRejected, match="earlier fleet report"):
            KnownLogs.load(path)
    other = LogKey.generate().public.to_text()
    for change in ({"key": "nobody"}, {"key": other}, {"checkpoint": "x"}, {"size": 99}):
        damaged = kept.logs["hall"].model_copy(update=change)
        KnownLogs(named_by="file", logs={"hall": damaged}).save(path)
        with pytest.raises(ReportRejected, match="the entry of hall is damaged"):
            KnownLogs.load(path)


def test_another_key_than_was_kept_is_told(hall: Sender) -> None:
    other = hall.kept().model_copy(update={"key": LogKey.generate().public.to_text()})
    failed(Device("hall", export=hall.export(), known=other), "the export is of")


MARKUP = (
    "# a", "- a", "12. a", "1) a", "=", "---", "***", "> a", "a | b", "`a`", "~~a~~", "<b>",
    "&amp;", "[a](b)", "![a](b)",
    "\\", "a\\|b", "www.a.b", "http://a.b", "a@b.c", "_a_", "+ a", "\ta",
)  # fmt: skip
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.sampled_from(MARKUP)


@given(name=NAMES)
def test_in_markdown_a_name_is_text_and_nothing_more(name: str) -> None:
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


def test_a_hostile_name_or_message_turns_and_colours_nothing(hall: Sender) -> None:
    told = Verification(outcome="failed", message="\x1b[31m\u202eevil", index=1)
    row = verify_device(Device("\x1b[2Jhall", hall.report(verification=told)))
    assert row.device == "\\x1b[2Jhall"
    assert row.verification.message.endswith("\\x1b[31m\\u202eevil")


def test_the_headline_says_whose_word_it_is(hall: Sender, elsewhere: Sender) -> None:
    proven = verify_device(Device("hall", hall.report(), hall.export()))
    told = verify_device(Device("kitchen", elsewhere.report()))
    assert fleet_verdict(merge_rows([proven])) == "Every log verifies"
    assert fleet_verdict(merge_rows([proven, told])) == (
        "No fault was found; 1 of 2 logs reported by the device, not verified"
    )


def test_the_time_of_a_fleet_is_that_of_its_reports(hall: Sender, elsewhere: Sender) -> None:
    report = hall.report()
    rows = [
        verify_device(Device("hall", report)),
        verify_device(Device("kitchen", export=elsewhere.export())),
    ]
    fleet = merge_rows(rows)
    assert (fleet.since_s, fleet.until_s) == (report.since_s, report.until_s)


def test_only_caps_that_are_met_are_named(hall: Sender) -> None:
    caps = tuple(cap.model_copy(update={"is_met": cap.cap == "bytes_per_day"})
                 for cap in hall.report().caps)  # fmt: skip
    assert verify_device(Device("hall", hall.report(caps=caps))).caps_met == ("bytes_per_day",)


def test_an_export_that_is_gone_or_a_folder_costs_no_other_its_row(hall: Sender) -> None:
    for path in (hall.folder / "gone.ugsd", hall.folder):
        assert header_of_export(path) is None
        failed(Device("hall", hall.report(), path), "its export cannot be read")
