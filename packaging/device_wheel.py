"""Build the wheel for devices: the SDK and the privacy layer, without verifier and laboratory.

    python packaging/device_wheel.py FOLDER

It is the package ``ugsd`` of this tree at the version ``+device``, for apps that reach a verifier
elsewhere or use none. The weights of the verifier, which may not be used commercially, stay out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("privacy/ugsd_privacy", "sdk/ugsd", "sdk/ugsd_sdk")
LEFT_OUT = ("ugsd_server", "ugsd_lab")


def device_project(project: str) -> str:
    """Return the text of a ``pyproject.toml`` without what belongs to verifier and laboratory.

    Raises :class:`ValueError` if ``project`` has not the lines that are replaced.
    """
    changed, version = [], 0
    for line in project.splitlines():
        if line.startswith("version = "):
            version += 1
            changed.append(line[:-1] + '+device"')
        elif line.startswith("packages = ") and "ugsd_lab" in line and "/" in line:
            changed.append(f"packages = {list(SOURCES)!r}")
        elif not (line.startswith("ugsd-") and any(f'"{name}.' in line for name in LEFT_OUT)):
            changed.append(line)
    if version != 1 or f"packages = {list(SOURCES)!r}" not in changed:
        raise ValueError("pyproject.toml has no version or packages where they were: look at it")
    return "\n".join(changed) + "\n"


def build(folder: Path) -> None:
    """Build the wheel into ``folder``."""
    with tempfile.TemporaryDirectory(prefix="ugsd-device-") as name:
        tree = Path(name)
        project = device_project((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        (tree / "pyproject.toml").write_text(project, encoding="utf-8")
        for file in ("LICENSE", "README.md"):
            shutil.copy(ROOT / file, tree)
        for source in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, tree / source, ignore=ignored)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
        subprocess.run([*command, str(folder), str(tree)], check=True)  # noqa: S603  # our own


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit(__doc__)
    build(Path(sys.argv[1]))
