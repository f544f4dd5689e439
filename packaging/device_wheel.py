"""Build a wheel for devices: the SDK and the privacy layer, without the server, its verifier and
the lab. ``python packaging/device_wheel.py FOLDER`` prints the wheel's path.

It is the same distribution under a local version (PEP 440), so that installing either wheel
replaces the other.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["privacy/ugsd_privacy", "sdk/ugsd", "sdk/ugsd_sdk"]
EXTRAS = ("media", "microphone", "picture", "report")


def device_project() -> dict[str, Any]:
    """Return ``pyproject.toml`` as a device's wheel needs it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = config["project"]
    project["version"] += "+device"
    project["scripts"] = {"ugsd": project["scripts"]["ugsd"]}
    extras = project["optional-dependencies"]
    project["optional-dependencies"] = {name: extras[name] for name in EXTRAS}
    config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] = PACKAGES
    return config


def build(folder: Path) -> Path:
    """Build the wheel in ``folder`` and return its path."""
    builder = WheelBuilder(str(ROOT), config=device_project())
    (path,) = builder.build(directory=str(folder), versions=["standard"])
    return Path(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
