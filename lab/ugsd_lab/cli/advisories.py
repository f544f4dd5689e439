"""``make audit``: checks every locked version for known vulnerabilities with pip-audit.

pip-audit exits with 0 and "No known vulnerabilities found" even if it could not query any service,
and with 1 both for vulnerabilities and for a network failure. Here these are three outcomes.
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

_VULNERABLE, _INCOMPLETE = 1, 3
_TIMEOUT_S = 600


class Audit(NamedTuple):
    """The answer of an advisory service for one lock file."""

    num_checked: int
    """Number of packages that the service knows."""
    unchecked: tuple[str, ...]
    """Packages that the service does not know or was not asked about."""
    vulnerabilities: tuple[str, ...]
    """A line for each known vulnerability."""
    failure: str = ""
    """Why the service could not be queried, if it could not."""


def audit(lock: Path) -> Audit:
    """Check each version in ``lock``, a requirements file with hashes."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(  # noqa: S603  # a fixed program and a path of ours
        command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    try:
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines() or ["pip-audit printed nothing"]
        return Audit(0, (), (), last[-1])
    unchecked = tuple(one["name"] for one in dependencies if "skip_reason" in one)
    vulnerabilities = tuple(
        f"{one['name']} {one['version']}: {vulnerability['id']}; fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release yet'}"
        for one in dependencies
        for vulnerability in one.get("vulns", ())
    )
    return Audit(len(dependencies) - len(unchecked), unchecked, vulnerabilities)


def main(argv: Sequence[str] | None = None) -> int:
    """Audit lock files. Return 0 if no vulnerability is known, 1 if one is, and 3 if some packages
    could not be checked."""
    locks = [Path(name) for name in (sys.argv[1:] if argv is None else argv)]
    code = 0
    for lock in locks:
        result = audit(lock)
        for line in result.vulnerabilities:
            print_line(f"{lock}: {line}")
        if result.vulnerabilities:
            code = _VULNERABLE
        elif not result.num_checked or result.unchecked:
            code = code or _INCOMPLETE
        if not result.num_checked:
            why = result.failure or "it knows none of the packages; is a mirror answering for it?"
            print_line(f"{lock}: NOT AUDITED, no advisory service could be queried: {why}")
        elif result.unchecked:
            print_line(f"{lock}: NOT AUDITED: {', '.join(result.unchecked)}")
        if result.num_checked:
            print_line(
                f"{lock}: {result.num_checked} versions checked, "
                f"{len(result.vulnerabilities)} vulnerabilities"
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
