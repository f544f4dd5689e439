"""Every error that the lab raises.

::

    UgsdError            of every package, in ``ugsd_privacy.errors``
    └── LabError
        ├── CorpusError      a corpus is missing or not in its published layout
        ├── EvaluationError  an evaluation has wrong arguments or lacks data
        └── TrainingError    a training cannot start or continue
"""

from __future__ import annotations

from ugsd_privacy.errors import UgsdError

__all__ = ["CorpusError", "EvaluationError", "LabError", "TrainingError"]


class LabError(UgsdError):
    """Base of the package's errors."""


class CorpusError(LabError):
    """A corpus is missing or not in its published layout."""


class EvaluationError(LabError):
    """An evaluation has wrong arguments or lacks data."""


class TrainingError(LabError):
    """A training cannot start or continue."""
