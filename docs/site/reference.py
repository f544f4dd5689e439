"""Generates pages from the code, so that they always agree with it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import typer
import ugsd_sdk
from pydantic import BaseModel
from schemas import caption_schema_page, plain_cell, report_schema_page
from ugsd_lab import cli as lab
from ugsd_privacy import errors as privacy_errors
from ugsd_privacy.budget import CAPS, MEASURES, WINDOWS, BudgetLimits
from ugsd_privacy.strict_models import attribute_docstrings
from ugsd_sdk import cli as device
from ugsd_sdk import errors as device_errors
from ugsd_sdk.settings import config as device_settings
from ugsd_server import cli as server
from ugsd_server import errors as server_errors
from ugsd_server.settings import Settings as ServerSettings

DOCS = Path(__file__).parents[1]
APPS = {"ugsd": device, "ugsd-server": server, "ugsd-lab": lab}
_STATUS = re.compile(r"^Status: (.+?)\. Area: (.+?)\.$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Return the Markdown of every generated page by its path in docs/."""
    return {
        "reference/settings.md": settings_page(),
        "reference/cli.md": commands_page(),
        "reference/errors.md": errors_page(),
        "reference/python.md": python_page(),
        "reference/caption-schema.md": caption_schema_page(),
        "reference/report-schema.md": report_schema_page(),
        "decisions/index.md": decisions_page(),
    }


def settings_page() -> str:
    """Describe every setting of the device and of the verifier, from the pydantic models."""
    return "\n".join(
        [
            "# Settings",
            "",
            "Generated from the models that read the settings.",
            "",
            "## The device",
            "",
            "A TOML file, environment variables with the prefix `UGSD_`, and arguments in "
            "Python; the later ones win. A variable joins the names of tables with two "
            "underscores: `UGSD_VERIFIER__URL`. [Budgets](../guides/budgets.md) has an example.",
            "",
            *_table(device_settings.Settings, skip={"verifier", "noise", "audit", "limits"}),
            "### `[verifier]`",
            "",
            *_table(device_settings.VerifierSettings),
            "### `[noise]`",
            "",
            *_table(device_settings.NoiseSettings),
            "### `[audit]`",
            "",
            *_table(device_settings.AuditSettings),
            "### `[limits]`, and each preset and user",
            "",
            "`none` means that there is no cap, and 0 that nothing may be sent. Tables of presets "
            "and users also take `preset`, the name of a preset to inherit from. The numbers are "
            "the defaults.",
            "",
            *_caps(),
            "## The verifier service",
            "",
            "Options of `ugsd-server`, or environment variables with the prefix `UGSD_SERVER_`; "
            "an option wins.",
            "",
            *_table(ServerSettings),
        ]
    )


def _table(model: type[BaseModel], skip: set[str] | None = None) -> Iterator[str]:
    schema = model.model_json_schema()
    meanings = attribute_docstrings(model)
    yield "| setting | values | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        if name not in (skip or ()):
            described = schema["properties"][name]
            default = "required" if field.is_required() else _default(described.get("default"))
            values = _values(described, schema.get("$defs", {}))
            meaning = plain_cell(meanings.get(name, ""))
            yield f"| `{name}` | {values} | {default} | {meaning} |"
    yield ""


def _caps() -> Iterator[str]:
    yield "| at most | " + " | ".join(f"per {window}" for window in WINDOWS) + " |"
    yield "|---|" + "---|" * len(WINDOWS)
    for measure in MEASURES:
        names = [f"{measure}_per_{window}" for window in WINDOWS]
        cells = [f"`{name}`: {_default(BudgetLimits.model_fields[name].default)}" for name in names]
        yield f"| {measure} | {' | '.join(cells)} |"
    yield ""
    yield from _table(BudgetLimits, skip=set(CAPS))


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str) and value.startswith("/"):
        return f"`{Path(value).name}`"  # a folder of the package
    return f"`{value}`"


def _values(described: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the type and range of a value in words."""
    if "$ref" in described:
        return _values(definitions[described["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in described:
        return " or ".join(dict.fromkeys(_values(one, definitions) for one in described["anyOf"]))
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in described["enum"])
    kind = {
        "boolean": "true or false",
        "integer": "whole number",
        "null": "none",
        "number": "number",
        "object": "tables",
        "string": "file or folder" if described.get("format") == "path" else "text",
    }.get(described.get("type", ""), "text")
    bounds = [f"{sign} {described[key]:g}" for key, sign in _BOUNDS.items() if key in described]
    return f"{kind} {' and '.join(bounds)}".strip()


_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}


def commands_page() -> str:
    """Show the help of every command, as the commands print it."""
    lines = [
        "# Command line",
        "",
        "Generated from the commands: this is what `--help` prints.",
        "",
    ]
    for name, module in APPS.items():
        app = typer.main.get_command(module._app)
        context = app.make_context(name, [], resilient_parsing=True)
        lines += _command(app, context, 2)
    return "\n".join(lines)


def _command(command: Any, context: Any, level: int) -> Iterator[str]:
    context.terminal_width = context.max_content_width = 96
    yield f"{'#' * level} `{context.command_path}`"
    yield ""
    yield f"```text\n{command.get_help(context).rstrip()}\n```"
    yield ""
    for name, child in sorted(getattr(command, "commands", {}).items()):
        if not child.hidden:
            made = child.make_context(name, [], parent=context, resilient_parsing=True)
            yield from _command(child, made, min(level + 1, 4))


def python_page() -> str:
    """List the public names of the SDK, which mkdocstrings describes from their docstrings."""
    lines = [
        "# Python",
        "",
        "Everything that `ugsd_sdk` exports. Import names from there: `from ugsd_sdk import "
        "Captioner`. Errors have [a page of their own](errors.md).",
        "",
    ]
    public = {name: getattr(ugsd_sdk, name) for name in ugsd_sdk.__all__}
    rest = [name for name in public if name not in device_errors.__all__]
    for title, modules in _CHAPTERS.items():
        chapter = [name for name in rest if public[name].__module__.startswith(modules)]
        rest = [name for name in rest if name not in chapter]
        lines += [f"## {title}", ""]
        lines += [f"::: {public[name].__module__}.{name}\n" for name in chapter]
    if rest:
        raise ValueError(f"no chapter of the Python reference has {', '.join(rest)}")
    return "\n".join(lines)


_CHAPTERS = {
    "The captioner": ("ugsd_sdk.captioner",),
    "Events of a call": ("ugsd_sdk.calls",),
    "Streams": ("ugsd_sdk.streams", "ugsd_sdk.speech"),
    "Timelines": ("ugsd_sdk.timelines",),
    "The result": (
        "ugsd_sdk.caption",
        "ugsd_sdk.attributes",
        "ugsd_sdk.prosody",
        "ugsd_privacy.dp",
        "ugsd_privacy.reasons",
    ),
    "Speaker profiles": ("ugsd_sdk.profile",),
    "Settings": ("ugsd_sdk.settings", "ugsd_privacy.budget", "ugsd_privacy.protocol"),
    "What decides about escalation": ("ugsd_sdk.decoding",),
}


def errors_page() -> str:
    """Show the trees of errors and the meaning of each error."""
    lines = [
        "# Errors",
        "",
        "Generated from the modules that define them. Each package has one tree. A message names "
        "the cause and the next step.",
        "",
    ]
    for title, module in {
        "The device: `ugsd_sdk.errors`": device_errors,
        "The privacy layer: `ugsd_privacy.errors`": privacy_errors,
        "The verifier service: `ugsd_server.errors`": server_errors,
    }.items():
        document = inspect.cleandoc(module.__doc__ or "")
        (tree,) = re.findall(r"::\n\n((?:    .*\n?)+)", document + "\n")
        lines += [f"## {title}", "", f"```text\n{dedent(tree).rstrip()}\n```", ""]
        lines += ["| error | meaning |", "|---|---|"]
        for name in module.__all__:
            lines.append(
                f"| `{name}` | {plain_cell(inspect.getdoc(getattr(module, name)) or '')} |"
            )
        lines.append("")
    return "\n".join(lines)


def decisions_page() -> str:
    """List number, title, area and status of each decision, from the pages themselves."""
    lines = [
        "# Decisions",
        "",
        "Each page keeps one decision that a reader might question: its context, the choice and "
        "the consequences.",
        "",
        "| number | decision | area | status |",
        "|---|---|---|---|",
    ]
    for number, title, status, area, name in decisions():
        lines.append(f"| {number} | [{title}]({name}) | {area} | {status} |")
    return "\n".join([*lines, ""])


def decisions() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield number, title, status, area and file name of each decision.

    Raises ValueError for a page that lacks one of them.
    """
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        text = path.read_text(encoding="utf-8")
        title = re.match(r"# (\d{3}): (.+)\n", text)
        status = _STATUS.search(text)
        if title is None or status is None:
            raise ValueError(f"{path}: needs a title '# NNN: ...' and 'Status: ... Area: ...'")
        yield title[1], title[2], status[1], status[2], path.name
