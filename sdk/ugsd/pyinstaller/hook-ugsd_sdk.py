"""The weights, and the modules that are imported by name."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("ugsd_sdk", excludes=["starter/clips"])
hiddenimports = collect_submodules(
    "ugsd_sdk", filter=lambda name: not name.startswith(("ugsd_sdk.cli", "ugsd_sdk.__main__"))
)
