"""Every number of a report stands in its own cell, on the page and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from ugsd_privacy.audit.report.fleet_model import FleetReport, FleetRow
from ugsd_privacy.audit.report.html import fleet_html, report_html
from ugsd_privacy.audit.report.markdown import fleet_markdown, report_markdown
from ugsd_privacy.audit.report.model import (
    Amounts,
    CapRow,
    CaptionRow,
    DayRow,
    Gap,
    HandshakeRow,
    Protection,
    Reason,
    Report,
    ResetRow,
    Sent,
    Verification,
    Word,
)
from ugsd_privacy.dp import Guarantee
from ugsd_privacy.wire import Disclosure

from tests.privacy.report_tables import Table, html_tables, markdown_tables

NOON = 1_767_009_600
"""2025-12-29 12:00 UTC."""
KEY = "aaaaa-bbbbb-ccccc-ddddd-eeeee"
FORMS = pytest.mark.parametrize("form", ["html", "md"])


def bounded(epsilon: float | None, unit: str) -> Guarantee:
    word = "none" if epsilon is None else "privacy" if epsilon <= 10 else "noise"
    return Guarantee.model_validate({"epsilon": epsilon, "delta": 1e-6, "unit": unit, "word": word})


def word(position: int, token: int, disclosure: str, *, state: bool = False, **more) -> Word:
    return Word(
        position=position, token=token, text=f" w{token}", disclosure=Disclosure(disclosure),
        has_state=state, **more,
    )  # fmt: skip


def amounts(first: int, *, hidden: int = 0) -> Amounts:
    """All different, and different from those of others."""
    return Amounts(frames=first, blocks=first + 1, tokens=first + 2, states=first + 3,
                   bytes=first + 4, hidden=hidden)  # fmt: skip


SENT = Sent(token=70, text=" w70", disclosure=Disclosure.ALL_STATES, has_state=True)
REPORT = Report(
    made_s=NOON + 9,
    since_s=NOON - NOON % 86_400 - 86_400,
    until_s=NOON - NOON % 86_400 + 86_400,
    user="ada",
    subject="0" * 16,
    log="ugsd.local/0123+01+AA",
    checkpoint="ugsd.local/0123\n7\nroot\n\n— ugsd.local/0123 sig\n",
    vocabulary="test",
    verification=Verification(
        outcome="verified", message="all adds up", size=1207, checkpoints=3, erased=5, unread=6
    ),
    total=amounts(1100),
    earlier=41,
    later=1,
    lifetime=bounded(12.5, "lifetime"),
    days=(
        DayRow(
            day="2025-12-28", amounts=amounts(1200, hidden=2), captions=77,
            epsilon=bounded(3.25, "day"), lifetime=bounded(7.5, "lifetime"),
        ),
        DayRow(
            day="2025-12-29", amounts=amounts(1300), captions=78, epsilon=None,
            lifetime=bounded(None, "lifetime"),
        ),
    ),
    caps=(
        CapRow(cap="bytes_per_day", configured=9000, on_device=8000, used=1304, left=6696,
               is_met=False),
        CapRow(cap="blocks_per_caption", configured=8, on_device=None, used=None, left=None,
               is_met=False),
        CapRow(cap="epsilon_per_lifetime", configured=20, on_device=None, used=12.501, left=7.49,
               is_met=False),
    ),
    captions=(
        CaptionRow(
            caption="a" * 32, time_s=NOON + 61, to_the_hour=False,
            content=(
                word(0, 7, "summary", state=True), Gap(tokens=3, origin="verifier"),
                word(4, 71, "tokens", replaced=(SENT,)), word(5, 72, "block_states"),
                Gap(tokens=1, origin="kept"),
            ),
            records=(3, 4, 5, 9), disclosures=(Disclosure.SUMMARY, Disclosure.TOKENS),
            amounts=amounts(1400), epsilon=bounded(2.5, "caption"), verifiers=(KEY,), erased=0,
            unread=0,
        ),
        CaptionRow(
            caption="b" * 32, time_s=NOON, to_the_hour=True, content=(), records=(11, 12, 13),
            disclosures=(), amounts=amounts(1500, hidden=2), epsilon=bounded(None, "caption"),
            verifiers=(), erased=2, unread=1,
        ),
        CaptionRow(
            caption="c" * 32, time_s=NOON + 3, to_the_hour=False, content=(), records=(15,),
            disclosures=(), amounts=amounts(1600), epsilon=None, verifiers=(KEY,), erased=0,
            unread=0,
        ),
    ),
    handshakes=(
        HandshakeRow(verifier=KEY, handshakes=21, first_s=NOON, last_s=NOON + 60, bytes=1701),
        HandshakeRow(verifier="", handshakes=1, first_s=NOON, last_s=NOON, bytes=1702),
    ),
    resets=(ResetRow(record=17, time_s=NOON + 5, windows=("day", "hour")),),
    reasons=(
        Reason(outcome="kept", reason="sure", is_cap=False, blocks=31),
        Reason(outcome="withheld", reason="blocks_per_day", is_cap=True, blocks=32),
        Reason(outcome="alone", reason="blocks_per_hour", is_cap=True, blocks=33),
        Reason(outcome="unanswered", reason="deadline", is_cap=False, blocks=34),
    ),
    never=("the recording",),
    protections=(
        Protection(title="Of blocks that left as summary", bound=("epsilon",), learnt=("a guess",),
                   source="measured"),
        Protection(title="Under the settings", leaves=("words",), bound=("nothing",)),
    ),
    unprotected=("which words left",),
)  # fmt: skip


def tables(form: str, report: Report = REPORT) -> dict[str, Table]:
    if form == "md":
        return markdown_tables(report_markdown(report))
    return html_tables(report_html(report))


def one(found: dict[str, Table], *titles: str) -> Table:
    (title,) = [name for name in found if name.startswith(titles)]
    return found[title]


@FORMS
def test_captions(form: str) -> None:
    first, second, third = one(tables(form), "Captions")
    if form == "html":
        first = {name.lower(): cell for name, cell in first.items()}
        second = {name.lower(): cell for name, cell in second.items()}
        third = {name.lower(): cell for name, cell in third.items()}
    said = first.pop("what left")
    assert first == {
        "time (utc)" if form == "html" else "time (UTC)": "2025-12-29 12:01:01",
        "records": "3-5, 9", "discloses": "summary, tokens", "tokens": "1,402",
        "vectors": "1,403", "bytes": "1,404",
        "guarantee": "epsilon 2.50 at delta 1e-06 per caption (privacy)",
    }  # fmt: skip
    if form == "md":
        said = said.replace("°", " (with a vector)")
        said = said.replace(" w71", " (replaced later) w71")
    assert said == (
        "w7 (with a vector) … 3 tokens of the verifier's own … w70 (with a vector) "
        "(replaced later) w71 w72 … 1 token stayed here …"
    )
    assert next(iter(second.values())) == "2025-12-29 12:..:.."
    assert second["what left"] == "2 frames erased by the owner, 1 frame sealed or damaged"
    assert (second["records"], second["vectors"]) == ("11-13", "at least 1,505")
    assert second["guarantee"] == "no guarantee (no noise)"
    assert third["what left"] == "a cover, which carries nothing"
    assert third["guarantee"] == "no vectors"


def test_words_are_marked_by_how_they_left() -> None:
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
def test_days(form: str) -> None:
    first, second = one(tables(form), "Days", "What left, by day")
    assert list(first.values()) == [
        "2025-12-28", "77", "1,201", "1,202", "at least 1,205", "1,204",
        "epsilon 3.25 at delta 1e-06 per day (privacy)",
        "epsilon 7.50 at delta 1e-06 per lifetime (privacy)",
    ]  # fmt: skip
    assert list(second.values())[4:] == [
        "1,303", "1,304", "no vectors", "no guarantee (no noise)"
    ]  # fmt: skip


@FORMS
def test_caps(form: str) -> None:
    rows = [list(row.values()) for row in one(tables(form), "Budget", "Caps")]
    none = "none" if form == "html" else ""
    assert [[row[0].replace(" ", "_"), *row[1:]] for row in rows] == [
        ["bytes_per_day", "9,000", "8,000", "1,304", "6,696"],
        ["blocks_per_caption", "8", none, "each", "each"],
        ["epsilon_per_lifetime", "20", none, "12.6", "7.49"],
    ]


@FORMS
def test_reasons_handshakes_and_resets(form: str) -> None:
    found = tables(form)
    reasons = [list(row.values()) for row in one(found, "Blocks")]
    cap = (lambda name: f"cap: {name}".replace("_", " ")) if form == "html" else str
    assert reasons == [
        ["kept here by the policy", "sure", "31"],
        ["wanted, and withheld", cap("blocks_per_day"), "32"],
        ["not judged, after such a block", cap("blocks_per_hour"), "33"],
        ["left, and no answer was used", "deadline", "34"],
    ]
    keys = [list(row.values()) for row in one(found, "Keys")]
    assert keys == [
        [KEY, "21", "2025-12-29 12:00:00", "2025-12-29 12:01:00", "1,701"],
        ["not known: erased, sealed or damaged", "1"] + ["2025-12-29 12:00:00"] * 2 + ["1,702"],
    ]
    resets = [list(row.values()) for row in one(found, "Resets")]
    assert resets == [["17", "2025-12-29 12:00:05", "day, hour"]]


@FORMS
def test_what_stands_around_the_tables(form: str) -> None:
    text = report_html(REPORT) if form == "html" else report_markdown(REPORT).replace("\\", "")
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text.partition("<body>")[2] or text))
    for said in (
        "2025-12-28 to 2025-12-29", "The log verifies", "all adds up", "1,100", "1,101", "1,102",
        "1,103", "1,104", "epsilon 12.5 at delta 1e-06 per lifetime (noise)",
        "Not told of here: 41 frames before and 1 frame after this time.", "1,207 records",
        "3 signed checkpoints", "ugsd.local/0123+01+AA", "the recording", "a guess", "measured",
        "Of blocks that left as summary", "Under the settings", "which words left",
    ):  # fmt: skip
        assert said in text, said
    for count in ("5", "6"):
        assert re.search(rf"(Of {count} the owner erased|{count} erased by the owner)", text) or (
            re.search(rf"{count} (left|stayed) sealed", text)
        )
    assert "does NOT verify" not in text
    assert "nothing proves it" not in text.partition("Captions")[0]


@FORMS
def test_a_failure_is_told_first_and_that_nothing_below_is_proven(form: str) -> None:
    failed = Verification(outcome="failed", message="charge 3 differs", index=3)
    report = REPORT.model_copy(update={"verification": failed})
    text = report_html(report) if form == "html" else report_markdown(report)
    assert text.index("does NOT verify at record 3") < text.index("nothing proves it")
    assert text.index("nothing proves it") < text.index("1,104")
    if form == "html":
        assert '<p class="verdict failed">' in text
        assert '<p class="verdict verified">' in report_html(REPORT)


def test_the_page_allows_itself_nothing() -> None:
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


def row_of(device: str, first: int, **changes) -> FleetRow:
    fields = {
        "device": device, "subject": "", "log": "", "verified_by": "reader", "earlier": None,
        "verification": Verification(outcome="verified", message="ok", size=first + 9),
        "logged": amounts(first + 10), "checkpoint": f"note of {device}", "since_s": NOON,
        "until_s": NOON + 86_400, "made_s": NOON, "total": amounts(first),
        "lifetime": bounded(4.5, "lifetime"), "days": (), "caps_met": (), "resets": first + 30,
        "reasons": REPORT.reasons,
    } | changes  # fmt: skip
    return FleetRow.model_validate(fields)


FLEET = FleetReport(
    since_s=NOON, until_s=NOON + 86_400, total=amounts(5000),
    devices=(
        row_of("kitchen", 1000, verified_by="device", logged=None, earlier=12,
               verification=Verification(outcome="failed", message="leaf 2 differs", index=2)),
        row_of("office", 1100, verification=Verification(outcome="missing", message="nothing came"),
               made_s=0, logged=None),
        row_of("hall", 1200, earlier=1205, caps_met=("bytes_per_day", "blocks_per_hour")),
        row_of("attic", 1300, verification=Verification(outcome="empty", message="nothing")),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("write", "read"), [(fleet_html, html_tables),
                                             (fleet_markdown, markdown_tables)])  # fmt: skip
def test_a_fleet(
    write: Callable[[FleetReport], str], read: Callable[[str], dict[str, Table]]
) -> None:
    text = write(FLEET)
    found = read(text)
    kitchen, office, hall, _ = [list(row.values()) for row in one(found, "Logs")]
    known = "here, from its export; known before with 1,205 records"
    assert hall[2:] == [known, "1,209", "1,214"]
    assert kitchen[2:] == ["by itself; known before with 12 records", "0", "not proven"]
    is_html = write is fleet_html
    assert kitchen[1] == ("The log does NOT verify at record 2" if is_html else "failed")
    assert office[2] == "nobody"
    reported = {row[0]: row[1:] for row in map(list, map(dict.values, one(found, "What")))}
    assert reported["hall"] == [
        "2025-12-29 to 2025-12-30", "1,201", "1,202", "1,204",
        "epsilon 4.50 at delta 1e-06 per lifetime (privacy)", "99",
        "bytes_per_day, blocks_per_hour", "1,230",
    ]  # fmt: skip
    assert "office" not in reported, "it sent no report"
    assert "1 of 4 logs does NOT verify; 1 of 4 logs did not come" in text
    assert [row.device for row in FLEET.failed] == ["kitchen", "office"]
    told = re.sub(r"\\|<[^>]+>", "", text)
    assert "leaf 2 differs" in told
    assert "nothing came" in told
    assert not is_html or "note of hall" in text
