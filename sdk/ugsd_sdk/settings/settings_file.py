"""A settings file in TOML, with the line of each of its keys.

The standard library's parser is plain Python, and slow or recursive on crafted input. The file's
size, the number of its lines, commas and brackets, and the parts of its keys are therefore bounded
before parsing, and the size of its numbers afterwards: the worst file that is allowed takes less
than a second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ugsd_privacy.errors import KeyFileError, UserNameRefused
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.files.file_owners import (
    require_not_writable_by_others,
    require_owned_by_us,
)
from ugsd_privacy.user_names import normal_user

from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.toml_lines import MAX_KEY_PARTS, KeyLine, key_lines

__all__ = ["NAMED_TABLES", "SettingsFile", "name_given_twice", "plain_name", "with_lower_names"]

MAX_SETTINGS_BYTES = 256 * 1024
"""The size of a file with about 8,000 users that have one cap each."""
MAX_PARTS = 10_000
"""Most lines, commas and opening brackets in a file."""
_PARTS = "\n,[{"
_MAX_BITS = 64

NAMED_TABLES = ("presets", "users")
"""Tables whose keys are names, which are compared without regard to case and Unicode form."""

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_GIVEN_TWICE = re.compile("overwrite|twice|immutable|duplicate", re.I)

Keys = tuple[str, ...]


@dataclass(frozen=True)
class SettingsFile:
    """The settings of a file, and the lines on which they stand."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Keys, int]
    """The line of each key by its full path, counted from 1."""

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Read and parse the file at ``path``.

        Raises :class:`ConfigError`, which names the path and, if possible, the line.
        """
        if _is_folder(path):
            raise ConfigError(f"{path} is a folder: give the settings file (.toml) in it")
        if path.suffix.lower() != ".toml":
            raise ConfigError(
                f"{path}: settings are read from .toml files: convert this file to TOML"
            )
        try:
            data = read_regular(path, MAX_SETTINGS_BYTES, check=_require_trusted)
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except KeyFileError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read: {error.strerror}: check that the file exists, has at "
                f"most {MAX_SETTINGS_BYTES // 1024} KiB, and may be read"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot be read: save it as UTF-8") from error
        if sum(map(text.count, _PARTS)) > MAX_PARTS:
            raise ConfigError(
                f"{path}: more than {MAX_PARTS} lines, commas and brackets: give users with the "
                "same caps one preset, and give each device a file of its own users"
            )
        return _read_toml(path, text)

    def position_of(self, keys: Keys) -> str:
        """Return ``path:LINE`` of a key, or of the nearest table around it."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return f"{self.path}:{self.lines[keys[:length]]}"
        return f"{self.path}:1"


def name_given_twice(values: Mapping[str, Any]) -> Keys | None:
    """Return the key of the first preset or user whose normal name occurred before, if any."""
    for table in NAMED_TABLES:
        names = values.get(table)
        seen: set[str] = set()
        for name in names if isinstance(names, Mapping) else ():
            if plain_name(name) in seen:
                return table, str(name)
            seen.add(plain_name(name))
    return None


def plain_name(name: object) -> str:
    """Return the normal form of a name. A name without one is lowered; the settings refuse it."""
    try:
        return normal_user(str(name))
    except UserNameRefused:
        return str(name).lower()


def with_lower_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the names of presets and users in their normal form."""
    lower = {
        table: {plain_name(name): caps for name, caps in values[table].items()}
        for table in NAMED_TABLES
        if isinstance(values.get(table), Mapping)
    }
    return {**values, **lower}


def _lower(keys: Keys) -> Keys:
    is_named = len(keys) > 1 and keys[0] in NAMED_TABLES
    return (keys[0], plain_name(keys[1]), *keys[2:]) if is_named else keys


def _settings_file(path: Path, values: dict[str, Any], lines: Mapping[Keys, int]) -> SettingsFile:
    twice = name_given_twice(values)
    if twice is not None:
        _refuse_twice(path, twice, lines[twice])
    lower = {_lower(keys): line for keys, line in lines.items()}
    return SettingsFile(path, with_lower_names(values), lower)


def _refuse_twice(path: Path, keys: Keys, line: int) -> NoReturn:
    raise ConfigError(f"{path}:{line}: key {'.'.join(keys)}: given twice: delete one")


def _read_toml(path: Path, text: str) -> SettingsFile:
    import tomllib  # noqa: PLC0415  # heavy

    found = list(key_lines(text))
    for key in found:
        if len(key.path) > MAX_KEY_PARTS:
            raise ConfigError(
                f"{path}:{key.line}: a key of more than {MAX_KEY_PARTS} parts: tables of settings "
                "are at most three deep"
            )
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error)
        place = _TOML_PLACE.search(message)
        line = int(place[1]) if place and place[1] else found[-1].line if found else 1
        twice = _given_twice(found)
        if twice is not None and _GIVEN_TWICE.search(message):
            _refuse_twice(path, twice.path, twice.line)
        fault = _TOML_PLACE.sub("", message)
        if fault == "Invalid value":
            fault = "invalid value: put text in quotes"
        raise ConfigError(f"{path}:{line}: not valid TOML: {fault}") from error
    lines: dict[Keys, int] = {}
    for key in found:
        for length in range(1, len(key.path) + 1):
            lines.setdefault(key.path[:length], key.line)
    _check_numbers(values, (), SettingsFile(path, values, lines).position_of)
    return _settings_file(path, values, lines)


def _check_numbers(value: Any, keys: Keys, place: Callable[[Keys], str]) -> None:
    """Raise :class:`ConfigError` for a huge number, which not even an error message can show."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, (*keys, key), place)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, keys, place)
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ConfigError(
            f"{place(keys)}: key {'.'.join(keys)}: the number is too large: `none` lifts a cap"
        )


def _given_twice(found: list[KeyLine]) -> KeyLine | None:
    """Return the first key that is repeated although TOML forbids it."""
    ended: dict[Keys, bool] = {}
    for key in found:
        if key.path in ended and (key.ends or ended[key.path]):
            return key
        ended[key.path] = key.ends
    return None


def _require_trusted(path: Path, status: os.stat_result) -> None:
    """Raise ``KeyFileError`` if anyone except this user and root could have written the file."""
    require_owned_by_us(path, status, or_root=True)
    require_not_writable_by_others(path, status)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as for a name that is too long, which reading reports
        return False
