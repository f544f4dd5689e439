"""The audit report of a home: its ledger verified and read in one view, in the drafter's words."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ugsd_privacy.audit.verify import LogSummary, Progress
from ugsd_privacy.budget import Usage, Window
from ugsd_privacy.dp.accounting import RELATION
from ugsd_privacy.errors import LedgerCorrupt, LogTampered
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.ledger import BlockDecisionRow, LedgerView, Uptime, system_uptime
from ugsd_privacy.ledger.decisions import MAX_DECISIONS
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reports.build import BudgetState, Protections, ReportedLog, build_report
from ugsd_privacy.reports.entries import Entry, Period, read_entries
from ugsd_privacy.reports.model import Protection, Report
from ugsd_privacy.reports.parts import Verification
from ugsd_privacy.reports.wording import plural

from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.home import Home
from ugsd_sdk.reports.explanation import explain
from ugsd_sdk.reports.verification import open_view, owner_of, verify_home
from ugsd_sdk.settings.config import EMBEDDED, NoiseSettings, Settings

__all__ = ["audit_report"]

_SUBJECT_LABEL = b"ugsd report subject 1\n"
_SUBJECT_DIGITS = 16
_UNPROTECTED = (
    "which words left, and that a caption was escalated at all: noise does not cover them",
    "when frames left and how many: the network and the verifier see them",
    "anything that another part of the app sends: this log tells of this software's door alone",
    "a log that whoever controls the device rolls back together with its signed checkpoints: "
    "compare this report's checkpoint with one that was kept elsewhere",
    "why blocks stayed here: the device notes that outside the log, for the last "
    f"{MAX_DECISIONS} blocks of all users, and nothing proves it",
)


def audit_report(
    settings: Settings,
    drafter: str,
    period: Period,
    *,
    owner_key: Path | None = None,
    clock: Callable[[], float] = time.time,
    uptime: Callable[[], Uptime | None] = system_uptime,
    progress: Progress = lambda done, of: None,
) -> Report:
    """Of the settings' user; ``drafter``, a name or folder, gives words and figures. ``progress``
    is told how far verification came.

    A home that was never used stays untouched. A log that does not verify is told in the report;
    raises ``LedgerUnavailable``, :class:`ModelError`, and ``KeyFileError`` for an ``owner_key``
    that is not this log's. Without it the home's own is taken, or bodies stay sealed.
    """
    place, found = Home.from_path(settings.home), _Found()
    bundle = DrafterBundle.of(drafter)
    pieces = bundle.pieces()
    try:
        with open_view(place) as view:
            owner = owner_of(place, owner_key)
            try:
                summary = verify_home(place, view, owner=owner, progress=progress)
                found.verification = _verified(summary)
            except (LogTampered, LedgerCorrupt) as error:
                found.verification = _failed(error, settings.user)
            if view is not None:
                found.entries = read_entries(view, owner, settings.user)
                found.read(view, settings.user, clock(), uptime())
    except LedgerCorrupt as error:  # of the file, or while it was read on
        if found.verification.outcome != "failed":
            found.verification = _failed(error, settings.user)
    within = [entry for entry in found.entries if entry.time_s in period]
    return build_report(
        found.entries,
        user=settings.user,
        period=period,
        made_s=int(clock()),
        log=found.log(place, settings.user),
        budget=BudgetState(settings.limits_for(), found.on_device, found.used),
        decisions=found.decisions,
        protections=_protections(settings, drafter, within),
        words=lambda token: pieces[token] if 0 <= token < len(pieces) else "",
        vocabulary=bundle.name,
    )


@dataclass
class _Found:
    """What a ledger gave, as far as it could be read."""

    entries: list[Entry] = field(default_factory=list)
    decisions: list[BlockDecisionRow] = field(default_factory=list)
    on_device: dict[str, float] = field(default_factory=dict)
    used: dict[Window, Usage] = field(default_factory=dict)
    checkpoint: str = ""
    faults: list[str] = field(default_factory=list)
    verification: Verification = field(default_factory=lambda: _verified(None))

    def read(self, view: LedgerView, user: str, now_s: float, uptime: Uptime | None) -> None:
        """What a report has beside the leaves. Caps, notes and the clock's start are no part of the
        log: what is wrong with them is told apart. Raises ``LedgerCorrupt``."""
        last = view.last_checkpoint()
        self.checkpoint = "" if last is None else last[1]
        with self._noting_faults():
            self.decisions = view.decisions(user, limit=MAX_DECISIONS)
        with self._noting_faults():
            self.on_device = view.caps(user)
        with self._noting_faults():
            self.used = view.used(user, view.hour_of(now_s, uptime))

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except LedgerCorrupt as error:
            self.faults.append(str(error))

    def log(self, place: Home, user: str) -> ReportedLog:
        """With what stands for the user: nobody else can compute it from a name."""
        faults = tuple(self.faults)
        if not place.log_key.exists():
            return ReportedLog(self.verification, faults=faults)
        key = LogKey.load(place.log_key)
        signature = key.sign(_SUBJECT_LABEL + user.encode())  # Ed25519's is always the same
        subject = hashlib.sha256(signature).hexdigest()[:_SUBJECT_DIGITS]
        return ReportedLog(
            self.verification, key.public.to_text(), self.checkpoint, subject, faults
        )


def _verified(summary: LogSummary | None) -> Verification:
    if summary is None or not summary.size:
        return Verification(outcome="empty", message="nothing has left yet")
    told = "every record, charge, hash and signed checkpoint adds up"
    if summary.unsigned:
        told += f"; {plural(summary.unsigned, 'record')} at the end under no signed checkpoint yet"
    return Verification(
        outcome="verified",
        message=told,
        size=summary.size,
        root=summary.root.hex(),
        checkpoints=summary.checkpoints,
        erased=summary.erased,
        unread=summary.unread,
    )


def _failed(error: LogTampered | LedgerCorrupt, user: str) -> Verification:
    """In words that name nobody but ``user``."""
    index, named = (error.index, error.user) if isinstance(error, LogTampered) else (None, None)
    told = str(error)
    if named not in {None, user}:
        told = "the totals of another user do not add up: `ugsd audit verify` tells whose"
    return Verification(outcome="failed", message=told, index=index)


def _protections(settings: Settings, drafter: str, within: Iterable[Entry]) -> Protections:
    """As :func:`explain` tells it of each way in which blocks left, and of the settings."""
    now, within = explain(settings, drafter), list(within)
    left = list(_ways_of(within))
    ways = [_way(settings, drafter, *way) for way in left]
    unread = sum(entry.amounts.blocks for entry in within if entry.record is None)
    if unread:
        ways.append(_unread_way(unread))
    chosen = ", ".join(f"{k} = {v}" for k, v in now.settings.items() if k != "verifier")
    is_told = settings.disclosure in {disclosure for disclosure, _, _ in left}
    configured = Protection(
        title=f"Under the settings of this report ({chosen})",
        leaves=now.sent,
        bound=now.noise_guarantee,
        learnt=() if is_told else now.attacker_results,
        source="" if is_told else now.source,
    )
    return Protections(now.never_sent, _UNPROTECTED, (*ways, configured))


def _ways_of(entries: Iterable[Entry]) -> Iterator[tuple[Disclosure, float | None, bool]]:
    """Each disclosure by which blocks left and the noise of its numbers, if any left."""
    records = [e.record for e in entries if e.record is not None and e.record.kind == "block"]
    with_states = {(r.disclosure, r.sigma): True for r in records if r.state_positions}
    told = {disclosure for disclosure, _ in with_states}
    without = {(r.disclosure, None): False for r in records if r.disclosure not in told}
    for (disclosure, sigma), states in (with_states | without).items():
        if disclosure is not None:
            yield disclosure, sigma, states


def _way(
    settings: Settings, drafter: str, disclosure: Disclosure, sigma: float | None, states: bool
) -> Protection:
    noise = None if sigma is None else NoiseSettings(sigma=sigma)
    verifier = settings.verifier.model_copy(update={"url": settings.verifier.url or EMBEDDED})
    as_left = {"disclosure": disclosure, "noise": noise, "verifier": verifier}
    free = {"target_risk": None, "target_gain": None}
    told = explain(settings.model_copy(update=as_left | free), drafter)
    noised, bound = _noise_of_way(sigma, states=states)
    return Protection(
        title=f"Of blocks that left as {disclosure}, {noised}",
        bound=bound,
        learnt=told.attacker_results,
        source=told.source,
    )


def _noise_of_way(sigma: float | None, *, states: bool) -> tuple[str, tuple[str, ...]]:
    """What was done to the vectors, and what that guarantees."""
    if not states:
        return "no vectors with them", ("nothing: no vectors left, and words are never noised",)
    if sigma is None:
        return "without noise", ("nothing: they left without noise",)
    return f"with noise of sigma {sigma:g}", (
        "the epsilon that stands with the captions, days and budget",
        f"it holds for: {RELATION}",
        "the words that left, and when a block did, are not covered",
    )


def _unread_way(blocks: int) -> Protection:
    """Of what was erased, or is sealed to a key that was not given."""
    return Protection(
        title=f"Of {plural(blocks, 'block')} whose records cannot be read",
        bound=(
            "the epsilon that stands with the captions, days and budget counts their vectors too",
        ),
        learnt=("not known: the records would say how much left with the words",),
    )
