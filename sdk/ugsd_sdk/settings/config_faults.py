"""Error messages for settings: what is wrong, where it is, and what to change."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from ugsd_privacy.output.near_names import choices, near_name
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.usage_faults import plain_fault

from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.settings_file import NAMED_TABLES, SettingsFile

__all__ = ["check_variables", "first_fault", "format_fault", "format_variable_fault"]

_PREFIX, _SERVERS = "UGSD_", "UGSD_SERVER_"
_OPTIONS = {"config": "config=", "drafter": "the first argument", "offline": "no verifier"}
"""Options that are no settings, and what stands for them in Python."""
_MAX_NAME_CHARACTERS, _MAX_VALUE_CHARACTERS = 256, 65_536
_MAX_SHOWN_CHARACTERS = 200
_MAX_DEPTH = 64
"""Deeper than any table, and than the brackets in any name."""
_EXAMPLES = {
    "verifier": ("url", "embedded"),
    "noise": ("sigma", 1.0),
    "audit": ("level", "record"),
    "limits": ("tokens_per_day", 2000),
    "presets": ("tokens_per_day", 200),
    "users": ("tokens_per_day", 200),
}
_FORMER_TABLE, _FORMER_KEY = "profiles", "inherits"
"""Former names of the table ``presets`` and of the key ``preset`` of a user."""
_NOT_A_TABLE = {"model_type", "model_attributes_type", "dict_type"}
_logger = logging.getLogger(__name__)

Keys = tuple[str, ...]


def check_variables(settings: type[BaseModel]) -> None:
    """Raise :class:`ConfigError` for a ``UGSD_`` variable that was meant for us and sets nothing:
    a misspelt setting, an unknown key of one of our tables, or an option that is no setting.

    Any other variable is another program's, and is ignored.
    """
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(_PREFIX) or name.startswith(_SERVERS):
            continue
        keys = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        if keys[0] in settings.model_fields:
            _check_bounds(variable, os.environ[variable])
        if _is_setting(settings, keys):
            continue
        remedy = _remedy(settings, keys)
        if remedy is not None:
            raise ConfigError(f"environment variable {variable}: no such setting: {remedy}")
        _logger.info("%s is no setting of ugsd: ignored", plain_line(variable))


def _remedy(settings: type[BaseModel], keys: Keys) -> str | None:
    """Return what to do about a variable that sets nothing; ``None`` if it is another program's."""
    if keys[0] in _OPTIONS and len(keys) == 1:
        return f"give the option --{keys[0]} (in Python {_OPTIONS[keys[0]]}), and unset it"
    if (renamed := _renamed_variable(keys)) is not None:
        return renamed
    known = _variables(settings, keys)
    is_ours = len(keys) > 1 and keys[0] in _EXAMPLES
    near = near_name("__".join(keys), map("__".join, known))
    if near is None and is_ours:
        in_table = ["__".join(path) for path in known if path[0] == keys[0] and path[1:]]
        near = get_close_matches("__".join(keys), in_table, n=1, cutoff=0.0)[0]
    return near and f"did you mean {_PREFIX}{near.upper()}? Correct the name, or unset it"


def _check_bounds(variable: str, value: str) -> None:
    """Raise :class:`ConfigError` for a value that is longer or nested deeper than any setting.

    Values of tables are parsed as JSON by a recursive parser.
    """
    shown = variable[:_MAX_NAME_CHARACTERS]
    if len(variable) > _MAX_NAME_CHARACTERS or len(value) > _MAX_VALUE_CHARACTERS:
        raise ConfigError(
            f"environment variable {shown}: longer than any setting: move it to a settings file"
        )
    depth = deepest = 0
    for sign in value:
        depth += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise ConfigError(
            f"environment variable {shown}: nested too deeply: set {shown}__ and a key of it "
            "instead"
        )


def first_fault(faults: Sequence[Any]) -> Any:
    """Return the fault to report first: a table's former name causes faults of other keys."""
    return min(faults, key=lambda fault: fault["loc"][:1] != (_FORMER_TABLE,))


def format_fault(
    fault: Any, settings: type[BaseModel], arguments: Mapping[str, Any], file: SettingsFile | None
) -> str:
    """Return the message for a fault that pydantic found: where its key comes from, and what to
    do."""
    keys = tuple(str(part) for part in fault["loc"] if part != "[key]")
    keys = tuple(fault.get("ctx", {}).get("keys", keys))
    return f"{_origin(keys, arguments, file)}: {_fix(fault, keys, settings)}"


def format_variable_fault(settings: type[BaseModel]) -> str:
    """Return the message for a table's variable that is not JSON."""
    variables = {f"{_PREFIX}{table.upper()}": table for table in _EXAMPLES}
    given = (variable for variable in variables if not _is_json(os.environ.get(variable, "null")))
    variable = next(given, next(iter(variables)))
    table = variables[variable]
    named = "__NAME" if table in NAMED_TABLES else ""
    key = f"{variable}{named}__{_EXAMPLES[table][0].upper()}"
    return f"environment variable {variable}: not JSON: set its keys instead, such as {key}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _origin(keys: Keys, arguments: Mapping[str, Any], file: SettingsFile | None) -> str:
    name = ".".join(keys)
    variables = {variable.upper(): variable for variable in os.environ}
    if _has(arguments, keys):
        return f"setting {name}"
    for length in range(len(keys), 0, -1):
        variable = (_PREFIX + "__".join(keys[:length])).upper()
        if variable in variables:
            return f"environment variable {variable}"
    if file is not None and keys and keys[0] in file.values:
        return f"{file.position_of(keys)}: key {name}"
    return f"setting {name}"


def _has(values: object, keys: Keys) -> bool:
    """Whether ``values`` contain the key; a model instance contains all its keys."""
    for key in keys:
        if not isinstance(values, Mapping):
            return isinstance(values, BaseModel)
        if key not in values:
            return False
        values = values[key]
    return bool(keys)


def _fix(fault: Any, keys: Keys, settings: type[BaseModel]) -> str:
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return f"no such setting: {_nearest(settings, keys)}"
    if (
        kind in _NOT_A_TABLE
        and keys[0] in NAMED_TABLES
        and keys[-1] in _fields(settings, ("limits",))
    ):
        return f"it belongs in a named table: {_example(keys[:1])}"
    if kind in _NOT_A_TABLE:
        return f"{keys[-1]} is a table: {_example(keys)}"
    if kind == "path_type":
        return f'a path is text, such as "~/.ugsd", not {_shown(value)}'
    message = plain_fault(fault["msg"])
    if kind in {"enum", "literal_error"}:
        quoted = re.findall("'[^']*'", fault["ctx"]["expected"])
        message = f"must be {choices(repr(value), quoted)}"
    message = f"{message[:1].lower()}{message[1:]}"
    if kind in {"together", "excluded", "empty"}:
        return message
    in_quotes = kind == "string_type" and isinstance(value, (bool, int, float))
    return f"{message}, not {_shown(value)}" + (": put it in quotes" if in_quotes else "")


def _shown(value: object) -> str:
    """Return the beginning of ``value``, long enough to recognise it."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."


def _example(keys: Keys) -> str:
    key, value = _EXAMPLES.get(keys[0], ("preset", "child"))
    table = keys if len(keys) > 1 or keys[0] not in NAMED_TABLES else (*keys, "NAME")
    return f"[{'.'.join(table)}] {key} = {json.dumps(value)}"


def _nearest(settings: type[BaseModel], keys: Keys) -> str:
    """Return what to do about a key that is not a setting."""
    *table, key = keys
    if keys == (_FORMER_TABLE,):
        return "named sets of caps are presets: [presets.NAME]"
    if table[:1] == ["users"] and key == _FORMER_KEY:
        return "the key is now `preset`: rename it"
    if len(table) > 1 and key == "limits":
        return f"caps stand directly in {'.'.join(table)}: move them up"
    if table and key in settings.model_fields:
        return "it belongs in no table: move it above the first table"
    for other in settings.model_fields:
        if other not in NAMED_TABLES and key in _fields(settings, (other,)):
            return f"it belongs in [{other}]"
    matches = get_close_matches(key, _fields(settings, tuple(table)), n=1)
    return f"did you mean {matches[0]}?" if matches else "correct the name, or delete it"


def _renamed_variable(keys: Keys) -> str | None:
    """Return what to do about a variable of a former name, or ``None`` for any other."""
    now = (*keys[:-1], "preset") if keys[0] == "users" and keys[-1] == _FORMER_KEY else keys
    if keys[0] == _FORMER_TABLE:
        now = ("presets", *keys[1:])
    return None if now == keys else f"it is now {(_PREFIX + '__'.join(now)).upper()}: rename it"


def _variables(settings: type[BaseModel], keys: Keys) -> list[Keys]:
    """Return the keys of every variable, with the name that ``keys`` have, if any, in tables of
    names."""
    name = keys[1] if len(keys) > 2 else "name"
    return [(field,) for field in settings.model_fields] + [
        (field, *named, key)
        for field in settings.model_fields
        for named in ([(name,)] if field in NAMED_TABLES else [()])
        for key in _fields(settings, (field, *named))
    ]


def _is_setting(settings: type[BaseModel], keys: Keys) -> bool:
    if len(keys) == 1:
        return keys[0] in settings.model_fields
    return all(keys) and keys[-1] in _fields(settings, keys[:-1])


def _fields(settings: type[BaseModel], table: Keys) -> tuple[str, ...]:
    """Return the keys that a table may have; none if it is not a table or accepts any name."""
    model: type[BaseModel] | None = settings
    names = iter(table)
    for name in names:
        field = None if model is None else model.model_fields.get(name)
        model = None if field is None else _model(field.annotation)
        if name in NAMED_TABLES and name == table[0] and next(names, None) is None:
            return ()
    return () if model is None else tuple(model.model_fields)


def _model(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field's value, optional or by name; ``None`` if it has none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model(part))), None)
