"""Every error that the lab raises.

::

    LabError
    ├── CorpusError      a corpus that is missing or not in its published layout
    └── TrainingError    a training that cannot start or go on
"""

from __future__ import annotations

__all__ = ["CorpusError", "LabError", "TrainingError"]


class LabError(Exception):
    """Base of the package's errors."""


class CorpusError(LabError):
    """A corpus that is missing or not in its published layout."""


class TrainingError(LabError):
    """A training that cannot start or go on."""
