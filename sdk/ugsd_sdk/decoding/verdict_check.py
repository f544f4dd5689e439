"""The check of a verdict against the block that it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ugsd_privacy.protocol.messages import Verdict

from ugsd_sdk.errors import VerifierMisbehaved

__all__ = ["require_valid_verdict", "written_tokens"]


def written_tokens(verdict: Verdict) -> list[int]:
    """Return the tokens that the verifier wrote: its correction, then its continuation."""
    correction = [] if verdict.correction is None else [verdict.correction]
    return [*correction, *verdict.continuation]


def require_valid_verdict(
    verdict: Verdict,
    *,
    committed: Sequence[int],
    block: Sequence[int],
    eos: int,
    vocabulary_size: int,
    piece: Callable[[int], str],
) -> None:
    """Raise :class:`VerifierMisbehaved` if ``verdict`` is no valid answer to ``block``, which was
    drafted after ``committed``. ``piece`` returns a token's text."""
    accepted, correction = verdict.accepted, verdict.correction
    written = written_tokens(verdict)
    final = [*block[:accepted], *written]
    faults = {
        "it is about another block": verdict.start != len(committed),
        "it accepts more than was sent": accepted > len(block),
        "it rejects a token without correcting it": accepted < len(block) and correction is None,
        "it corrects an accepted block": accepted >= len(block) and correction is not None,
        "it corrects a token to itself": (
            correction is not None and accepted < len(block) and correction == block[accepted]
        ),
        "it has a token out of vocabulary": any(token >= vocabulary_size for token in written),
        "it continues after the end": eos in final[:-1],
        "it has a token without text": any(not piece(token) for token in written if token != eos),
        "it leaves the caption without text": bool(written)
        and not _has_text([*committed, *final], piece),
    }
    for fault, found in faults.items():
        if found:
            raise VerifierMisbehaved(
                f"the verdict does not match the block, {fault}: ask the verifier's operator"
            )


def _has_text(tokens: Sequence[int], piece: Callable[[int], str]) -> bool:
    """Return whether the text of ``tokens`` contains a letter or a digit."""
    return any(map(str.isalnum, "".join(map(piece, tokens))))
