"""A privacy officer's weekly job: devices export their logs, and one page shows which are wrong.

    python examples/weekly_privacy_report.py [fleet.md]

The example creates three devices, which caption bundled clips with a verifier on this machine. Each
week `send` runs on every device, and `weekly_job` where its files arrive; the files contain neither
words nor user names. In the second week somebody forges a smaller record in the kitchen's export.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import ugsd_sdk
from ugsd_sdk import Captioner
from ugsd_sdk.cli import main as ugsd

CLIPS = sorted((Path(ugsd_sdk.__file__).parent / "starter" / "clips").glob("16*.opus"))
DEVICES = ("hall", "kitchen", "office")


def use(home: Path) -> None:
    """Caption clips: the first ones enrol the speaker, later ones are sent where uncertain."""
    with Captioner(verifier="embedded", home=home, user="ada") as captioner:
        captioner.wait_until_connected()
        for clip in CLIPS * 2:
            captioner.caption(clip)


def send(home: Path, folder: Path) -> None:
    """On the device: write the week's report, and export the log for others to verify."""
    report, export = folder / f"{home.name}.json", folder / f"{home.name}.ugsd"
    options = ["--home", str(home), "--user", "ada", "--since", "7d"]
    ugsd(
        ["audit", "report", *options, "--format", "json", "--without-content", "--out", str(report)]
    )
    ugsd(["audit", "export", str(export), "--home", str(home)])


def weekly_job(folder: Path, known: Path, page: list[str]) -> int:
    """At the privacy officer: return 0 if every log arrived, verifies, and extends the one that is
    known from last week; otherwise 1."""
    files = [str(path) for path in sorted(folder.iterdir())]
    return ugsd(
        ["audit", "fleet", *files, "--by-file", "--known", str(known), "--format", "md", *page]
    )


def tamper(export: Path, home: Path) -> None:
    """Make record 2 look 256 bytes smaller."""
    with closing(sqlite3.connect(home / "ledger" / "ledger.sqlite3")) as ledger:
        ((leaf,),) = ledger.execute("SELECT content FROM leaves WHERE leaf = 2")
    smaller = bytearray(leaf)
    smaller[-5] -= 1  # its bytes are a big-endian uint16 before the two counters
    export.write_bytes(export.read_bytes().replace(leaf, bytes(smaller)))


def main() -> None:
    page = ["--out", sys.argv[1]] if len(sys.argv) > 1 else []
    with tempfile.TemporaryDirectory(prefix="ugsd-example-") as place:
        homes = [Path(place) / "homes" / device for device in DEVICES]
        for home in homes:
            use(home)
        for week in ("first", "second"):
            folder = Path(place) / week
            folder.mkdir()
            for home in homes:
                send(home, folder)
            if week == "second":
                tamper(folder / "kitchen.ugsd", Path(place) / "homes" / "kitchen")
            print(f"\n# The {week} week\n")
            failed = weekly_job(folder, Path(place) / "known.json", page)
            print("somebody has to inspect this" if failed else "nothing to do")


if __name__ == "__main__":
    main()
