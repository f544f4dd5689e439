"""Every error that the lab raises.

::

    LabError
    ├── CorpusError      a corpus is missing or not in its published layout
    ├── EvaluationError  an evaluation has wrong arguments or lacks data
    └── TrainingError    a training cannot start or continue
"""

from __future__ import annotations

__all__ = ["CorpusError", "EvaluationError", "LabError", "TrainingError"]


class LabError(Exception):
    """Base of the package's errors."""


class CorpusError(LabError):
    """A corpus is missing or not in its published layout."""


class EvaluationError(LabError):
    """An evaluation has wrong arguments or lacks data."""


class TrainingError(LabError):
    """A training cannot start or continue."""
