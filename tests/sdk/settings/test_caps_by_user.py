"""Caps of everyone, of profiles and of users: who is held to what, and faults in saying so."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import CapsOverride, Settings

FILE = """
user = "Ada"
[limits]
tokens_per_day = 1000
blocks_per_day = 100
[profiles.child]
inherits = "guest"
tokens_per_day = 200
[profiles.guest]
blocks_per_day = 10
tokens_per_day = 20
bytes_per_day = "none"
[users.ada]
inherits = "Child"
epsilon_per_day = 4
[users.Ben]
tokens_per_day = 2000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ugsd.toml").write_text(FILE)
    return tmp_path / "ugsd.toml"


def test_a_users_caps_stand_over_the_profiles_and_those_over_everyones(file: Path) -> None:
    settings = Settings.load(file)
    ada, ben, eve = (settings.limits_for(user) for user in ("ada", "BEN", "eve"))
    assert settings.limits_for() == ada, "the settings' own user, whatever the case"
    assert (ada.tokens_per_day, ada.blocks_per_day, ada.bytes_per_day) == (200, 10, None)
    assert (ada.epsilon_per_day, ada.bytes_per_hour) == (4, BudgetLimits().bytes_per_hour)
    assert (ben.tokens_per_day, ben.blocks_per_day) == (2000, 100)
    assert eve == settings.limits


def test_variables_and_arguments_reach_a_users_cap(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UGSD_USERS__BEN__TOKENS_PER_DAY", "7")
    monkeypatch.setenv("UGSD_USERS__EVE__INHERITS", "guest")
    monkeypatch.setenv("UGSD_PROFILES__GUEST__BLOCKS_PER_DAY", "none")
    settings = Settings.load(file, users={"BEN": {"blocks_per_day": 5}})
    ben, eve = settings.limits_for("Ben"), settings.limits_for("eve")
    assert (ben.tokens_per_day, ben.blocks_per_day) == (7, 5)
    assert (eve.tokens_per_day, eve.blocks_per_day) == (20, None)


def test_settings_survive_their_own_dump(file: Path) -> None:
    settings = Settings.load(file)
    again = Settings(**settings.model_dump())
    assert again.limits_for() == settings.limits_for(), "what was not given is not given again"
    assert Settings(**dict(settings)).limits_for("ben") == settings.limits_for("ben")


def test_caps_may_be_given_in_python() -> None:
    settings = Settings(
        user="ada",
        profiles={"child": CapsOverride(tokens_per_day=9)},
        users={"ada": {"inherits": "child"}},
    )
    assert settings.limits_for().tokens_per_day == 9


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            "[limits]\n\nblocks_per_dya = 1",
            ":3: key limits.blocks_per_dya: no such setting: did you mean blocks_per_day?",
        ),
        ("tokens_per_day = 5", ":1: key tokens_per_day: no such setting: it belongs under limits"),
        (
            "[limits]\nuser = 'x'",
            ":2: key limits.user: no such setting: it belongs to no table: put it before",
        ),
        ("deadline_s = 5", "it belongs under verifier"),
        (
            "[profiles]\ntokens_per_day = 5",
            "tokens_per_day: it belongs under a name: [profiles.NAME] tokens_per_day = 200",
        ),
        (
            "[users.ada.limits]\nbytes_per_day = 5",
            ":1: key users.ada.limits: no such setting: caps stand directly in users.ada",
        ),
        ("[users]\nada = 5", ":2: key users.ada: ada is a table: [users.ada] tokens_per_day = 200"),
        ("users = 5", ":1: key users: users is a table: [users.NAME] tokens_per_day = 200"),
        (
            "[users.ada]\ninherits = 'chld'\n[profiles.child]",
            ":2: key users.ada.inherits: no profile is named chld; those given: child",
        ),
        (
            "[users.a]\ninherits = 'x'\n[profiles.x]\ninherits = 'y'\n[profiles.y]\ninherits = 'x'",
            ":4: key profiles.x.inherits: a circle: x -> y -> x: break it",
        ),
        ("[profiles.x]\ninherits = 'x'", ":2: key profiles.x.inherits: a circle: x -> x: break it"),
        ("[users.ada]\n[users.ADA]", ":2: key users.ADA: given twice: delete one"),
        (
            "[limits]\ntokens_per_day = 5\ntokens_per_day = 6",
            ":3: key limits.tokens_per_day: given twice: delete one",
        ),
        ("[limits]\n[noise]\nsigma = 1\n[limits]", ":4: key limits: given twice: delete one"),
        (
            "[limits]\ntokens_per_day = true",
            ":2: key limits.tokens_per_day: input should be a valid integer",
        ),
        (
            "[limits]\nepsilon_per_day = true",
            ":2: key limits.epsilon_per_day: input should be a valid number",
        ),
        (
            "[limits]\nepsilon_per_day = inf",
            ":2: key limits.epsilon_per_day: input should be a finite number",
        ),
        ("\nuser = 5", ":2: key user: input should be a valid string, not 5: put it in quotes"),
        ("\nuser = ada", ":2: not TOML: no value that TOML knows: put text in quotes"),
        ("\nuser = 'ada", ":2: not TOML"),
        ("\nuser = '''ada\nb = 1\n", ":2: not TOML"),
        ('\nuser = """ada\nb = 1\n', ":2: not TOML"),
        ("[noise]\nsigma = 0", ":2: key noise.sigma: input should be greater than 0"),
        (
            "[noise]\nsigma = 1\nepsilon = 1",
            ":3: key noise.epsilon: give sigma or epsilon, one of the two",
        ),
        ("\n[noise]", ":2: key noise: give sigma or epsilon, one of the two"),
        (
            "disclosure = 'tokens'\n[noise]\nsigma = 1",
            ":2: key noise: disclosure = tokens sends no state",
        ),
        (
            "disclosure = 'all_states'\n[noise]\nepsilon = 1\n[limits]\ntokens_per_caption='none'",
            ":3: key noise.epsilon: with disclosure = all_states a caption may send any number",
        ),
    ],
)
def test_a_fault_in_toml_is_told_with_line_and_cure(tmp_path: Path, toml: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as raised:
        Settings.load(path)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("yaml", "told"),
    [
        (
            "limits:\n\n  blocks_per_dya: 1",
            ":3: key limits.blocks_per_dya: no such setting: did you mean blocks_per_day?",
        ),
        ("limits: 5", ":1: key limits: limits is a table: limits: {tokens_per_day: 2000}"),
        (
            "users:\n  ada: 5",
            ":2: key users.ada: ada is a table: users: {ada: {tokens_per_day: 200}}",
        ),
        (
            "limits:\n  tokens_per_day: 1\n  tokens_per_day: 2",
            ":3: key limits.tokens_per_day: given twice: delete one",
        ),
        (
            "limits: {tokens_per_day: 1,\n  tokens_per_day: 2}",
            ":2: key limits.tokens_per_day: given twice: delete one",
        ),
        ("users: {Ada: {}, ada: {}}", ":1: key users.ada: given twice: delete one"),
        (
            "limits:\n  tokens_per_day:",
            ":2: key limits.tokens_per_day: no value: give one or delete the key",
        ),
        ("limits:\n  tokens_per_day: ~", ":2: key limits.tokens_per_day: no value"),
        (
            "limits: &a\n  tokens_per_day: 1\nusers:\n  ada: *a",
            ":4: not YAML: an alias is not read",
        ),
        ("user: no", ":1: key user: input should be a valid string, not False: put it in quotes"),
        ("users:\n  1: {}", ":2: key users.1: a key is text: put it in quotes"),
        ("user: ada\n\tthreshold: 1", ":2: not YAML"),
        ("user: ada\n---\nuser: ben", ":2: not YAML"),
        ("- user", ":1: not settings: write each as KEY: VALUE"),
        ("limits: !!python/object:os.system {}", ":1: key limits: delete the tag"),
        ("user: 2026-13-45", ":1: key user: cannot be read"),
        (
            "limits:\n  tokens_per_day: 0200",
            ":2: key limits.tokens_per_day: 0200 would be read as 128",
        ),
        ("limits:\n  tokens_per_day: 1:30", ":2: key limits.tokens_per_day: 1:30 would be read as"),
        ("user: \x07", ":1: not YAML"),
        ("[" * 5000, ":1: not YAML: nested too deeply"),
    ],
)
def test_a_fault_in_yaml_is_told_with_line_and_cure(tmp_path: Path, yaml: str, told: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(yaml)
    with pytest.raises(ConfigError) as raised:
        Settings.load(path)
    assert f"bad.yml{told}" in str(raised.value)


def test_a_file_of_another_kind_is_told_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "ugsd.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"named \.toml, \.yaml or \.yml"):
        Settings.load(tmp_path / "ugsd.json")


def test_a_faulty_variable_is_told_where_a_file_has_the_key_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UGSD_USERS__BEN__TOKENS_PER_DAY", "many")
    with pytest.raises(ConfigError, match=r"^environment variable UGSD_USERS__BEN__TOKENS_PER_DAY"):
        Settings.load(file)
    with pytest.raises(ConfigError, match=r"^setting users\.ben\.tokens_per_day: "):
        Settings.load(file, users={"Ben": {"tokens_per_day": -1}})
    with pytest.raises(ConfigError, match=r"^setting users\.ADA: given twice"):
        Settings(users={"ada": {}, "ADA": {}})


def test_two_names_that_are_one_are_told_wherever_they_come_from(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UGSD_USERS", '{"Ben": {"tokens_per_day": 1}}')
    with pytest.raises(ConfigError, match=r"UGSD_USERS: two names are one"):
        Settings.load(file)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("UGSD_USERS__ADA__TOKENS_PER_DYA", "UGSD_USERS__ADA__TOKENS_PER_DAY"),
        ("UGSD_USER__ADA__TOKENS_PER_DAY", "UGSD_USERS__ADA__TOKENS_PER_DAY"),
        ("UGSD_USERS__TOKENS_PER_DAY", "UGSD_USERS__NAME__TOKENS_PER_DAY"),
        ("UGSD_NOISE__SIGMAS", "UGSD_NOISE__SIGMA"),
    ],
)
def test_a_mistyped_variable_of_a_user_is_told(
    variable: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0")
    with pytest.raises(ConfigError, match=f"{variable}: no such setting.*{nearest}"):
        Settings.load()


@pytest.mark.parametrize(
    ("changes", "releases"),
    [
        ({}, 1),
        ({"disclosure": "block_states", "limits": {"tokens_per_caption": 9}}, 9),
        ({"disclosure": "all_states", "users": {"default": {"tokens_per_caption": 5}}}, 5),
    ],
)
def test_noise_is_made_to_fit_an_epsilon_of_one_caption(
    changes: dict[str, object], releases: int
) -> None:
    settings = Settings(noise={"epsilon": 8.0}, **changes)
    assert settings.sigma is not None
    spend = releases * dp.privacy_cost(sensitivity=2.0, sigma=settings.sigma, vectors=1)
    assert 7.999 < dp.epsilon_of_privacy_cost(spend, settings.limits.delta) <= 8


def test_an_epsilon_that_no_noise_makes_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"noise\.epsilon: no noise makes so small a one"):
        _ = Settings(noise={"epsilon": 1e-8}, limits={"delta": 1e-12}).sigma


def test_noise_is_sigma_where_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().sigma is None
    monkeypatch.setenv("UGSD_NOISE__SIGMA", "1.5")
    assert Settings.load().sigma == 1.5


def test_the_examples_in_toml_and_yaml_are_the_same_settings() -> None:
    examples = Path(__file__).parents[3] / "examples"
    toml, yaml = (Settings.load(examples / f"budgets.{kind}") for kind in ("toml", "yaml"))
    assert toml.model_dump() == yaml.model_dump()
    assert toml.limits_for("ben").blocks_per_day == 1


@pytest.mark.parametrize("noise", [{"sigma": 1e6}, {"epsilon": 1e-9}, {"epsilon": 1e-4}])
def test_noise_that_would_leave_nothing_of_a_state_is_refused(noise: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="noise"):
        _ = Settings(noise=noise).sigma
