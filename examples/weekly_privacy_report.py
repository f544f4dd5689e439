"""A privacy officer's weekly job: each device reports without content, one page tells of all.

    python examples/weekly_privacy_report.py [fleet.md]

Three devices are made on the fly, each captions bundled clips with a verifier on this machine, and
the log of one is then tampered with. On real devices the first command runs where the home is, and
its file is what is collected: it has neither words nor user names.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import ugsd_sdk
from ugsd_privacy.audit.report.model import read_report
from ugsd_sdk import Captioner
from ugsd_sdk.cli import main as ugsd

CLIPS = sorted((Path(ugsd_sdk.__file__).parent / "starter" / "clips").glob("16*.opus"))
DEVICES = ("hall", "kitchen", "office")


def use(home: Path) -> None:
    """The device gets acquainted with a voice, and sends what it is unsure of."""
    with Captioner(verifier="embedded", home=home, user="ada") as captioner:
        captioner.connect()
        for clip in (CLIPS * 2)[:8]:
            captioner.caption(clip)


def tamper(home: Path) -> None:
    """Somebody makes a passage look smaller than it was."""
    ledger = sqlite3.connect(home / "ledger" / "ledger.sqlite3")
    ledger.execute("UPDATE charges SET bytes = bytes - 1 WHERE leaf = 2")
    ledger.commit()
    ledger.close()


def collect(home: Path, out: Path) -> None:
    """What runs on the device each week."""
    options = ["--home", str(home), "--user", "ada", "--since", "7d"]
    ugsd(["audit", "report", *options, "--format", "json", "--without-content", "--out", str(out)])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ugsd-example-") as folder:
        reports = []
        for device in DEVICES:
            home, out = Path(folder) / "homes" / device, Path(folder) / f"{device}.json"
            use(home)
            if device == "kitchen":
                tamper(home)
            collect(home, out)
            found = read_report(out.read_bytes()).verification
            if found.outcome == "verified":
                print(f"{device}: the log verifies, {found.size} records")
            else:
                print(f"{device}: the log does NOT verify at record {found.index}")
            reports.append(str(out))
        where = ["--out", sys.argv[1]] if len(sys.argv) > 1 else []
        # Ends with 1, for one log fails: a job that is watched would say so.
        ugsd(["audit", "fleet", *reports, "--by-file", "--format", "md", *where])


if __name__ == "__main__":
    main()
