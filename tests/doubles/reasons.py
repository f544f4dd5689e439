"""Reasons: a strategy for any of them, and a short form to compare in tests."""

from __future__ import annotations

from hypothesis import strategies as st
from ugsd_privacy.reasons import MAX_AMOUNT, Reason, ReasonCode

__all__ = ["reasons", "why_of"]

_NUMBERS = st.none() | st.floats(allow_nan=False)
_COUNTS = st.none() | st.integers(min_value=0)
_TEXTS = st.none() | st.text()


def reasons(*, depth: int = 2) -> st.SearchStrategy[Reason]:
    """Return any reason, with nested reasons to ``depth``."""
    return st.builds(
        Reason,
        code=st.sampled_from(ReasonCode),
        **dict.fromkeys(
            ("limit", "used", "wanted", "value", "threshold", "worth", "price"), _NUMBERS
        ),
        cost=st.none() | st.tuples(*[st.integers(0, MAX_AMOUNT)] * 5),
        **dict.fromkeys(("accepted", "offered", "start"), _COUNTS),
        **dict.fromkeys(("cap", "refusal", "words"), _TEXTS),
        failure=st.none() | reasons(depth=depth - 1) if depth else st.none(),
    )


def why_of(reason: Reason | None) -> str | None:
    """Return the code, with the cap or the verifier's refusal if there is one, without numbers."""
    if reason is None:
        return None
    detail = reason.cap or reason.refusal
    return f"{reason.code}: {detail}" if detail else str(reason.code)
