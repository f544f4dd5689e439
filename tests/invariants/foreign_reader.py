"""Another program that keeps opening, reading and closing a home's ledger."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
from pathlib import Path
from time import sleep

from ugsd_privacy.errors import PrivacyError
from ugsd_sdk.home import Home

if __name__ == "__main__":
    home, choose = Home.from_path(Path(sys.argv[1])), random.Random(sys.argv[2])
    while True:
        with contextlib.suppress(PrivacyError, sqlite3.Error, OSError):
            if home.ledger.exists():  # never makes one
                if choose.random() < 0.5:
                    with home.open_ledger() as ledger, ledger.reading() as view:
                        view.size()
                else:
                    path = home.ledger / "ledger.sqlite3"
                    db = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
                    with contextlib.closing(db):
                        db.execute("SELECT count(*) FROM leaves").fetchone()
        sleep(choose.uniform(0.0, 0.02))
