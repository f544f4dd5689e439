"""Every error that the lab raises.

::

    LabError
    ├── CorpusError      a corpus that is missing or not in its published layout
    ├── EvaluationError  an evaluation that was asked for what cannot be had
    └── TrainingError    a training that cannot start or go on
"""

from __future__ import annotations

__all__ = ["CorpusError", "EvaluationError", "LabError", "TrainingError"]


class LabError(Exception):
    """Base of the package's errors."""


class CorpusError(LabError):
    """A corpus that is missing or not in its published layout."""


class EvaluationError(LabError):
    """An evaluation that was asked for what cannot be had."""


class TrainingError(LabError):
    """A training that cannot start or go on."""
