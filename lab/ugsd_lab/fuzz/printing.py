"""Prints a fuzzing run as a table, or as JSON."""

from __future__ import annotations

from rich.console import Console

from ugsd_lab.fuzz.run import FuzzResult
from ugsd_lab.tables import TextTable, print_tables

__all__ = ["as_json", "print_result"]


def as_json(result: FuzzResult) -> dict[str, object]:
    """Return the whole result; bytes in hex."""
    return {
        "seed": result.seed,
        "frames": result.frames,
        "elapsed_s": round(result.elapsed_s, 3),
        "rss_bytes": result.rss_bytes,
        "targets": {
            name: {
                "outcomes": dict(counter.most_common()),
                "peak_bytes": result.peak_bytes[name],
                "slowest_ms": round(1000 * result.slowest_s[name], 3),
            }
            for name, counter in result.outcomes.items()
        },
        "findings": [
            {"target": f.target, "fault": f.fault, "data": f.data.hex()} for f in result.findings
        ],
    }


def print_result(result: FuzzResult, console: Console) -> None:
    """Print one row per target and outcome, then every finding with its bytes."""
    rows = []
    for name, counter in result.outcomes.items():
        peak, slowest = result.peak_bytes[name] / 1024, 1000 * result.slowest_s[name]
        for row, (outcome, count) in enumerate(counter.most_common()):
            last = ("", "") if row else (f"{peak:,.0f}", f"{slowest:,.1f}")
            rows.append(("" if row else name, outcome, f"{count:,}", *last))
    header = ("reader", "outcome", "inputs", "peak KiB", "slowest ms")
    print_tables([TextTable(header, rows)], console)
    console.print(
        f"{result.frames:,} inputs, seed {result.seed}, {result.elapsed_s:,.0f} s; "
        f"peak memory {result.rss_bytes / 2**20:,.0f} MiB; "
        f"{len(result.findings)} findings"
    )
    for finding in result.findings:
        console.print(f"{finding.target}: {finding.fault}", markup=False)
        console.print(finding.data.hex(), soft_wrap=True, markup=False)
