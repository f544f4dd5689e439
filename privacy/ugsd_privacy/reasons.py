"""Reasons why a block was kept on the device, sent, or not verified.

A :class:`Reason` is a code and the numbers that decided. Programs compare codes; people read
:func:`reason_text`. The journal and a caption's JSON store the fields of a reason, so no program
has to parse the words, and a change of the words changes only what is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

__all__ = [
    "MAX_AMOUNT",
    "NUM_AMOUNTS",
    "Reason",
    "ReasonCode",
    "as_reason",
    "reason_label",
    "reason_text",
]

MAX_AMOUNT = 2**63 - 1
"""The largest amount of a cost, which is that of the ledger's integers."""
NUM_AMOUNTS = 5
"""Length of ``Reason.cost``."""
_MAX_DEPTH = 4
"""Maximum nesting of reasons when they are read. This software nests three."""


class ReasonCode(StrEnum):
    """The cause of a decision. The values are stable: journals, captions and reports store them."""

    BELOW_THRESHOLD = "below_threshold"
    """The drafter is sure: ``value`` is below ``threshold``."""
    ABOVE_THRESHOLD = "above_threshold"
    """The drafter is unsure: ``value`` reaches ``threshold``."""
    GAIN_EXPECTED = "gain_expected"
    """Asking is expected to help: the gain ``value`` exceeds ``threshold``."""
    NO_GAIN_EXPECTED = "no_gain_expected"
    """Asking is not expected to help: the gain ``value`` does not exceed ``threshold``."""
    ANSWER_TOO_LATE = "answer_too_late"
    """The answer is expected after ``value`` seconds, but may take at most ``threshold``."""
    SAVES_TIME = "saves_time"
    """The verifier is expected to end the caption ``value`` seconds sooner than the device, at
    least ``threshold``."""
    MEASURED = "measured"
    """The device measured what the block says, so no verifier is asked about it."""
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
    NO_PROFILE = "no_profile"
    """There is no speaker profile, which a state needs: the user is not named."""
    DIFFERENT_SPEAKER = "different_speaker"
    """The clip does not sound like the profile's speaker, so no state was sent."""
    SEVERAL_SPEAKERS = "several_speakers"
    """The clip sounds like several speakers, so no state was sent."""
    AFTER_BLOCK = "after_block"
    """The block at ``start`` was not verified because of ``failure``; later ones are not judged."""
    CAP_EXCEEDED = "cap_exceeded"
    """``wanted`` in addition to ``used`` would exceed the ``limit`` of ``cap``."""
    BELOW_PRICE = "below_price"
    """The question is ``worth`` less than the ``price`` of its ``cost`` at what remains of ``cap``:
    the budget is kept for questions that are worth more."""
    CONSTANT_SHAPE = "constant_shape"
    """The constant traffic shape allows one frame per caption, which was sent already."""
    BEYOND_VERIFIER = "beyond_verifier"
    """The caption is longer than the verifier can read."""
    BLOCK_TOO_LARGE = "block_too_large"
    """The block does not fit into the largest frame."""
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    """The ledger cannot be used, is damaged, or was locked by another process."""
    LEDGER_MOVED = "ledger_moved"
    """The ledger was moved or replaced while it was in use."""
    LOG_TAMPERED = "log_tampered"
    """The audit log does not extend its signed checkpoint."""
    VERIFIER_UNREACHABLE = "verifier_unreachable"
    """There is no connection to the verifier, or it was lost."""
    CIRCUIT_OPEN = "circuit_open"
    """The verifier failed several times in a row, the last time because of ``failure``. It is not
    waited for until a trial connection succeeded."""
    TLS_FAILED = "tls_failed"
    """The verifier's certificate is not trusted, or it does not speak TLS."""
    DEADLINE = "deadline"
    """The verifier did not answer in time."""
    CALL_TIMEOUT = "call_timeout"
    """The time limit of the call for a caption left no time for an answer."""
    CALL_CANCELLED = "call_cancelled"
    """The call for a caption was cancelled before the answer came."""
    CAPTIONER_CLOSED = "captioner_closed"
    """The captioner was closed before the answer came."""
    VERIFIER_REFUSED = "verifier_refused"
    """The verifier refused; ``refusal`` is the code on the wire."""
    KEY_NOT_TRUSTED = "key_not_trusted"
    """No manifest of the pinned root has a key that is valid now."""
    WRONG_VERIFIER_KEY = "wrong_verifier_key"
    """The verifier does not hold the pinned key."""
    OTHER_VERSION = "other_version"
    """The verifier speaks another version of the protocol."""
    OTHER_VOCABULARY = "other_vocabulary"
    """The verifier was built for another vocabulary."""
    OTHER_PROJECTION = "other_projection"
    """The verifier was built for states of another projection."""
    VERIFIER_MISBEHAVED = "verifier_misbehaved"
    """The verifier's answer does not match the request."""
    NOT_JUDGED = "not_judged"
    """The verifier raised no objection, but had too little to judge by: no state, or one with
    noise."""
    BLOCKED = "blocked"
    """The block was not sent; the caller gave no reason."""
    NO_VERDICT = "no_verdict"
    """The block was sent, but there is no verdict; the caller gave no reason."""
    APPLICATION = "application"
    """A policy or transport of the application gave the reason in ``words``."""
    OTHER = "other"
    """An earlier release stored ``words``, or the text cannot be read."""

    @property
    def has_foreign_words(self) -> bool:
        """Whether the reason contains words that this software did not write."""
        return self in {ReasonCode.APPLICATION, ReasonCode.OTHER}


_LABELS: Mapping[ReasonCode, str] = {
    ReasonCode.BELOW_THRESHOLD: "sure",
    ReasonCode.ABOVE_THRESHOLD: "unsure",
    ReasonCode.GAIN_EXPECTED: "gain expected",
    ReasonCode.NO_GAIN_EXPECTED: "no gain expected",
    ReasonCode.ANSWER_TOO_LATE: "the answer would come too late",
    ReasonCode.SAVES_TIME: "the verifier is expected to end sooner",
    ReasonCode.MEASURED: "measured on the device",
    ReasonCode.POLICY_COMMITS: "kept by the policy",
    ReasonCode.POLICY_ESCALATES: "sent by the policy",
    ReasonCode.NEVER_ESCALATES: "the policy sends nothing",
    ReasonCode.NO_VERIFIER: "no verifier is set",
    ReasonCode.NOT_ENROLLED: "speaker not enrolled",
    ReasonCode.NO_PROFILE: "no speaker profile",
    ReasonCode.DIFFERENT_SPEAKER: "does not sound like the profile's speaker",
    ReasonCode.SEVERAL_SPEAKERS: "sounds like several speakers",
    ReasonCode.AFTER_BLOCK: "after an unverified block",
    ReasonCode.CAP_EXCEEDED: "a cap would be exceeded",
    ReasonCode.BELOW_PRICE: "budget kept for better questions",
    ReasonCode.CONSTANT_SHAPE: "constant traffic shape",
    ReasonCode.BEYOND_VERIFIER: "too long for the verifier",
    ReasonCode.BLOCK_TOO_LARGE: "block too large",
    ReasonCode.LEDGER_UNAVAILABLE: "ledger unavailable",
    ReasonCode.LEDGER_MOVED: "ledger moved",
    ReasonCode.LOG_TAMPERED: "audit log tampered",
    ReasonCode.VERIFIER_UNREACHABLE: "verifier unreachable",
    ReasonCode.CIRCUIT_OPEN: "not asked after failures in a row",
    ReasonCode.TLS_FAILED: "TLS failed",
    ReasonCode.DEADLINE: "deadline",
    ReasonCode.CALL_TIMEOUT: "time limit of the call",
    ReasonCode.CALL_CANCELLED: "call cancelled",
    ReasonCode.CAPTIONER_CLOSED: "captioner closed",
    ReasonCode.VERIFIER_REFUSED: "verifier refused",
    ReasonCode.KEY_NOT_TRUSTED: "verifier key not trusted",
    ReasonCode.WRONG_VERIFIER_KEY: "wrong verifier key",
    ReasonCode.OTHER_VERSION: "verifier has another protocol version",
    ReasonCode.OTHER_VOCABULARY: "verifier has another vocabulary",
    ReasonCode.OTHER_PROJECTION: "verifier has another projection",
    ReasonCode.VERIFIER_MISBEHAVED: "verifier misbehaved",
    ReasonCode.NOT_JUDGED: "the verifier had too little to judge by",
    ReasonCode.BLOCKED: "not sent",
    ReasonCode.NO_VERDICT: "no verdict",
    ReasonCode.APPLICATION: "the application's own reason",
    ReasonCode.OTHER: "noted by an earlier release",
}

_COMPARED: Mapping[ReasonCode, str] = {
    ReasonCode.BELOW_THRESHOLD: "{value:.3g} below {bound:.3g}",
    ReasonCode.ABOVE_THRESHOLD: "{value:.3g} reaches {bound:.3g}",
    ReasonCode.GAIN_EXPECTED: "{value:.3g} exceeds {bound:.3g}",
    ReasonCode.NO_GAIN_EXPECTED: "{value:.3g} does not exceed {bound:.3g}",
    ReasonCode.ANSWER_TOO_LATE: "{value:.3g} s are expected, {bound:.3g} s allowed",
    ReasonCode.SAVES_TIME: "by {value:.3g} s, at least {bound:.3g} s",
}
"""How the value was compared with the threshold, by the code."""

_REMEDIES: Mapping[ReasonCode, str] = {
    ReasonCode.NO_PROFILE: "name the user, or pass a profile",
    ReasonCode.DIFFERENT_SPEAKER: "record with less noise, or use one profile for each speaker",
    ReasonCode.SEVERAL_SPEAKERS: "caption each speaker's part by itself",
    ReasonCode.NOT_JUDGED: "send a state without noise, or less noise",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A code and the values that belong to it; other values are ``None``. ``str()`` gives words."""

    code: ReasonCode
    cap: str | None = None
    """The cap's name, as in ``ugsd_privacy.budget.CAPS``."""
    limit: float | None = None
    """The limit of the cap."""
    used: float | None = None
    """How much of the cap was already used."""
    wanted: float | None = None
    """How much more was wanted; infinite for the epsilon of states without noise."""
    value: float | None = None
    """What was compared with the threshold: an uncertainty, an expected gain or seconds."""
    threshold: float | None = None
    """What ``value`` was compared with, in its unit."""
    worth: float | None = None
    """What the question was worth when the budget was paced, 0 or more: its expected gain, or the
    uncertainty of the block if a threshold or target decided."""
    price: float | None = None
    """What its ``cost`` was worth to other questions, in the unit of ``worth``; for a positive
    price, ``cap`` is the cap that makes most of it."""
    cost: tuple[int, int, int, int, int] | None = None
    """What asking would use, as estimated before the question was built: ``Usage.counts``."""
    accepted: int | None = None
    """How many of the ``offered`` tokens the verifier accepted, if the block was answered."""
    offered: int | None = None
    """How many tokens of the block were sent."""
    start: int | None = None
    """Position of the first token of the block that was not verified."""
    refusal: str | None = None
    """The refusal code on the wire."""
    words: str | None = None
    """An application's own words, or those of an earlier release."""
    failure: Reason | None = None
    """For a block that was sent: why it has no verdict. For ``AFTER_BLOCK``: why the block at
    ``start`` was not verified. For ``CIRCUIT_OPEN``: the last failure."""

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            number = getattr(self, name)
            if number is not None:  # numpy numbers cannot be written as JSON
                object.__setattr__(self, name, float(number))

    def __str__(self) -> str:
        return reason_text(self)

    def to_fields(self) -> dict[str, Any]:
        """Return the fields that are set, in JSON types; non-finite numbers become text."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Reason):
                found[field.name] = value.to_fields()
            elif isinstance(value, tuple):
                found[field.name] = list(value)
            elif isinstance(value, float) and not math.isfinite(value):
                found[field.name] = str(value)
            elif value is not None:
                found[field.name] = value
        return found

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Self:
        """Read the result of :meth:`to_fields`. Raises :class:`ValueError` for anything else."""
        return cls._read(given, _MAX_DEPTH)

    def to_json(self) -> str:
        """Return the fields as JSON, in their order, as the journal stores them."""
        return json.dumps(self.to_fields(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_journal(cls, text: str) -> Self:
        """Read a reason from the journal.

        A text that :meth:`to_json` did not write, such as a sentence of an earlier release, becomes
        a reason with the code ``OTHER`` and the text as its words.
        """
        try:
            return cls.from_fields(json.loads(text))
        except (ValueError, RecursionError):
            return cls(code=ReasonCode.OTHER, words=text)

    @classmethod
    def _read(cls, given: object, depth: int) -> Self:
        if not isinstance(given, Mapping) or not depth:
            raise ValueError("a reason must be an object with a code, nested at most four deep")
        read: dict[str, Any] = {}
        for name, value in given.items():
            if name == "failure":
                read[name] = cls._read(value, depth - 1)
            elif name == "cost":
                read[name] = _cost(value)
            elif name in _NUMBERS:
                read[name] = _number(value)
            elif name in _COUNTS and type(value) is int and value >= 0:
                read[name] = value
            elif name in _TEXTS and isinstance(value, str):
                value.encode()  # raises for a lone surrogate
                read[name] = value
            else:
                raise ValueError(f"a reason has an unknown or invalid field {name}")
        read["code"] = ReasonCode(read.get("code", ""))
        return cls(**read)


_NUMBERS = frozenset({"limit", "used", "wanted", "value", "threshold", "worth", "price"})
_COUNTS = frozenset({"accepted", "offered", "start"})
_TEXTS = frozenset({"code", "cap", "refusal", "words"})


def as_reason(given: Reason | ReasonCode | str) -> Reason:
    """Convert ``given`` to a reason: a code to one without numbers, text to one in an application's
    words. Reports omit what follows a colon in those words, such as numbers."""
    if isinstance(given, Reason):
        return given
    if isinstance(given, ReasonCode):
        return Reason(code=given)
    words = str(given).encode("utf-8", "backslashreplace").decode()
    return Reason(code=ReasonCode.APPLICATION, words=words)


def reason_label(code: ReasonCode) -> str:
    """Return a short fixed label for a code, without numbers or words of an application."""
    return _LABELS[code]


def reason_text(reason: Reason) -> str:
    """Return the reason in words, with the numbers that decided.

    Words of an application are not escaped: escape them before they are shown.
    """
    text = _cause_text(reason)
    if reason.accepted is not None and reason.offered is not None:
        text += f"; {reason.accepted} of {reason.offered} accepted"
    if reason.failure is not None and reason.code not in _EXPLAINED_BY_FAILURE:
        text += f"; sent, but not verified: {reason_text(reason.failure)}"
    return text


_EXPLAINED_BY_FAILURE = frozenset({ReasonCode.AFTER_BLOCK, ReasonCode.CIRCUIT_OPEN})


def _cause_text(reason: Reason) -> str:
    """Return the reason without the result of a block that was sent."""
    text = reason_label(reason.code)
    match reason:
        case Reason(code=code, value=float(value), threshold=float(bound)) if code in _COMPARED:
            text += f": {_COMPARED[code].format(value=value, bound=bound)}"
        case Reason(code=code) if code in _REMEDIES:
            text += f": {_REMEDIES[code]}"
        case Reason(code=ReasonCode.VERIFIER_REFUSED, refusal=str(refusal)):
            text += f": {refusal}"
        case Reason(code=ReasonCode.BELOW_PRICE, worth=float(worth), price=float(price)):
            of = "" if reason.cap is None else f" of {reason.cap}"
            text += f": worth {worth:.3g}, price {price:.3g}{of}"
        case Reason(code=ReasonCode.AFTER_BLOCK, start=int(start), failure=Reason() as failure):
            text = f"after the block at {start}: {reason_text(failure)}"
        case Reason(code=ReasonCode.CIRCUIT_OPEN, failure=Reason() as failure):
            text += f", the last: {reason_text(failure)}"
        case Reason(code=ReasonCode.APPLICATION | ReasonCode.OTHER, words=str(words)):
            text = words
        case Reason(
            code=ReasonCode.CAP_EXCEEDED,
            cap=str(cap),
            limit=float(limit),
            used=float(used),
            wanted=float(wanted),
        ):
            more = (
                f"{wanted:g} more wanted"
                if math.isfinite(wanted)
                else "and states without noise have no finite epsilon: set noise"
            )
            text = f"{cap}: {used:g} used of {limit:g}, {more}"
    return text


def _cost(value: object) -> tuple[int, ...]:
    """Read ``Reason.cost``, which is a list in JSON."""
    if (
        not isinstance(value, (list, tuple))
        or len(value) != NUM_AMOUNTS
        or not all(type(amount) is int and 0 <= amount <= MAX_AMOUNT for amount in value)
    ):
        raise ValueError("a reason has an invalid cost")
    return tuple(value)


def _number(value: object) -> float:
    is_number = type(value) is int or type(value) is float
    if is_number or (isinstance(value, str) and value in {"inf", "-inf", "nan"}):
        with suppress(OverflowError):
            return float(value)  # type: ignore[arg-type]
    raise ValueError("a reason has an invalid number")
