"""Settings files: TOML gives the same settings as Python, and every fault has its line."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ugsd_privacy.budget import CAPS
from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.user_names import normal_user
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.toml_lines import key_lines

Keys = tuple[str, ...]


def is_folded_by_case_alone(name: str) -> bool:
    try:
        return normal_user(name) == name.lower()
    except UserNameRefused:
        return False


NAME = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=9
).filter(is_folded_by_case_alone)
CAP = st.one_of(st.just("none"), st.integers(0, 2**40))
CAPS_OVER = st.dictionaries(st.sampled_from(CAPS), CAP, max_size=4)
SECONDS = st.floats(0.001, 3600)


@st.composite
def valid(draw: st.DrawFn) -> dict[str, Any]:
    """Generate the values of a valid settings file."""
    values: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "user": NAME,
                "threshold": st.floats(0, 9),
                "disclosure": st.sampled_from(["summary", "block_states", "all_states"]),
                "block_tokens": st.integers(1, 64),
                "keep_profile": st.booleans(),
                "length": st.sampled_from(["short", "normal", "rich"]),
                "seed": st.integers(0, 2**32 - 1),
                "verifier": st.fixed_dictionaries(
                    {}, optional={"url": NAME, "deadline_s": SECONDS, "key": NAME}
                ),
                "noise": st.fixed_dictionaries({"sigma": st.floats(0.01, 100)}),
                "limits": CAPS_OVER,
            },
        )
    )
    names = draw(st.lists(NAME, unique_by=str.lower, max_size=3))
    presets: dict[str, Any] = {}
    for name in names:
        presets[name] = draw(CAPS_OVER)
        parents = [other for other in presets if other != name]
        if parents and draw(st.booleans()):
            presets[name]["preset"] = draw(st.sampled_from(parents))
    users = draw(st.dictionaries(NAME, CAPS_OVER, max_size=3))
    users = {name: users[name] for name in {name.lower(): name for name in users}.values()}
    for caps in users.values():
        if names and draw(st.booleans()):
            caps["preset"] = draw(st.sampled_from(names))
    return values | {k: v for k, v in {"presets": presets, "users": users}.items() if v}


@dataclass
class Written:
    """The text of a generated file, with the line of every key."""

    random: Random
    twice: Keys = ()
    """A key to repeat; ``lines`` then has its second line."""
    text: list[str] = field(default_factory=list)
    lines: dict[Keys, int] = field(default_factory=dict)

    def line(self, text: str, *keys: Keys) -> None:
        while self.random.random() < 0.2:
            self.text.append(self.random.choice(["", "# a = 1", "   # [limits]"]))
        self.text.append(text + self.random.choice(["", "", "  # why = 'x'"]))
        for key in keys:
            self.lines[key] = len(self.text)
        if self.twice in keys:
            self.twice = ()
            self.line(text, *keys)

    def toml(self, values: dict[str, Any]) -> Written:
        tables = {k: v for k, v in values.items() if isinstance(v, dict)}
        for key, value in values.items():
            if key not in tables:
                self.line(f"{self.toml_key(key)} = {self.toml_value(value)}", (key,))
        styles = ["header", "inline", "dotted"]
        style = {k: self.random.choice(styles if v else styles[:2]) for k, v in tables.items()}
        for key, table in tables.items():
            if style[key] == "dotted":
                for inner, value in table.items():
                    path = f"{self.toml_key(key)} . {self.toml_key(inner)}"
                    self.line(f"{path}={self.toml_value(value)}", *paths(value, (key, inner)))
                    self.lines.setdefault((key,), self.lines[key, inner])
            elif style[key] == "inline":
                self.line(f"{key} = {self.toml_value(table)}", *paths(table, (key,)))
        for key, table in tables.items():
            if style[key] == "header":
                self.toml_table((key,), table)
        return self

    def toml_table(self, path: Keys, table: dict[str, Any]) -> None:
        self.line(f"[{'.'.join(map(self.toml_key, path))}]", path)
        later = {}
        for key, value in table.items():
            inner = (*path, key)
            if isinstance(value, dict) and self.random.random() < 0.7:
                later[key] = value
                continue
            self.line(f"  {self.toml_key(key)} = {self.toml_value(value)}", *paths(value, inner))
        for key, value in later.items():
            self.toml_table((*path, key), value)

    def toml_key(self, key: str) -> str:
        if re.fullmatch("[A-Za-z0-9_-]+", key) and self.random.random() < 0.7:
            return key
        return f"'{key}'" if "'" not in key else json.dumps(key, ensure_ascii=False)

    def toml_value(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = (f"{self.toml_key(k)} = {self.toml_value(v)}" for k, v in value.items())
            return "{ " + ", ".join(pairs) + " }"
        return json.dumps(value, ensure_ascii=False)


def paths(value: Any, path: Keys) -> list[Keys]:
    """Return the path and those of all keys inside."""
    inner = value.items() if isinstance(value, dict) else ()
    return [path, *(found for k, v in inner for found in paths(v, (*path, k)))]


def written(values: dict[str, Any], seed: int, twice: Keys = ()) -> Written:
    return Written(Random(seed), twice).toml(values)


def read(folder: Path, text: list[str]) -> Settings:
    path = folder / "ugsd.toml"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return Settings.load(path)


over_one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


@over_one_folder
@given(values=valid(), seed=st.integers(0, 2**32))
def test_toml_and_python_give_equal_settings(
    tmp_path: Path, values: dict[str, Any], seed: int
) -> None:
    by_python = Settings(**copy.deepcopy(values))
    file = written(values, seed)
    assert read(tmp_path, file.text).model_dump() == by_python.model_dump(), file.text
    for user in values.get("users", {}):
        limits = by_python.limits_for(user)
        own = values["users"][user]
        for cap in CAPS:
            if cap in own:
                assert getattr(limits, cap) == (None if own[cap] == "none" else own[cap])


def fault_of_value(random: Random, values: dict[str, Any], path: Keys) -> Keys:
    """Replace a setting by a value that none accepts."""
    table = values
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = random.choice([[1, 2], -1, [], "\u2603 no"])
    if isinstance(table[path[-1]], str) and path[-1] in {"user", "url", "key"}:
        table[path[-1]] = 7
    return path


def fault_of_name(random: Random, values: dict[str, Any], path: Keys) -> Keys:
    """Misspell a key of a table with fixed keys."""
    table = values
    for key in path[:-1]:
        table = table[key]
    table[path[-1] + "x"] = table.pop(path[-1])
    return (*path[:-1], path[-1] + "x")


@pytest.mark.parametrize("spoil", [fault_of_value, fault_of_name])
@over_one_folder
@given(values=valid(), seed=st.integers(0, 2**32))
def test_fault_is_reported_with_line_and_key(
    tmp_path: Path,
    spoil: Callable[[Random, dict[str, Any], Keys], Keys],
    values: dict[str, Any],
    seed: int,
) -> None:
    random = Random(seed)
    free = [p for p in paths(values, ())[1:] if not (len(p) == 2 and p[0] in {"presets", "users"})]
    if not free:
        return
    path = spoil(random, values, random.choice(free))
    file = written(values, seed)
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, file.text)
    message, name = str(raised.value), tmp_path / "ugsd.toml"
    named = path[:1] + tuple(k.lower() for k in path[1:2]) + path[2:]
    assert message.startswith(f"{name}:{file.lines[path]}: key {'.'.join(named)}: "), (
        message,
        file.text,
    )


@over_one_folder
@given(values=valid(), seed=st.integers(0, 2**32))
def test_repeated_key_is_reported_with_its_line(
    tmp_path: Path, values: dict[str, Any], seed: int
) -> None:
    whole = written(values, seed)
    own_line = [k for k, n in whole.lines.items() if list(whole.lines.values()).count(n) == 1]
    leaves = [k for k in own_line if not isinstance(_at(values, k), dict)]
    if not leaves:
        return
    path = Random(seed).choice(leaves)
    file = written(values, seed, path)
    with pytest.raises(ConfigError, match="given twice: delete one") as raised:
        read(tmp_path, file.text)
    assert f".toml:{file.lines[path]}: key " in str(raised.value), file.text


@over_one_folder
@given(values=valid(), seed=st.integers(0, 2**32))
def test_broken_syntax_is_reported_with_line(
    tmp_path: Path, values: dict[str, Any], seed: int
) -> None:
    file = written(values, seed)
    at = Random(seed).randrange(len(file.text) + 1)
    file.text.insert(at, "}")
    with pytest.raises(ConfigError, match="not valid TOML: ") as raised:
        read(tmp_path, file.text)
    assert f".toml:{at + 1}: " in str(raised.value), file.text


def _at(values: dict[str, Any], path: Keys) -> Any:
    for key in path:
        values = values[key]
    return values


@over_one_folder
@given(text=st.text(st.sampled_from('ab"\'=.[]{}#,\\ \n\r\tu0"')))
def test_toml_scanner_neither_raises_nor_hangs(text: str) -> None:
    for key in key_lines(text):
        assert 1 <= key.line <= text.count("\n") + 1
