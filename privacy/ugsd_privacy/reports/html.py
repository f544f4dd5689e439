"""Write a report as one HTML page that loads nothing and can be read without its script.

The page's Content-Security-Policy allows only its own style sheet and its own script, by their
hashes; the script only sorts and filters tables. Jinja escapes all text that a drafter, a user or
a verifier chose.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from ugsd_privacy.errors import ReportRejected
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.reports import wording
from ugsd_privacy.reports.fleet_model import FleetReport
from ugsd_privacy.reports.model import Report

__all__ = ["MOST_CAPTIONS", "fleet_html", "report_html"]

# Jinja is an optional dependency, so it is imported only when a page is written.
# ruff: noqa: PLC0415

_STYLE, _SCRIPT = "page.css", "tables.js"
MOST_CAPTIONS = 2000
"""How many captions, the latest ones, one page shows; with more, a browser takes seconds."""


def report_html(report: Report) -> str:
    """Return the page of one device. Raises :class:`ReportRejected` if Jinja is not installed."""
    _require_extra()
    from ugsd_privacy.reports.charts import bytes_chart, epsilon_chart

    limits = {cap.cap: _smaller(cap.configured, cap.on_device) for cap in report.caps}
    charts = []
    if report.days:
        charts.append(bytes_chart(report.days, limits.get("bytes_per_day")))
        if any(day.epsilon is not None for day in report.days):
            charts.append(epsilon_chart(report.days, limits.get("epsilon_per_lifetime")))
    num_omitted = max(0, len(report.captions) - MOST_CAPTIONS)
    return _page("report.html.j2", report=report, charts=charts, num_omitted=num_omitted)


def fleet_html(fleet: FleetReport) -> str:
    """Return the page of many devices. Raises like :func:`report_html`."""
    _require_extra()
    return _page("fleet.html.j2", report=fleet)


def _smaller(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _require_extra() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise ReportRejected(
            f"HTML needs {error.name}: pip install 'ugsd[report]', or use --format md or json"
        ) from error


def _page(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def plain(value: object) -> object:
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return "\n".join(map(plain_line, value.split("\n")))

    pages = Environment(
        loader=PackageLoader(__package__ or "", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["wording"] = wording
    style, script = (pages.get_template(name).render() for name in (_STYLE, _SCRIPT))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return pages.get_template(template).render(style=style, script=script, policy=policy, **values)


def _hash(text: str) -> str:
    """Return the hash source of ``text`` for the policy (CSP level 2, section 4.2.5)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
