"""Why a block was kept here, sent, or not verified: values, put into words only where shown.

A :class:`Reason` is a code and the numbers that decided. Programs compare codes; people read
:func:`reason_text`. The journal and a caption's JSON keep the fields of a reason, so that no
program has to read the words, and other words change nothing but what is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

__all__ = ["Reason", "ReasonCode", "as_reason", "reason_label", "reason_text"]

_MAX_DEPTH = 4
"""Reasons within each other: two are needed, and foreign files get no more than this."""


class ReasonCode(StrEnum):
    """What decided. The values are stable: journals, captions and reports keep them."""

    BELOW_THRESHOLD = "below_threshold"
    """The drafter was sure: ``value`` is below ``threshold``."""
    ABOVE_THRESHOLD = "above_threshold"
    """The drafter was unsure: ``value`` reaches ``threshold``."""
    POLICY_COMMITS = "policy_commits"
    """A policy kept the block and gave no reason."""
    POLICY_ESCALATES = "policy_escalates"
    """A policy sent the block and gave no reason."""
    NEVER_ESCALATES = "never_escalates"
    """The policy sends nothing."""
    NO_VERIFIER = "no_verifier"
    """No verifier is set."""
    NOT_ENROLLED = "not_enrolled"
    """The speaker's profile has too few clips to send a state."""
    AFTER_BLOCK = "after_block"
    """The block at ``start`` was not verified because of ``failure``; the rest was not tried."""
    CAP_EXCEEDED = "cap_exceeded"
    """``wanted`` more than the ``used`` would pass the ``limit`` of ``cap``."""
    CONSTANT_SHAPE = "constant_shape"
    """One frame per caption is sent in the constant shape, and it was sent before."""
    BEYOND_VERIFIER = "beyond_verifier"
    """The caption is longer than the verifier reads."""
    BLOCK_TOO_LARGE = "block_too_large"
    """No frame holds the block."""
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    """The ledger cannot be used, is damaged, or another process kept it."""
    LEDGER_MOVED = "ledger_moved"
    """The ledger was moved or replaced while it was in use."""
    LOG_TAMPERED = "log_tampered"
    """The audit log does not extend what was signed of it."""
    VERIFIER_UNREACHABLE = "verifier_unreachable"
    """There is no connection to the verifier, or it was lost."""
    TLS_FAILED = "tls_failed"
    """The verifier's certificate is not trusted, or it does not speak TLS."""
    DEADLINE = "deadline"
    """The verifier did not answer in time."""
    VERIFIER_REFUSED = "verifier_refused"
    """The verifier declined; ``refusal`` is the code of the wire."""
    KEY_NOT_TRUSTED = "key_not_trusted"
    """No manifest of the pinned root gives a key to use now."""
    WRONG_VERIFIER_KEY = "wrong_verifier_key"
    """The verifier does not hold the pinned key."""
    OTHER_VERSION = "other_version"
    """The verifier speaks another version of the protocol."""
    OTHER_VOCABULARY = "other_vocabulary"
    """The verifier was made for another vocabulary."""
    OTHER_PROJECTION = "other_projection"
    """The verifier was made for states of another projection."""
    VERIFIER_MISBEHAVED = "verifier_misbehaved"
    """The verifier's answer does not fit what was asked."""
    BLOCKED = "blocked"
    """The block was not sent; the caller gave no reason."""
    NO_VERDICT = "no_verdict"
    """The block was sent and no verdict is used; the caller gave no reason."""
    APPLICATION = "application"
    """A policy or a transport of the application's own says why, in ``words``."""
    OTHER = "other"
    """An earlier release noted ``words``, or the note cannot be read."""

    @property
    def has_foreign_words(self) -> bool:
        """Whether the reason is told in words that this software did not write."""
        return self in {ReasonCode.APPLICATION, ReasonCode.OTHER}


_LABELS: Mapping[ReasonCode, str] = {
    ReasonCode.BELOW_THRESHOLD: "sure",
    ReasonCode.ABOVE_THRESHOLD: "unsure",
    ReasonCode.POLICY_COMMITS: "the policy keeps it",
    ReasonCode.POLICY_ESCALATES: "the policy sends it",
    ReasonCode.NEVER_ESCALATES: "nothing is sent",
    ReasonCode.NO_VERIFIER: "no verifier is set",
    ReasonCode.NOT_ENROLLED: "not acquainted with the voice",
    ReasonCode.AFTER_BLOCK: "after an unverified block",
    ReasonCode.CAP_EXCEEDED: "a cap would be exceeded",
    ReasonCode.CONSTANT_SHAPE: "constant shape",
    ReasonCode.BEYOND_VERIFIER: "beyond the verifier",
    ReasonCode.BLOCK_TOO_LARGE: "block too large",
    ReasonCode.LEDGER_UNAVAILABLE: "ledger unavailable",
    ReasonCode.LEDGER_MOVED: "ledger moved",
    ReasonCode.LOG_TAMPERED: "audit log tampered",
    ReasonCode.VERIFIER_UNREACHABLE: "verifier unreachable",
    ReasonCode.TLS_FAILED: "tls failed",
    ReasonCode.DEADLINE: "deadline",
    ReasonCode.VERIFIER_REFUSED: "verifier refused",
    ReasonCode.KEY_NOT_TRUSTED: "verifier key not trusted",
    ReasonCode.WRONG_VERIFIER_KEY: "wrong verifier key",
    ReasonCode.OTHER_VERSION: "verifier of another version",
    ReasonCode.OTHER_VOCABULARY: "verifier of another vocabulary",
    ReasonCode.OTHER_PROJECTION: "verifier of another projection",
    ReasonCode.VERIFIER_MISBEHAVED: "verifier misbehaved",
    ReasonCode.BLOCKED: "not sent",
    ReasonCode.NO_VERDICT: "no verdict",
    ReasonCode.APPLICATION: "a reason of the application's own",
    ReasonCode.OTHER: "noted by an earlier release",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A code, and what belongs to it; what does not is ``None``. ``str()`` gives its words."""

    code: ReasonCode
    cap: str | None = None
    """The cap's name, as in ``ugsd_privacy.budget.CAPS``."""
    limit: float | None = None
    """The cap's."""
    used: float | None = None
    """How much of the cap was used before."""
    wanted: float | None = None
    """How much more was wanted; infinite for the epsilon of states without noise."""
    value: float | None = None
    """The uncertainty that was compared with the threshold."""
    threshold: float | None = None
    accepted: int | None = None
    """How many of the ``offered`` tokens the verifier accepted; of a block that was answered."""
    offered: int | None = None
    """How many tokens of the block were sent."""
    start: int | None = None
    """Position of the first token of the block that was not verified."""
    refusal: str | None = None
    """The refusal code of the wire."""
    words: str | None = None
    """An application's own words, or those of an earlier release."""
    failure: Reason | None = None
    """Of a block that was sent: why no verdict is used. After a block: why it was not verified."""

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            number = getattr(self, name)
            if number is not None:  # numpy's numbers are not JSON's
                object.__setattr__(self, name, float(number))

    def __str__(self) -> str:
        return reason_text(self)

    def to_fields(self) -> dict[str, Any]:
        """The fields that are given, of JSON's types; numbers that are not finite are text."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Reason):
                found[field.name] = value.to_fields()
            elif isinstance(value, float) and not math.isfinite(value):
                found[field.name] = str(value)
            elif value is not None:
                found[field.name] = value
        return found

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Self:
        """What :meth:`to_fields` wrote. Raises :class:`ValueError` for anything else."""
        return cls._read(given, _MAX_DEPTH)

    def to_json(self) -> str:
        """The fields as JSON, in their order: what the journal keeps."""
        return json.dumps(self.to_fields(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_note(cls, note: str) -> Self:
        """Read a note of the journal. One that no :meth:`to_json` wrote, such as the sentences of
        an earlier release, is of code ``OTHER`` and keeps its words."""
        try:
            return cls.from_fields(json.loads(note))
        except (ValueError, RecursionError):
            return cls(code=ReasonCode.OTHER, words=note)

    @classmethod
    def _read(cls, given: object, depth: int) -> Self:
        if not isinstance(given, Mapping) or not depth:
            raise ValueError("a reason is an object with a code")
        read: dict[str, Any] = {}
        for name, value in given.items():
            if name == "failure":
                read[name] = cls._read(value, depth - 1)
            elif name in _NUMBERS:
                read[name] = _number(value)
            elif name in _COUNTS and type(value) is int and value >= 0:
                read[name] = value
            elif name in _TEXTS and isinstance(value, str):
                value.encode()  # a lone surrogate is no text
                read[name] = value
            else:
                raise ValueError(f"a reason has no such {name}")
        read["code"] = ReasonCode(read.get("code", ""))
        return cls(**read)


_NUMBERS = frozenset({"limit", "used", "wanted", "value", "threshold"})
_COUNTS = frozenset({"accepted", "offered", "start"})
_TEXTS = frozenset({"code", "cap", "refusal", "words"})


def as_reason(given: Reason | ReasonCode | str) -> Reason:
    """A reason as it is, a code as a reason without numbers, and any other text as the words of an
    application; reports leave out what follows a colon in those, say numbers."""
    if isinstance(given, Reason):
        return given
    if isinstance(given, ReasonCode):
        return Reason(code=given)
    words = str(given).encode("utf-8", "backslashreplace").decode()
    return Reason(code=ReasonCode.APPLICATION, words=words)


def reason_label(code: ReasonCode) -> str:
    """A few words for a code, without numbers; never an application's."""
    return _LABELS[code]


def reason_text(reason: Reason) -> str:
    """The reason in words, with the numbers that decided. Words of an application stand in it as
    they are: escape them where they are shown."""
    text = _own_text(reason)
    if reason.accepted is not None and reason.offered is not None:
        text += f"; {reason.accepted} of {reason.offered} accepted"
    if reason.failure is not None and reason.code is not ReasonCode.AFTER_BLOCK:
        text += f"; sent but unanswered: {reason_text(reason.failure)}"
    return text


def _own_text(reason: Reason) -> str:
    """Without what became of a block that was sent."""
    text = reason_label(reason.code)
    match reason:
        case Reason(code=ReasonCode.BELOW_THRESHOLD, value=float(value), threshold=float(bound)):
            text += f": {value:.3g} below {bound:.3g}"
        case Reason(code=ReasonCode.ABOVE_THRESHOLD, value=float(value), threshold=float(bound)):
            text += f": {value:.3g} reaches {bound:.3g}"
        case Reason(code=ReasonCode.VERIFIER_REFUSED, refusal=str(refusal)):
            text += f": {refusal}"
        case Reason(code=ReasonCode.AFTER_BLOCK, start=int(start), failure=Reason() as failure):
            text = f"after the block at {start}: {reason_text(failure)}"
        case Reason(code=ReasonCode.APPLICATION | ReasonCode.OTHER, words=str(words)):
            text = words
        case Reason(
            code=ReasonCode.CAP_EXCEEDED,
            cap=str(cap),
            limit=float(limit),
            used=float(used),
            wanted=float(wanted),
        ):
            text = f"{cap}: {used:g} used of {limit:g}, {wanted:g} more wanted"
    return text


def _number(value: object) -> float:
    is_number = type(value) is int or type(value) is float
    if is_number or (isinstance(value, str) and value in {"inf", "-inf", "nan"}):
        with suppress(OverflowError):
            return float(value)  # type: ignore[arg-type]
    raise ValueError("a number of a reason is invalid")
