"""A settings file, TOML or YAML by its ending, with the line of each of its keys.

YAML is read as YAML 1.1 by PyYAML's safe loader, less what would let a cap be misread: a key that
is given twice, an alias, a key that is no text, and an empty value are refused.

Both parsers are plain Python, and slow or recursive on texts that nobody writes. So a file's size
and the number of its lines, commas and brackets are bounded before it is parsed, and the depth of
its keys and the size of its numbers as it is read: the worst that is allowed takes under a second.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
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
"""Of about 8,000 users with a cap each."""
MAX_PARTS = 10_000
"""Lines, commas and opening brackets."""
_PARTS = "\n,[{"
_MAX_DEPTH = 16
"""Settings are three tables deep."""
_MAX_BITS, _MAX_DIGITS = 64, 100
_SHOWN_CHARACTERS = 60

NAMED_TABLES = ("profiles", "users")
"""Tables whose keys are names that people chose; neither case nor Unicode form tells two apart."""

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_GIVEN_TWICE = re.compile("overwrite|twice|immutable|duplicate", re.I)

_ODD_NUMBER = re.compile(r"[-+]?0[0-9_box]|.*:")
"""Octal, binary, hexadecimal or of base 60, to YAML 1.1."""
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_UNTAGGED = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

Keys = tuple[str, ...]


@dataclass(frozen=True)
class SettingsFile:
    """What a file says, and where."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Keys, int]
    """Line, from 1, of each key by its full path."""

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Raises :class:`ConfigError` with path and line, unless it can be read as what it is."""
        kinds: dict[str, Callable[[Path, str], SettingsFile]] = {
            ".toml": _read_toml,
            ".yaml": _read_yaml,
            ".yml": _read_yaml,
        }
        read = kinds.get(path.suffix.lower())
        if read is None:
            raise ConfigError(f"{path}: settings are read from files named .toml, .yaml or .yml")
        try:
            data = read_regular(path, MAX_SETTINGS_BYTES, check=_require_trusted)
            text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except KeyFileError as error:
            raise ConfigError(str(error)) from error
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read: {error.strerror}: check that it is there, a file of at "
                f"most {MAX_SETTINGS_BYTES // 1024} KiB, and its permissions"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot be read: save it as UTF-8") from error
        if sum(map(text.count, _PARTS)) > MAX_PARTS:
            raise ConfigError(
                f"{path}: more than {MAX_PARTS} lines, commas and brackets: give users who share "
                "their caps one profile, and let each device read its own users alone"
            )
        return read(path, text)

    @property
    def is_yaml(self) -> bool:
        """Else it is TOML."""
        return self.path.suffix.lower() != ".toml"

    def position_of(self, keys: Keys) -> str:
        """``path:LINE`` of a key, or of the nearest table around it."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return f"{self.path}:{self.lines[keys[:length]]}"
        return f"{self.path}:1"


def name_given_twice(values: Mapping[str, Any]) -> Keys | None:
    """The key of a profile or user whose name is another's too, in its normal form."""
    for table in NAMED_TABLES:
        names = values.get(table)
        seen: set[str] = set()
        for name in names if isinstance(names, Mapping) else ():
            if plain_name(name) in seen:
                return table, str(name)
            seen.add(plain_name(name))
    return None


def plain_name(name: object) -> str:
    """The normal form of a name; one that has none is left for the settings to refuse."""
    try:
        return normal_user(str(name))
    except UserNameRefused:
        return str(name).lower()


def with_lower_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the names of profiles and users in their normal form."""
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
    found = list(key_lines(text))
    for key in found:
        if len(key.path) > MAX_KEY_PARTS:
            raise ConfigError(
                f"{path}:{key.line}: not settings: a key of more than {MAX_KEY_PARTS} parts; "
                "tables are three deep at most"
            )
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        told = str(error)
        place = _TOML_PLACE.search(told)
        line = int(place[1]) if place and place[1] else found[-1].line if found else 1
        twice = _given_twice(found)
        if twice is not None and _GIVEN_TWICE.search(told):
            _refuse_twice(path, twice.path, twice.line)
        fault = _TOML_PLACE.sub("", told)
        if fault == "Invalid value":
            fault = "no value that TOML knows: put text in quotes"
        raise ConfigError(f"{path}:{line}: not TOML: {fault}") from error
    lines: dict[Keys, int] = {}
    for key in found:
        for length in range(1, len(key.path) + 1):
            lines.setdefault(key.path[:length], key.line)
    _check_numbers(values, (), SettingsFile(path, values, lines).position_of)
    return _settings_file(path, values, lines)


def _check_numbers(value: Any, keys: Keys, place: Callable[[Keys], str]) -> None:
    """Raise :class:`ConfigError` for a number of thousands of digits, which not even a message can
    show."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(inner, (*keys, key), place)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner, keys, place)
    elif _is_too_large(value):
        _refuse_number(place(keys), keys)


def _is_too_large(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > _MAX_BITS


def _refuse_number(place: str, keys: Keys) -> NoReturn:
    raise ConfigError(f"{place}: key {'.'.join(keys)}: too large a number: `none` lifts a cap")


def _given_twice(found: list[KeyLine]) -> KeyLine | None:
    """The first key that stands again where TOML does not let it."""
    ended: dict[Keys, bool] = {}
    for key in found:
        if key.path in ended and (key.ends or ended[key.path]):
            return key
        ended[key.path] = key.ends
    return None


class _Loader(yaml.SafeLoader):
    """One that refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias is not read: write out what it stands for", problem_mark=mark
            )
        return super().compose_node(parent, index)


def _read_yaml(path: Path, text: str) -> SettingsFile:
    lines: dict[Keys, int] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        values = {} if root is None else _plain(path, loader, root, (), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}:1: not YAML: nested too deeply") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}:1: not settings: write each as KEY: VALUE")
    return _settings_file(path, values, lines)


def _plain(
    path: Path, loader: yaml.SafeLoader, node: yaml.Node, keys: Keys, lines: dict[Keys, int]
) -> Any:
    """The node as plain values; the lines of its keys are added to ``lines``."""
    line = node.start_mark.line + 1
    name = ".".join(keys)
    if len(keys) > _MAX_DEPTH:
        raise ConfigError(f"{path}:{line}: not settings: nested too deeply")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _UNTAGGED:
        raise ConfigError(f"{path}:{line}: key {name}: delete the tag {node.tag}")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, loader, item, (*keys, "[]"), {}) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            _refuse_number(f"{path}:{line}", keys)
        try:
            value = loader.construct_object(node)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            shown = node.value[:_SHOWN_CHARACTERS]
            raise ConfigError(f"{path}:{line}: key {name}: cannot be read: {shown!r}") from error
        if _is_too_large(value):
            _refuse_number(f"{path}:{line}", keys)
        if type(value) in {int, float} and _ODD_NUMBER.match(node.value):
            raise ConfigError(
                f"{path}:{line}: key {name}: {node.value} would be read as {value}: write that, or "
                "put it in quotes"
            )
        if value is None and keys:
            raise ConfigError(
                f"{path}:{lines.get(keys, line)}: key {name}: no value: give one or delete "
                "the key; `none` lifts a cap"
            )
        return value
    table: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        key = key_node.value
        if key_node.tag != "tag:yaml.org,2002:str":
            raise ConfigError(
                f"{path}:{key_line}: key {'.'.join((*keys, str(key)))}: a key is text: "
                "put it in quotes"
            )
        inner = (*keys, str(key))
        if key in table:
            _refuse_twice(path, inner, key_line)
        lines[inner] = key_line
        table[key] = _plain(path, loader, value_node, inner, lines)
    return table


def _require_trusted(path: Path, status: os.stat_result) -> None:
    """Raise ``KeyFileError`` where somebody else than this user or root could have written it."""
    require_owned_by_us(path, status, or_root=True)
    require_not_writable_by_others(path, status)
