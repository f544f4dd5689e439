"""Type checkers know the public names, so that they find misspelt ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SDK = Path(__file__).parents[2] / "sdk"
PROGRAM = """
from ugsd import Captioner, Captoner
from ugsd_sdk import Captionr, Settings
import ugsd
ugsd.Caption
ugsd.Captoin
"""


def test_misspelt_names_fail_type_checks(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(PROGRAM)
    options = ["--follow-imports=skip", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    files = [str(SDK / name / "__init__.py") for name in ("ugsd", "ugsd_sdk")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files, str(app)],
        capture_output=True,
        text=True,
        check=False,
        cwd=SDK,
    )
    faults = [line.split(": ")[0] for line in done.stdout.splitlines() if ": error:" in line]
    assert faults == [f"{app}:{line}" for line in (2, 3, 6)], done.stdout
