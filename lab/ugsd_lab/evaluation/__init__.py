"""``ugsd-lab evaluate``: compares systems on the same clips in one run.

``pairs`` chooses the models; ``systems`` runs one system; ``baselines`` are those that UGSD is
compared with; ``matching`` gives them UGSD's disclosure; ``study`` runs them all; ``rows`` defines
the numbers of a table and ``intervals`` their confidence intervals; ``curves`` varies the
threshold; ``printing`` writes the tables.

``ugsd-lab claims`` judges captions by what they state: ``claim_study`` makes and judges them,
``claim_truth`` and ``relation_truth`` say what may be claimed, from labels and
``independent_prosody``.
"""

from __future__ import annotations

from ugsd_lab.evaluation.pairs import Pair, pair_of
from ugsd_lab.evaluation.rows import SYSTEMS, Result, Row, as_json
from ugsd_lab.evaluation.study import evaluate
from ugsd_lab.evaluation.systems import in_memory

__all__ = [
    "SYSTEMS",
    "Pair",
    "Result",
    "Row",
    "as_json",
    "evaluate",
    "in_memory",
    "pair_of",
]
