"""The log that the benchmark measures is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_lab.bench.log import BLOCK_TOKENS, write_log
from ugsd_privacy.audit.verify import verify_log
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import Ledger


def test_measured_log_verifies(tmp_path: Path) -> None:
    key = write_log(tmp_path / "home", 300, lambda *_: None)
    with Ledger(tmp_path / "home" / "ledger") as ledger:
        summary = verify_log(ledger, key.public)
        assert (summary.size, summary.total.tokens) == (300, 300 * BLOCK_TOKENS)
        with ledger.signing() as log:
            log.add_checkpoint(300, "no note")
        with pytest.raises(LogTampered):
            verify_log(ledger, LogKey.generate().public)
