"""Read reports from JSON, and write the JSON Schema that is published."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import KeyFileError, ReportRejected
from ugsd_privacy.keys.log import LogPublicKey
from ugsd_privacy.reports.fleet_model import FleetReport
from ugsd_privacy.reports.model import Report

__all__ = ["MAX_REPORT_BYTES", "AnyReport", "read_report", "report_schema"]

MAX_REPORT_BYTES = 64 * 2**20
"""Enough for a year of 50 captions a day, at 3 kB each with their words."""
_MAX_ITEMS = 4_000_000
"""Enough for the words of a report of that size."""

AnyReport = Annotated[Report | FleetReport, Field(discriminator="format")]


def read_report(data: bytes) -> Report:
    """Parse a device's JSON report. Raises :class:`ReportRejected`."""
    try:
        report = read_json(Report, data, max_items=_MAX_ITEMS)
    except ValueError as error:
        raise ReportRejected(f"not a report that this release can read: {error}") from None
    if report.log:
        _require_own_name(report.log)
    return report


def _require_own_name(log: str) -> None:
    """Check that the log's name is derived from its key, so that it names no other device's log."""
    try:
        own = LogPublicKey.from_text(log).to_text()
    except KeyFileError as error:
        raise ReportRejected(f"the report's log: {error}") from None
    if own != log:
        raise ReportRejected("the report's log: its key is not in canonical form")


def report_schema() -> str:
    """Return the JSON Schema (2020-12) of both kinds of report: docs/report.schema.json."""
    schema: dict[str, Any] = TypeAdapter[Any](AnyReport).json_schema(mode="serialization")
    named = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ugsd:report:1",
        "title": "UGSD reports",
    }
    return json.dumps(named | _without_discriminators(schema), indent=1) + "\n"


def _without_discriminators(schema: Any) -> Any:
    """Remove the keyword of OpenAPI, which JSON Schema lacks. Constants distinguish the kinds."""
    if isinstance(schema, dict):
        return {
            key: _without_discriminators(value)
            for key, value in schema.items()
            if key != "discriminator"
        }
    return list(map(_without_discriminators, schema)) if isinstance(schema, list) else schema
