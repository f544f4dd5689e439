"""The settings with which speculative verification is lossless, and the faults of all others."""

from __future__ import annotations

from ugsd_privacy.protocol.messages import Disclosure

from ugsd_sdk.settings.verification import BlockUnit, Continuation, Verification

__all__ = ["speculative_fault"]


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
    if verification is not Verification.SPECULATIVE:
        if disclosure is Disclosure.DISTRIBUTIONS:
            return ("disclosure",), (
                "distributions are sent for speculative verification alone: set verification = "
                "speculative, or disclosure = summary"
            )
        return None
    needed: list[tuple[bool, tuple[str, ...], str]] = [
        (
            block_unit is BlockUnit.SLOT,
            ("verification",),
            "speculative verification draws the value of a slot, which blocks of block_unit = "
            f"{block_unit} do not ask about: set block_unit = slot, or verification = verifier",
        ),
        (
            continuation in {None, Continuation.NOTHING},
            ("verification",),
            "with speculative verification the verifier draws the value alone, and the device "
            f"words the rest: delete continuation = {continuation}, or set verification = verifier",
        ),
        (
            disclosure is Disclosure.DISTRIBUTIONS,
            ("verification",),
            "speculative verification needs the distribution that the value was drawn from: set "
            "disclosure = distributions, or verification = verifier",
        ),
        (
            not has_target,
            ("verification",),
            "a target was measured only for the verifier's own rule: set a threshold instead of "
            "the target, or verification = verifier",
        ),
        (
            not has_epsilon,
            ("noise", "epsilon"),
            "no noise is added to distributions, so no epsilon holds: set noise.sigma instead, or "
            "verification = verifier and disclosure = summary",
        ),
    ]
    return next(((keys, message) for holds, keys, message in needed if not holds), None)
