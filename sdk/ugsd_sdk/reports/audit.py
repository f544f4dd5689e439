"""The audit report of a home, from one view of its ledger, with words by the drafter's
vocabulary."""

from __future__ import annotations

import hashlib
import logging
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
from ugsd_privacy.ledger import JournalRow, LedgerView, Uptime, system_uptime
from ugsd_privacy.ledger.journal import MAX_JOURNAL_ROWS
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.reports.build import BudgetState, Protections, ReportedLog, build_report
from ugsd_privacy.reports.entries import Entry, Period, read_entries
from ugsd_privacy.reports.model import Protection, Report
from ugsd_privacy.reports.parts import Verification
from ugsd_privacy.reports.wording import plural

from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.home import Home
from ugsd_sdk.reports.explanation import explain
from ugsd_sdk.reports.state_readings import state_reader
from ugsd_sdk.reports.verification import open_view, owner_of, verify_home
from ugsd_sdk.settings.config import EMBEDDED, NoiseSettings, Settings

__all__ = ["audit_report"]

_log = logging.getLogger(__name__)

_SUBJECT_LABEL = b"ugsd report subject 1\n"
_SUBJECT_DIGITS = 16
_UNPROTECTED = (
    "which words were sent, and that a caption was escalated at all: noise does not cover them",
    "when frames were sent and how many: the network and the verifier see them",
    "anything that another part of the app sends: this log covers only what this software sends",
    "a log that is rolled back, together with its signed checkpoints, by someone who controls the "
    "device: compare this report's checkpoint with one that was stored elsewhere",
    "why blocks were not sent: the journal has that for the last "
    f"{MAX_JOURNAL_ROWS} blocks of all users, outside the log, and nothing proves it",
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
    warn: Callable[[str], None] = _log.warning,
) -> Report:
    """Return the report for the settings' user.

    ``drafter``, a name or folder, provides words, readings of numbers and figures. ``owner_key``
    opens the bodies of records; without it the home's own is used if it is there, and otherwise
    bodies stay sealed.
    ``progress`` is called with the progress of verification, and ``warn`` with the reason if the
    numbers cannot be read in words. A home that was never used stays
    untouched.

    The report says so if the log does not verify. Raises ``LedgerUnavailable``,
    :class:`ModelError`, and ``KeyFileError`` for an ``owner_key`` that does not fit this log.
    """
    place, found = Home.from_path(settings.home), _LedgerContent()
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
    except LedgerCorrupt as error:  # when opening the file or reading it
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
        read_state=state_reader(drafter, warn),
        vocabulary=bundle.name,
    )


@dataclass
class _LedgerContent:
    """What could be read from a ledger."""

    entries: list[Entry] = field(default_factory=list)
    decisions: list[JournalRow] = field(default_factory=list)
    on_device: dict[str, float] = field(default_factory=dict)
    used: dict[Window, Usage] = field(default_factory=dict)
    checkpoint: str = ""
    faults: list[str] = field(default_factory=list)
    verification: Verification = field(default_factory=lambda: _verified(None))

    def read(self, view: LedgerView, user: str, now_s: float, uptime: Uptime | None) -> None:
        """Read what a report needs besides the leaves. Caps, journal and clock are not part of the
        log, so their faults are reported separately. Raises ``LedgerCorrupt``."""
        last = view.last_checkpoint()
        self.checkpoint = "" if last is None else last[1]
        with self._collecting_faults():
            self.decisions = view.journal(user, limit=MAX_JOURNAL_ROWS)
        with self._collecting_faults():
            self.on_device = view.caps(user)
        with self._collecting_faults():
            self.used = view.used(user, view.hour_of(now_s, uptime))

    @contextmanager
    def _collecting_faults(self) -> Iterator[None]:
        try:
            yield
        except LedgerCorrupt as error:
            self.faults.append(str(error))

    def log(self, place: Home, user: str) -> ReportedLog:
        """Return the log's identity, with a pseudonym of the user that only the log's key can
        compute."""
        faults = tuple(self.faults)
        if not place.log_key.exists():
            return ReportedLog(self.verification, faults=faults)
        key = LogKey.load(place.log_key)
        signature = key.sign(_SUBJECT_LABEL + user.encode())  # Ed25519 is deterministic
        subject = hashlib.sha256(signature).hexdigest()[:_SUBJECT_DIGITS]
        return ReportedLog(
            self.verification, key.public.to_text(), self.checkpoint, subject, faults
        )


def _verified(summary: LogSummary | None) -> Verification:
    if summary is None or not summary.size:
        return Verification(outcome="empty", message="nothing was sent yet")
    message = "every record, charge, hash and signed checkpoint is consistent"
    if summary.unsigned:
        message += f"; the last {plural(summary.unsigned, 'record')} under no signed checkpoint yet"
    return Verification(
        outcome="verified",
        message=message,
        size=summary.size,
        root=summary.root.hex(),
        checkpoints=summary.checkpoints,
        erased=summary.erased,
        unread=summary.unread,
    )


def _failed(error: LogTampered | LedgerCorrupt, user: str) -> Verification:
    """Return the failed verification, without the name of any other user than ``user``."""
    index, named = (error.index, error.user) if isinstance(error, LogTampered) else (None, None)
    message = str(error)
    if named not in {None, user}:
        message = "the totals of another user are wrong: `ugsd audit verify` says which"
    return Verification(outcome="failed", message=message, index=index)


def _protections(settings: Settings, drafter: str, within: Iterable[Entry]) -> Protections:
    """Return the protections of each kind in which blocks were sent, and of the settings."""
    now, within = explain(settings, drafter), list(within)
    kinds = list(_kinds_of(within))
    ways = [_protection(settings, drafter, *kind) for kind in kinds]
    unread = sum(entry.amounts.blocks for entry in within if entry.record is None)
    if unread:
        ways.append(_unread_protection(unread))
    chosen = now.settings_text(without="verifier")
    is_covered = settings.disclosure in {disclosure for disclosure, _, _ in kinds}
    configured = Protection(
        title=f"With the settings of this report ({chosen})",
        leaves=now.sent,
        bound=now.noise_guarantee,
        learnt=() if is_covered else now.attacker_results,
        source="" if is_covered else now.source,
    )
    return Protections(now.never_sent, _UNPROTECTED, (*ways, configured))


def _kinds_of(entries: Iterable[Entry]) -> Iterator[tuple[Disclosure, float | None, bool]]:
    """Yield each disclosure that occurred, the sigma of its noise, and whether it had states."""
    records = [e.record for e in entries if e.record is not None and e.record.kind == "block"]
    with_states = {(r.disclosure, r.sigma): True for r in records if r.state_positions}
    seen = {disclosure for disclosure, _ in with_states}
    without = {(r.disclosure, None): False for r in records if r.disclosure not in seen}
    for (disclosure, sigma), states in (with_states | without).items():
        if disclosure is not None:
            yield disclosure, sigma, states


def _protection(
    settings: Settings, drafter: str, disclosure: Disclosure, sigma: float | None, states: bool
) -> Protection:
    noise = None if sigma is None else NoiseSettings(sigma=sigma)
    verifier = settings.verifier.model_copy(update={"url": settings.verifier.url or EMBEDDED})
    as_sent = {"disclosure": disclosure, "noise": noise, "verifier": verifier}
    no_target = {"target_risk": None, "target_gain": None}
    explanation = explain(settings.model_copy(update=as_sent | no_target), drafter)
    has_draft_weights = disclosure is Disclosure.DISTRIBUTIONS
    noise_text, guarantee = _noise_protection(sigma, states=states, draft_weights=has_draft_weights)
    return Protection(
        title=f"Blocks sent as {disclosure}, {noise_text}",
        bound=guarantee,
        learnt=explanation.attacker_results,
        source=explanation.source,
    )


def _noise_protection(
    sigma: float | None, *, states: bool, draft_weights: bool
) -> tuple[str, tuple[str, ...]]:
    """Describe the noise on the states, and what it guarantees: with draft weights nothing."""
    if draft_weights and sigma is not None:
        return f"the states with noise of sigma {sigma:g}", (
            "no bound: how likely the emotions are was sent with the states, without noise",
        )
    if draft_weights:
        sent = "the states and how likely the emotions are" if states else "the probabilities"
        return "without noise", (f"nothing: {sent} were sent without noise",)
    if not states:
        return "without states", ("nothing: no states were sent, and words never have noise",)
    if sigma is None:
        return "without noise", ("nothing: the states were sent without noise",)
    return f"with noise of sigma {sigma:g}", (
        "the epsilon that is shown with the captions, days and budget",
        f"it holds for: {RELATION}",
        "it does not cover which words were sent, and when a block was",
    )


def _unread_protection(blocks: int) -> Protection:
    """Describe records that were erased, or are sealed to a key that was not given."""
    return Protection(
        title=f"{plural(blocks, 'block')} whose records cannot be read",
        bound=(
            "the epsilon that is shown with the captions, days and budget counts their states too",
        ),
        learnt=("unknown: only the records say what was sent with the words",),
    )
