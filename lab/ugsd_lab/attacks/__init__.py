"""``ugsd-lab attack``: measures what strong attackers learn from what the device sends.

``encoder_outputs`` embeds the clips and ``said`` measures what captions of them say,
``disclosures`` computes what the product's own code sends, ``observations`` holds what an attacker
sees of it, and ``voices`` splits speakers into those that are attacked and those that the attacker
learns from. ``speakers``, ``attributes``, ``unsent``, ``frames`` and ``traffic`` are the attacks;
``speaker_attackers`` and ``learning`` hold the models that they use, and ``scores`` computes error
rates. ``study`` runs all attacks, ``findings`` holds their results, and ``printing`` writes the
tables. ``frontier`` compares ways of making states by utility and leakage.
"""

from __future__ import annotations

from ugsd_lab.attacks.findings import Finding, Report, as_json
from ugsd_lab.attacks.study import Target, attack, prepare

__all__ = ["Finding", "Report", "Target", "as_json", "attack", "prepare"]
