"""``ugsd-lab evaluate``: every way of decoding on the same clips in one run.

``pairs`` says which models; ``arms`` runs one way of decoding; ``baselines`` are those that UGSD is
compared with; ``matching`` gives them UGSD's disclosure; ``study`` runs them all; ``rows`` says
what each number is, ``intervals`` how sure; ``curves`` moves the threshold; ``printing`` writes the
tables.
"""

from __future__ import annotations

from ugsd_lab.evaluation.pairs import Pair, pair_of
from ugsd_lab.evaluation.rows import ARMS, Result, Row, as_json
from ugsd_lab.evaluation.study import evaluate
from ugsd_lab.evaluation.systems import in_memory

__all__ = [
    "ARMS",
    "Pair",
    "Result",
    "Row",
    "as_json",
    "evaluate",
    "in_memory",
    "pair_of",
]
