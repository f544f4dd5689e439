"""Reasons: any of them for properties, and short enough to compare in a test."""

from __future__ import annotations

from hypothesis import strategies as st
from ugsd_privacy.reasons import Reason, ReasonCode

__all__ = ["reasons", "why_of"]

_NUMBERS = st.none() | st.floats(allow_nan=False)
_COUNTS = st.none() | st.integers(min_value=0)
_TEXTS = st.none() | st.text()


def reasons(*, depth: int = 2) -> st.SearchStrategy[Reason]:
    """Any reason, with reasons in it to ``depth``."""
    return st.builds(
        Reason,
        code=st.sampled_from(ReasonCode),
        **dict.fromkeys(("limit", "used", "wanted", "value", "threshold"), _NUMBERS),
        **dict.fromkeys(("accepted", "offered", "start"), _COUNTS),
        **dict.fromkeys(("cap", "refusal", "words"), _TEXTS),
        failure=st.none() | reasons(depth=depth - 1) if depth else st.none(),
    )


def why_of(reason: Reason | None) -> str | None:
    """The code, with the cap or the verifier's refusal where there is one; no numbers."""
    if reason is None:
        return None
    detail = reason.cap or reason.refusal
    return f"{reason.code}: {detail}" if detail else str(reason.code)
