"""The conditions under which speculative verification is lossless.

Each is checked as soon as it is known: those of the settings when they are read, whether there is a
value to draw when the drafter is loaded, and the disclosure of a block when a policy escalates it.
"""

from __future__ import annotations

from ugsd_privacy.protocol.messages import Disclosure

from ugsd_sdk.settings.verification import BlockUnit, Continuation, Verification

__all__ = ["disclosure_fault", "draw_fault", "speculative_fault"]


def speculative_fault(
    verification: Verification,
    *,
    block_unit: BlockUnit,
    continuation: Continuation | None,
    disclosure: Disclosure,
    has_target: bool,
    has_epsilon: bool,
) -> tuple[tuple[str, ...], str] | None:
    """Return the setting that does not go with ``verification`` and what to do; ``None`` if all do.

    ``has_target`` and ``has_epsilon`` say whether a quality or a privacy cost is asked for.
    """
    is_speculative = verification is Verification.SPECULATIVE
    fault = draw_fault(verification, block_unit=block_unit, continuation=continuation)
    if fault is not None:
        return ("verification",), fault
    fault = disclosure_fault(disclosure, verification)
    if fault is not None:
        return ("verification" if is_speculative else "disclosure",), fault
    if is_speculative and has_target:
        return ("verification",), (
            "a target was measured only for the verifier's own rule: set a threshold instead of "
            "the target, or verification = verifier"
        )
    if is_speculative and has_epsilon:
        return ("noise", "epsilon"), (
            "no noise is added to distributions, so no epsilon holds: set noise.sigma instead, or "
            "verification = verifier and disclosure = summary"
        )
    return None


def draw_fault(
    verification: Verification,
    *,
    block_unit: BlockUnit,
    continuation: Continuation | None,
    has_slots: bool = True,
) -> str | None:
    """Return why no value can be drawn with ``verification`` and what to do; ``None`` if one can,
    or if none is drawn. ``has_slots`` says whether the drafter has slots."""
    if verification is not Verification.SPECULATIVE:
        return None
    if not has_slots:
        return (
            "the drafter has no slots, so there is no value to draw: set verification = verifier, "
            "or use a drafter with slots"
        )
    if block_unit is not BlockUnit.SLOT:
        return (
            "speculative verification draws the value of a slot, which blocks of block_unit = "
            f"{block_unit} do not ask about: set block_unit = slot, or verification = verifier"
        )
    if continuation not in {None, Continuation.NOTHING}:
        return (
            "with speculative verification the verifier draws the value alone, and the device "
            f"words the rest: delete continuation = {continuation}, or set verification = verifier"
        )
    return None


def disclosure_fault(disclosure: Disclosure, verification: Verification) -> str | None:
    """Return why a block with ``disclosure`` does not go with ``verification`` and what to do;
    ``None`` if it does: a drawn value is judged by its draft weights, and no other has any."""
    sends_draft_weights = disclosure is Disclosure.DISTRIBUTIONS
    is_speculative = verification is Verification.SPECULATIVE
    if is_speculative and not sends_draft_weights:
        return (
            "speculative verification needs the distribution that the value was drawn from: set "
            "disclosure = distributions, or verification = verifier"
        )
    if sends_draft_weights and not is_speculative:
        return (
            "distributions are sent for speculative verification alone: set verification = "
            "speculative, or disclosure = summary"
        )
    return None
