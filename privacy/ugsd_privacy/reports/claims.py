"""Join reports to exports. Only an export proves what is in a log, because the log's key signs it.

A report is not signed, and a log's key, checkpoints and subjects are public. So a report is only a
claim of the file that contains it. It is joined to an export of the log that it names if it agrees
with that export. Otherwise it gets a row of its own and does not change the export's row. The
order of the files does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ugsd_privacy.audit.export import ExportHeader
from ugsd_privacy.audit.offline import ExportSummary
from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.reports.fleet import disagreement, name_of_log, overlapping, prove, size_of_note
from ugsd_privacy.reports.known_logs import KnownLog
from ugsd_privacy.reports.model import Report
from ugsd_privacy.tlog.checkpoint import Checkpoint

__all__ = ["MAX_CLAIMS", "MAX_EXPORTS", "Joined", "join_reports", "others_of", "prove_all"]

MAX_CLAIMS = 256
"""Maximum number of reports that claim to belong to one log."""
MAX_EXPORTS = 64
"""Maximum number of different exports of one log."""


class Joined(NamedTuple):
    """The result of joining a report."""

    export: Path | None = None
    """The export that the report agrees with."""
    dispute: str = ""
    """What contradicts the report."""


def prove_all(
    exports: Mapping[Path, ExportHeader | None],
    reports: Iterable[Report],
    known: Iterable[KnownLog],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Path, ExportSummary | LogTampered]:
    """Verify each export once.

    ``progress`` is called with the number of exports that are done, and the number of all.
    """
    sizes: defaultdict[str, set[int]] = defaultdict(set)
    for header in exports.values():
        if header is not None:
            sizes[header.key].add(header.size)
    for log in known:
        sizes[log.key].add(log.size)
    for report in reports:
        if report.log and report.checkpoint:
            try:
                sizes[report.log].add(size_of_note(report.checkpoint))
            except (LogTampered, KeyFileError):
                continue  # it agrees with no export
    found: dict[Path, ExportSummary | LogTampered] = {}
    for done, (path, header) in enumerate(exports.items()):
        progress(done, len(exports))
        try:
            found[path] = prove(path, roots_at=sizes[header.key] if header else ())
        except LogTampered as error:
            found[path] = error
        except (ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            fault = f"its export cannot be processed ({type(error).__name__})"
            found[path] = LogTampered(fault)
    return _bounded(found)


def _bounded(
    found: dict[Path, ExportSummary | LogTampered],
) -> dict[Path, ExportSummary | LogTampered]:
    """Refuse all but the longest exports of each log; copies count once."""
    trees: defaultdict[str, set[tuple[int, bytes]]] = defaultdict(set)
    for proof in found.values():
        if isinstance(proof, ExportSummary):
            trees[proof.public.to_text()].add((proof.size, proof.root))
    accepted = {log: set(sorted(own, reverse=True)[:MAX_EXPORTS]) for log, own in trees.items()}
    fault = f"more than {MAX_EXPORTS} exports of its log were given: give only the latest"
    return {
        path: LogTampered(fault)
        if isinstance(proof, ExportSummary)
        and (proof.size, proof.root) not in accepted[proof.public.to_text()]
        else proof
        for path, proof in found.items()
    }


def others_of(
    proofs: Mapping[Path, ExportSummary | LogTampered],
) -> dict[str, tuple[Checkpoint, ...]]:
    """Return the distinct trees of all sound exports of each log, by the log's key."""
    found: defaultdict[str, dict[tuple[int, bytes], Checkpoint]] = defaultdict(dict)
    for proof in proofs.values():
        if isinstance(proof, ExportSummary):
            tree = Checkpoint(proof.public.origin, proof.size, proof.root)
            found[proof.public.to_text()][proof.size, proof.root] = tree
    return {log: tuple(trees.values()) for log, trees in found.items()}


def join_reports(
    reports: Mapping[Path, Report], proofs: Mapping[Path, ExportSummary | LogTampered]
) -> dict[Path, Joined]:
    """Return the result for each report; it does not depend on the order of the reports."""
    exports: defaultdict[str, list[Path]] = defaultdict(list)
    for path, proof in proofs.items():
        if isinstance(proof, ExportSummary):
            exports[proof.public.to_text()].append(path)
    claims: defaultdict[str, list[Path]] = defaultdict(list)
    for path, report in reports.items():
        if report.log:
            claims[report.log].append(path)
    found = dict.fromkeys(reports, Joined())
    for log, paths in claims.items():
        if len(paths) > MAX_CLAIMS:
            dispute = (
                f"more than {MAX_CLAIMS} reports claim to belong to {name_of_log(log)}: give fewer"
            )
            found.update(dict.fromkeys(paths, Joined(dispute=dispute)))
        elif exports[log]:
            distinct = {(p.size, p.root): e for e in reversed(exports[log])
                        if isinstance(p := proofs[e], ExportSummary)}  # fmt: skip
            chosen = [(e, p) for e in distinct.values()
                      if isinstance(p := proofs[e], ExportSummary)]  # fmt: skip
            found.update(_joined(paths, reports, chosen))
    return found


def _joined(
    paths: Sequence[Path],
    reports: Mapping[Path, Report],
    exports: Sequence[tuple[Path, ExportSummary]],
) -> dict[Path, Joined]:
    found: dict[Path, Joined] = {}
    for path in paths:
        first_dispute = ""
        for export, proof in exports:
            dispute = disagreement(reports[path], proof)
            if not dispute:
                found[path] = Joined(export)
                break
            first_dispute = first_dispute or dispute
        else:
            found[path] = Joined(dispute=first_dispute)
    agreeing = [path for path in paths if found[path].export is not None]
    found.update(_contradicting(agreeing, reports))
    for export, proof in exports:
        own = [path for path in agreeing if found[path].export == export]
        if _exceed(own, reports, proof):
            dispute = (
                "the reports that claim to belong to its log count more together than it holds"
            )
            found.update(dict.fromkeys(own, Joined(dispute=dispute)))
    return found


def _contradicting(paths: Iterable[Path], reports: Mapping[Path, Report]) -> dict[Path, Joined]:
    by_user: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        if reports[path].subject:
            by_user[reports[path].subject].append(path)
    found = {}
    for own in by_user.values():
        spans = [(reports[path].since_s, reports[path].until_s) for path in own]
        for number, other in overlapping(spans):
            dispute = f"another report, {own[other].name}, covers the same user and time"
            found[own[number]] = Joined(dispute=dispute)
    return found


def _exceed(paths: Sequence[Path], reports: Mapping[Path, Report], export: ExportSummary) -> bool:
    """Return whether the reports together count more than the export holds."""
    logged = {
        "frames": export.size, "blocks": export.blocks, "tokens": export.tokens,
        "bytes": export.frame_bytes,
    }  # fmt: skip
    return any(
        sum(getattr(reports[path].total, name) for path in paths) > limit
        for name, limit in logged.items()
    )
