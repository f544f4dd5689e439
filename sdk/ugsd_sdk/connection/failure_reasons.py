"""The reason that a caption reports for a failure of the connection, the ledger or the budget."""

from __future__ import annotations

from ugsd_privacy.errors import BudgetExceeded, LedgerError, LedgerMoved, LogTampered
from ugsd_privacy.reasons import Reason, ReasonCode, as_reason

from ugsd_sdk.errors import TransportError, VerifierMisbehaved

__all__ = ["reason_of"]


def reason_of(error: Exception) -> Reason:
    """Return why a block is not verified. The reason contains nothing that the verifier sent."""
    match error:
        case TransportError():
            return as_reason(error.reason)  # an application's own transport may set a text
        case BudgetExceeded():
            return Reason(
                code=ReasonCode.CAP_EXCEEDED,
                cap=error.cap,
                limit=error.limit,
                used=error.used,
                wanted=error.wanted,
            )
        case LedgerMoved():
            return Reason(code=ReasonCode.LEDGER_MOVED)
        case LedgerError():
            return Reason(code=ReasonCode.LEDGER_UNAVAILABLE)
        case LogTampered():
            return Reason(code=ReasonCode.LOG_TAMPERED)
        case _:
            return Reason(code=VerifierMisbehaved.default_code)
