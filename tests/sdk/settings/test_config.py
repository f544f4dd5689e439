"""Settings from file, environment and Python, and errors that name the place of the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings

FILE = """
user = "ada"
disclosure = "block_states"
[verifier]
url = "wss://captions.example.org"
deadline_s = 1.5
[limits]
tokens_per_day = 50
bytes_per_day = "none"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ugsd.toml").write_text(FILE)
    return tmp_path / "ugsd.toml"


def test_file_is_read(file: Path) -> None:
    settings = Settings.load(file)
    assert settings.user == "ada"
    assert settings.disclosure is Disclosure.BLOCK_STATES
    assert settings.verifier.url == "wss://captions.example.org"
    assert settings.verifier.deadline_s == 1.5
    assert settings.limits.tokens_per_day == 50
    assert settings.limits.bytes_per_day is None
    assert settings.limits.blocks_per_caption == 8


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_USER", "eve")
    monkeypatch.setenv("UGSD_VERIFIER__KEY", "ugsd-vk1:x")
    monkeypatch.setenv("UGSD_LIMITS__TOKENS_PER_DAY", "7")
    settings = Settings.load(file)
    assert settings.user == "eve"
    assert settings.verifier.key == "ugsd-vk1:x"
    assert settings.verifier.url == "wss://captions.example.org", "the rest of the file counts"
    assert settings.limits.tokens_per_day == 7


def test_python_wins_over_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_USER", "eve")
    assert Settings.load(file, user="bob").user == "bob"
    assert Settings().user == "default", "the constructor reads neither"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('usr = "x"', "key usr: no such setting"),
        ("user = 3", "key user: must be text"),
        ("[verifier]\ndeadline_s = -1", "key verifier.deadline_s: must be more than 0"),
        ("[verifier]\ndeadline_s = nan", "key verifier.deadline_s: .*finite"),
        ("[limits]\nblocks_per_week = 1", "bad.toml:2: key limits.blocks_per_week: no such"),
        ("[limits]\nblocks_per_day = -1", "key limits.blocks_per_day: must be 0 or more"),
        ('disclosure = "everything"', "key disclosure: .*'tokens', 'summary'"),
        ('verifier = "embedded"', r"verifier is a table: \[verifier\] url = "),
        ("limits = 5", r"limits is a table: \[limits\] tokens_per_day = "),
        ("home = 4", "key home: a path is text, .*not 4"),
        ("user = ", "not valid TOML"),
    ],
)
def test_fault_in_file_names_key_and_fix(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        Settings.load(path)
    assert "bad.toml" in str(raised.value)


def test_fault_in_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_VERIFIER__DEADLINE_S", "soon")
    with pytest.raises(ConfigError, match=r"variable UGSD_VERIFIER__DEADLINE_S: .*number"):
        Settings.load()


def test_variable_with_invalid_json_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_LIMITS", "{")
    with pytest.raises(ConfigError, match=r"UGSD_LIMITS: not JSON: .*UGSD_LIMITS__TOKENS_PER_DAY"):
        Settings.load()


@pytest.mark.parametrize("content", [None, b"\xff\xff"])
def test_unreadable_file_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ugsd.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        Settings.load(path)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("UGSD_LIMIT__BLOCKS_PER_DAY", "UGSD_LIMITS__BLOCKS_PER_DAY"),
        ("UGSD_LIMITS_TOKENS_PER_DAY", "UGSD_LIMITS__TOKENS_PER_DAY"),
        ("UGSD_VERIFIER__URI", "UGSD_VERIFIER__URL"),
        ("ugsd_tresholds", "UGSD_THRESHOLD"),
    ],
)
def test_mistyped_variable_error_suggests_a_name(
    variable: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0")
    with pytest.raises(ConfigError, match=f"{variable}: no such setting.*{nearest}"):
        Settings.load()
    assert Settings().user == "default", "the constructor reads no environment"


def test_server_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_SERVER_MODEL", "folder")
    assert Settings.load().user == "default"


def test_traffic_shape_is_padded_or_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().traffic_shape is TrafficShape.PADDED
    assert Settings(traffic_shape="constant").traffic_shape is TrafficShape.CONSTANT
    monkeypatch.setenv("UGSD_TRAFFIC_SHAPE", "constant")
    assert Settings.load().traffic_shape is TrafficShape.CONSTANT
    monkeypatch.setenv("UGSD_TRAFFIC_SHAPE", "round")
    with pytest.raises(ConfigError, match=r"UGSD_TRAFFIC_SHAPE.*'padded' or 'constant'"):
        Settings.load()


@pytest.mark.parametrize("user", ["Ada", "ADA", " ada "])
def test_case_does_not_distinguish_users(user: str) -> None:
    settings = Settings(user=user, users={"Ada": {"blocks_per_day": 3}})
    assert settings.user == "ada"
    assert settings.limits_for().blocks_per_day == 3
    assert settings.limits_for(user).blocks_per_day == 3


@pytest.mark.parametrize("user", ["\u202eevil", "a\u200db", "a\nb", "İ" * 40])
def test_user_name_with_hidden_characters_is_refused(user: str) -> None:
    with pytest.raises(ConfigError, match=r"the invisible character|has more than 64"):
        Settings(user=user)


def test_spellings_of_one_user_share_a_budget() -> None:
    settings = Settings(users={"Jose\u0301": {"blocks_per_day": 3}}, user="\uff2aos\u00e9")
    assert settings.limits_for().blocks_per_day == 3
    assert settings.limits_for("JOS\u00c9 ").blocks_per_day == 3
    with pytest.raises(ConfigError, match=r"given twice|same name"):
        Settings(users={"STRASSE": {}, "stra\u00dfe": {}})
    presets = {"Ma\u00dfe": {"blocks_per_day": 2}}
    inheriting = Settings(presets=presets, users={"ben": {"preset": "MASSE"}}, user="Ben")
    assert inheriting.limits_for().blocks_per_day == 2


@pytest.mark.parametrize("table", ["users", "presets"])
@pytest.mark.parametrize("name", ["a\u200bb", " ", "a\x1b[1m"])
def test_hidden_character_in_a_table_is_refused(table: str, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the invisible character|the name is blank"):
        Settings(**{table: {name: {}}})


@pytest.mark.parametrize(
    "given",
    [
        {"block_tokens": True},
        {"seed": True},
        {"min_enrolment": False},
        {"threshold": True},
        {"verifier": {"deadline_s": True}},
        {"noise": {"sigma": True}},
        {"audit": {"retention_days": False}},
        {"limits": {"tokens_per_day": True}},
        {"users": {"ada": {"tokens_per_day": True}}},
    ],
)
def test_boolean_is_not_a_number(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"not True|not False|not 'true'"):
        Settings(**given)


@pytest.mark.parametrize(
    ("table", "key"), [("VERIFIER", "VERIFIER__URL"), ("USERS", "USERS__NAME__TOKENS_PER_DAY")]
)
def test_text_for_a_table_names_its_key(
    table: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"UGSD_{table}", "embedded")
    with pytest.raises(ConfigError, match=f"not JSON: set its keys instead, such as UGSD_{key}$"):
        Settings.load()


def test_conflict_of_targets_names_no_value() -> None:
    with pytest.raises(ConfigError, match=r"set only one of threshold, .* and target_gain$"):
        Settings(threshold=0.5, target_risk=0.1)


def test_settings_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder: give the settings file"):
        Settings.load(tmp_path)
