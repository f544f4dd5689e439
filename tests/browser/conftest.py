"""A report of three captions, as a page in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome
from ugsd_privacy.audit.checkpoints import Checkpoints
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.egress import Egress, Escalation
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import JournalRow, Ledger
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason
from ugsd_privacy.reports.build import BudgetState, Protections, ReportedLog, build_report
from ugsd_privacy.reports.entries import Period, read_entries
from ugsd_privacy.reports.html import report_html
from ugsd_privacy.reports.model import Report
from ugsd_privacy.reports.parts import Verification

from tests.browser.browsing import BROWSER, DRIVER, browsing
from tests.browser.words import DAY_S, NOW_S, PIECES, SENTENCES, USER


@pytest.fixture(scope="module", autouse=True)
def _browser_is_there() -> None:
    if DRIVER is None or BROWSER is None:
        message = "needs Debian's chromium and chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Three captions on three days, of which 2, 3 and 4 words were sent."""
    folder, owner, clock = tmp_path_factory.mktemp("home"), OwnerKey.generate(), [float(NOW_S)]
    verifier, decisions = VerifierKey.generate(), []
    with Ledger(folder / "ledger") as ledger:
        egress = Egress(
            ledger=ledger, owner=owner.public, limits=BudgetLimits(),
            user=USER, sigma=1.0, clock=lambda: clock[0], uptime=lambda: None,
        )  # fmt: skip
        for number, sentence in enumerate(SENTENCES):
            channel, server = ClientChannel(verifier.public), ServerChannel(verifier)
            hello = egress.seal_hello(channel)
            channel.receive_hello(server.receive_hello(hello.data, b"welcome"))
            caption = egress.begin_caption(channel)
            tokens = tuple(PIECES.index(f" {word}") for word in sentence.split()[: 2 + number])
            states = np.ones((1, 8), np.float32)
            block = Escalation(Disclosure.SUMMARY, 0, (), tokens, (0,), states)
            egress.seal_block(channel, caption, block)
            decision = (len(tokens), 6, 0.1, "local", as_reason(ReasonCode.BELOW_THRESHOLD))
            decisions.append(JournalRow(int(clock[0]), USER, caption.id, *decision))
            clock[0] += DAY_S
        why = Reason(code=ReasonCode.CAP_EXCEEDED, cap="blocks_per_day", limit=2, used=2, wanted=1)
        cap = (0, 5, 0.9, "blocked", why)
        decisions.append(JournalRow(NOW_S, USER, bytes(16), *cap))
        note = Checkpoints(ledger=ledger, log_key=LogKey.generate()).checkpoint()
        with ledger.reading() as view:
            entries, used = read_entries(view, owner, USER), view.used(USER, int(clock[0]) // 3600)
    found = Verification(outcome="verified", message="all adds up", size=6, checkpoints=1)
    return build_report(
        entries,
        user=USER,
        period=Period(NOW_S, NOW_S + 9 * DAY_S),
        made_s=NOW_S + 3 * DAY_S,
        log=ReportedLog(found, checkpoint=note),
        budget=BudgetState(BudgetLimits(epsilon_per_lifetime=20.0), {"tokens_per_day": 50}, used),
        decisions=decisions,
        protections=Protections(never_sent=("the recording",), unprotected=("which words left",)),
        words=PIECES.__getitem__,
        vocabulary="test",
    )


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(report), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shown(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browsing(page, tmp_path_factory.mktemp("profile")) as driver:
        yield driver
