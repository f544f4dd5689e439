"""``ugsd-lab attack``: what can be learnt from what leaves, by attackers who try hard.

``heard`` listens, ``leaving`` lets each clip leave by the product's own code, ``seen`` is what an
attacker then has of it, ``voices`` says who is attacked and from whom the attacker learns.
``speakers``, ``attributes``, ``content`` and ``traffic`` are the attacks, ``embeddings`` and
``learning`` what they are made with, ``scores`` how error rates are counted. ``study`` runs them
all, ``findings`` is what they give, ``printing`` writes the tables. ``frontier`` compares ways of
making states by what they are good for and what they leak.
"""

from __future__ import annotations

from ugsd_lab.attacks.findings import Finding, Report, as_json
from ugsd_lab.attacks.study import Target, attack, prepare

__all__ = ["Finding", "Report", "Target", "as_json", "attack", "prepare"]
