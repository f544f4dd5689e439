"""``make audit``: known vulnerabilities of every locked version, by pip-audit.

pip-audit ends with 0 and "No known vulnerabilities found" also where it could ask nobody, and with
1 both for vulnerabilities and for a network that fails. Here these are three outcomes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ugsd_privacy.output.terminal import print_line

__all__ = ["Audit", "audit", "main"]

_FOUND, _NOT_ASKED = 1, 3
_TIMEOUT_S = 600


class Audit(NamedTuple):
    """What an advisory service said of one lock file."""

    answered: int
    """Packages that it knows."""
    unanswered: tuple[str, ...]
    """Packages that nobody could be asked about, or that it does not know."""
    found: tuple[str, ...]
    """A line for each known vulnerability."""
    reason: str = ""
    """Why nobody was asked, if nobody was."""


def audit(lock: Path) -> Audit:
    """Ask about each version in ``lock``, a requirements file with hashes."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(  # noqa: S603  # a fixed program and a path of ours
        command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        return Audit(0, (), (), last[-1])
    unanswered = tuple(one["name"] for one in dependencies if "skip_reason" in one)
    found = tuple(
        f"{one['name']} {one['version']}: {fault['id']}; mended in "
        f"{', '.join(fault['fix_versions']) or 'no release yet'}"
        for one in dependencies
        for fault in one.get("vulns", ())
    )
    return Audit(len(dependencies) - len(unanswered), unanswered, found)


def main(argv: Sequence[str] | None = None) -> int:
    """Audit the lock files named; returns 0 where all were found without fault, 1 where one has a
    known vulnerability, and 3 where some could not be asked about."""
    locks = [Path(name) for name in (sys.argv[1:] if argv is None else argv)]
    code = 0
    for lock in locks:
        result = audit(lock)
        for line in result.found:
            print_line(f"{lock}: {line}")
        if result.found:
            code = _FOUND
        elif not result.answered or result.unanswered:
            code = code or _NOT_ASKED
        if not result.answered:
            why = result.reason or "it knows none of the packages: is a mirror answering for it?"
            print_line(f"{lock}: NOT AUDITED, no advisory service could be asked: {why}")
        elif result.unanswered:
            print_line(f"{lock}: NOT AUDITED: {', '.join(result.unanswered)}")
        if result.answered:
            print_line(
                f"{lock}: {result.answered} versions asked about, {len(result.found)} faults"
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
