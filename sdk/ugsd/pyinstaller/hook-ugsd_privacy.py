"""The modules that are imported by name."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules(
    "ugsd_privacy", filter=lambda name: not name.startswith("ugsd_privacy.reports")
)
