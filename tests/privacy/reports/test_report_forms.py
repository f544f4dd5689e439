"""Every number of a report is in its own table cell, on the page and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from ugsd_privacy.reports.fleet_model import FleetReport
from ugsd_privacy.reports.html import fleet_html, report_html
from ugsd_privacy.reports.markdown import fleet_markdown, report_markdown
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.parts import Verification

from tests.privacy.reports.report_specimen import FLEET, KEY, LOG, REPORT
from tests.privacy.reports.report_tables import Table, html_tables, markdown_tables

FORMS = pytest.mark.parametrize("form", ["html", "md"])


def tables(form: str, report: Report = REPORT) -> dict[str, Table]:
    if form == "md":
        return markdown_tables(report_markdown(report))
    return html_tables(report_html(report))


def one(found: dict[str, Table], *titles: str) -> Table:
    (title,) = [name for name in found if name.startswith(titles)]
    return found[title]


@FORMS
def test_captions_table_shows_every_number(form: str) -> None:
    first, second, third = one(tables(form), "Captions")
    if form == "html":
        first = {name.lower(): cell for name, cell in first.items()}
        second = {name.lower(): cell for name, cell in second.items()}
        third = {name.lower(): cell for name, cell in third.items()}
    content = first.pop("what was sent")
    assert first == {
        "time (utc)" if form == "html" else "time (UTC)": "2025-12-29 12:01:01",
        "records": "3-5, 9", "disclosure": "summary, tokens", "tokens": "1,402",
        "states": "1,403", "bytes": "1,404",
        "guarantee": "epsilon 2.50 at delta 1e-06 per caption (privacy)",
    }  # fmt: skip
    if form == "md":
        content = content.replace("°", " (with a state)")
        content = content.replace(" w71", " (replaced later) w71")
    assert content == (
        "w7 (with a state) … 3 tokens written by the verifier … w70 (with a state) "
        "(replaced later) w71 w72 … 1 token kept on the device …"
    )
    assert next(iter(second.values())) == "2025-12-29 12:..:.."
    assert second["what was sent"] == "2 frames erased by the owner, 1 frame sealed or damaged"
    assert (second["records"], second["states"]) == ("11-13", "at least 1,505")
    assert second["guarantee"] == "no guarantee (no noise)"
    assert third["what was sent"] == "a cover frame, without content"
    assert third["guarantee"] == "no states"


def test_words_are_marked_by_their_disclosure() -> None:
    page = report_html(REPORT)
    row = page[page.index('id="caption-aaaa') :].partition("</tr>")[0]
    marks = re.findall(r'<mark class="([^"]*)"(?: data-position="(\d+)")? data-token="(\d+)"', row)
    assert marks == [
        ("d-summary state", "0", "7"), ("d-all_states state replaced", "", "70"),
        ("d-tokens", "4", "71"), ("d-block_states", "5", "72"),
    ]  # fmt: skip
    for name in ("tokens", "summary", "block_states", "all_states", "tokens state"):
        assert f'<mark class="d-{name}">word</mark>' in page, "the legend has all"
    line = next(line for line in report_markdown(REPORT).splitlines() if "w70" in line)
    assert "**w7°**" in line
    assert "~~w70°~~ **w71**" in line


@FORMS
def test_days_table_shows_every_number(form: str) -> None:
    first, second = one(tables(form), "Days", "What was sent, by day")
    assert list(first.values()) == [
        "2025-12-28", "77", "1,201", "1,202", "at least 1,205", "1,204",
        "epsilon 3.25 at delta 1e-06 per day (privacy)",
        "epsilon 7.50 at delta 1e-06 per lifetime (privacy)",
    ]  # fmt: skip
    assert list(second.values())[4:] == [
        "1,303", "1,304", "no states", "no guarantee (no noise)"
    ]  # fmt: skip


@FORMS
def test_caps_table_shows_every_number(form: str) -> None:
    rows = [list(row.values()) for row in one(tables(form), "Budget", "Caps")]
    none = "none" if form == "html" else ""
    assert [[row[0].replace(" ", "_"), *row[1:]] for row in rows] == [
        ["bytes_per_day", "9,000", "8,000", "1,304", "6,696"],
        ["blocks_per_caption", "8", none, "per caption", "per caption"],
        ["epsilon_per_lifetime", "20", none, "12.6", "7.49"],
    ]


@FORMS
def test_reasons_handshakes_and_resets_are_shown(form: str) -> None:
    found = tables(form)
    reasons = [list(row.values()) for row in one(found, "Blocks")]
    cap = (lambda name: f"cap: {name}".replace("_", " ")) if form == "html" else str
    assert reasons == [
        ["kept on the device by the policy", "sure", "31"],
        ["blocked", cap("blocks_per_day"), "32"],
        [
            "not judged, because an earlier block was blocked or not verified",
            cap("blocks_per_hour"),
            "33",
        ],
        ["sent, but not verified", "deadline", "34"],
    ]
    keys = [list(row.values()) for row in one(found, "Keys")]
    assert keys == [
        [KEY, "21", "2025-12-29 12:00:00", "2025-12-29 12:01:00", "1,701"],
        ["unknown: the record is erased, sealed or damaged", "1"]
        + ["2025-12-29 12:00:00"] * 2
        + ["1,702"],
    ]
    resets = [list(row.values()) for row in one(found, "Resets")]
    assert resets == [["17", "2025-12-29 12:00:05", "day, hour"]]


@FORMS
def test_numbers_outside_the_tables_are_shown(form: str) -> None:
    text = report_html(REPORT) if form == "html" else report_markdown(REPORT).replace("\\", "")
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text.partition("<body>")[2] or text))
    for text_part in (
        "2025-12-28 to 2025-12-29", "The log verifies", "all adds up", "1,100", "1,101", "1,102",
        "1,103", "1,104", "epsilon 12.5 at delta 1e-06 per lifetime (noise)",
        "Not included here: 41 frames before and 1 frame after this period.", "1,207 records",
        "3 signed checkpoints", LOG, "the recording", "a guess", "measured",
        "Of blocks sent as summary", "Under the settings", "which words were sent",
    ):  # fmt: skip
        assert text_part in text
    for count in ("5", "6"):
        assert re.search(
            rf"(erased the content of {count} of them|{count} erased by the owner)", text
        ) or (re.search(rf"{count} (still|stayed) sealed", text))
    assert "does NOT verify" not in text
    assert "is not proven" not in text.partition("Captions")[0]


@FORMS
def test_failure_comes_first_with_a_warning(form: str) -> None:
    failed = Verification(outcome="failed", message="charge 3 differs", index=3)
    report = REPORT.model_copy(update={"verification": failed})
    text = report_html(report) if form == "html" else report_markdown(report)
    assert text.index("does NOT verify at record 3") < text.index("is not proven")
    assert text.index("is not proven") < text.index("1,104")
    if form == "html":
        assert '<p class="verdict failed">' in text
        assert '<p class="verdict verified">' in report_html(REPORT)


def test_page_with_many_captions_shows_only_the_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "shown in the JSON form" not in report_html(REPORT)
    monkeypatch.setattr("ugsd_privacy.reports.html.MOST_CAPTIONS", 2)
    page = report_html(REPORT)
    rows = [row["Time (UTC)"] for row in one(html_tables(page), "Captions")]
    assert rows == ["2025-12-29 12:..:..", "2025-12-29 12:00:03"]
    assert "This page shows the latest 2. 1 earlier caption is counted above" in page


def test_page_policy_forbids_everything_external() -> None:
    page = report_html(REPORT)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    parts = dict(part.strip().partition(" ")[::2] for part in unescape(policy).split(";"))
    assert parts["default-src"] == "'none'"
    assert set(parts) == {
        "default-src", "img-src", "style-src", "script-src", "base-uri", "form-action"
    }  # fmt: skip
    assert parts["img-src"] == "data:"
    for name in ("style-src", "script-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", parts[name])


@pytest.mark.parametrize(("write", "read"), [(fleet_html, html_tables),
                                             (fleet_markdown, markdown_tables)])  # fmt: skip
def test_fleet_tables_show_every_number(
    write: Callable[[FleetReport], str], read: Callable[[str], dict[str, Table]]
) -> None:
    text = write(FLEET)
    found = read(text)
    kitchen, office, hall, _ = [list(row.values()) for row in one(found, "Logs")]
    known = "here, from its export; 1,205 records known before"
    assert hall[2:] == [known, "1,209", "1,214"]
    assert kitchen[2:] == ["by the device; 12 records known before", "0", "not proven"]
    is_html = write is fleet_html
    assert kitchen[1] == ("The log does NOT verify at record 2" if is_html else "failed")
    assert office[2] == "not verified"
    reported = {row[0]: row[1:] for row in map(list, map(dict.values, one(found, "What")))}
    assert reported["hall"] == [
        "2025-12-29 to 2025-12-30", "1,201", "1,202", "1,204",
        "epsilon 4.50 at delta 1e-06 per lifetime (privacy)", "99",
        "bytes_per_day, blocks_per_hour", "1,230",
    ]  # fmt: skip
    assert "office" not in reported, "it sent no report"
    assert "1 of 4 logs does NOT verify; 1 of 4 logs is missing" in text
    assert [row.device for row in FLEET.failed] == ["kitchen", "office"]
    plain = re.sub(r"\\|<[^>]+>", "", text)
    assert "leaf 2 differs" in plain
    assert "nothing came" in plain
    assert not is_html or "note of hall" in text


def test_charts_show_the_smaller_cap() -> None:
    page = unescape(report_html(REPORT))
    assert "The cap per day is 8,000" in page, "the owner's, which is smaller"
    assert "The cap per lifetime is 20" in page
