"""Which reports are joined to which exports. Only an export speaks for a log: its key sealed it.

Nobody signs a report, and a log's key, checkpoints and subjects are public. So a report is a claim
of the file that it came in. It is joined to an export of the log that it names where it agrees with
it; otherwise it stays a claim of its own, whatever the order of the files is, and the export's row
stays as it is.
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
"""Reports that claim to be of one log."""
MAX_EXPORTS = 64
"""Different exports of one log."""


class Joined(NamedTuple):
    """What came of a report."""

    export: Path | None = None
    """The export that it agrees with."""
    dispute: str = ""
    """What contradicts it."""


def prove_all(
    exports: Mapping[Path, ExportHeader | None],
    reports: Iterable[Report],
    kept: Iterable[KnownLog],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Path, ExportSummary | LogTampered]:
    """Verify each export once. ``progress`` is called with how many are done, and of how many."""
    sizes: defaultdict[str, set[int]] = defaultdict(set)
    for header in exports.values():
        if header is not None:
            sizes[header.key].add(header.size)
    for log in kept:
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
            fault = f"what came of it is beyond what is read here ({type(error).__name__})"
            found[path] = LogTampered(fault)
    return _bounded(found)


def _bounded(
    found: dict[Path, ExportSummary | LogTampered],
) -> dict[Path, ExportSummary | LogTampered]:
    """With those beyond the longest of each log refused; copies count once."""
    trees: defaultdict[str, set[tuple[int, bytes]]] = defaultdict(set)
    for proof in found.values():
        if isinstance(proof, ExportSummary):
            trees[proof.public.to_text()].add((proof.size, proof.root))
    taken = {log: set(sorted(own, reverse=True)[:MAX_EXPORTS]) for log, own in trees.items()}
    told = f"more than {MAX_EXPORTS} different exports of its log came: give the latest ones"
    return {
        path: LogTampered(told)
        if isinstance(proof, ExportSummary)
        and (proof.size, proof.root) not in taken[proof.public.to_text()]
        else proof
        for path, proof in found.items()
    }


def others_of(
    proofs: Mapping[Path, ExportSummary | LogTampered],
) -> dict[str, tuple[Checkpoint, ...]]:
    """By each log's key, the trees of all its sound exports, without repetitions."""
    found: defaultdict[str, dict[tuple[int, bytes], Checkpoint]] = defaultdict(dict)
    for proof in proofs.values():
        if isinstance(proof, ExportSummary):
            tree = Checkpoint(proof.public.origin, proof.size, proof.root)
            found[proof.public.to_text()][proof.size, proof.root] = tree
    return {log: tuple(trees.values()) for log, trees in found.items()}


def join_reports(
    reports: Mapping[Path, Report], proofs: Mapping[Path, ExportSummary | LogTampered]
) -> dict[Path, Joined]:
    """What comes of each report; it does not depend on the order in which they are given."""
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
            told = f"more than {MAX_CLAIMS} reports claim to be of {name_of_log(log)}"
            found.update(dict.fromkeys(paths, Joined(dispute=told)))
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
        why = ""
        for export, proof in exports:
            told = disagreement(reports[path], proof)
            if not told:
                found[path] = Joined(export)
                break
            why = why or told
        else:
            found[path] = Joined(dispute=why)
    agreeing = [path for path in paths if found[path].export is not None]
    found.update(_contradicting(agreeing, reports))
    for export, proof in exports:
        own = [path for path in agreeing if found[path].export == export]
        if _tell_of_more(own, reports, proof):
            told = "the reports that claim to be of its log tell together of more than it holds"
            found.update(dict.fromkeys(own, Joined(dispute=told)))
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
            told = f"another report, {own[other].name}, tells of the same user and time"
            found[own[number]] = Joined(dispute=told)
    return found


def _tell_of_more(
    paths: Sequence[Path], reports: Mapping[Path, Report], export: ExportSummary
) -> bool:
    held = {
        "frames": export.size, "blocks": export.blocks, "tokens": export.tokens,
        "bytes": export.frame_bytes,
    }  # fmt: skip
    return any(
        sum(getattr(reports[path].total, name) for path in paths) > most
        for name, most in held.items()
    )
