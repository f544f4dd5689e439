"""Controls what a device sends: budgets, sealing, noise and a verifiable log.

It needs no torch, network or model. A device uses :class:`Egress` with a :class:`Ledger` and a
:class:`ClientChannel`; a verifier uses :class:`ServerChannel` and
:mod:`ugsd_privacy.protocol.messages`; an auditor uses :func:`verify_log`. Names are loaded on first
use, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ugsd_privacy.audit.receipts import Receipt
    from ugsd_privacy.audit.verify import verify_log
    from ugsd_privacy.budget import BudgetLimits, Usage
    from ugsd_privacy.egress import CaptionHandle, Egress, Escalation, SealedFrame
    from ugsd_privacy.keys.log import LogKey, LogPublicKey
    from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
    from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
    from ugsd_privacy.ledger import Ledger
    from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel

__all__ = [
    "BudgetLimits",
    "CaptionHandle",
    "ClientChannel",
    "Egress",
    "Escalation",
    "Ledger",
    "LogKey",
    "LogPublicKey",
    "OwnerKey",
    "OwnerPublicKey",
    "Receipt",
    "SealedFrame",
    "ServerChannel",
    "Usage",
    "VerifierKey",
    "VerifierPublicKey",
    "verify_log",
]

_NAMES_BY_MODULE = {
    "audit.receipts": ("Receipt",),
    "audit.verify": ("verify_log",),
    "budget": ("BudgetLimits", "Usage"),
    "egress": ("CaptionHandle", "Egress", "Escalation", "SealedFrame"),
    "keys.log": ("LogKey", "LogPublicKey"),
    "keys.owner": ("OwnerKey", "OwnerPublicKey"),
    "keys.verifier": ("VerifierKey", "VerifierPublicKey"),
    "ledger": ("Ledger",),
    "protocol.channel": ("ClientChannel", "ServerChannel"),
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


if not TYPE_CHECKING:  # which would take any misspelt name for an object

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
