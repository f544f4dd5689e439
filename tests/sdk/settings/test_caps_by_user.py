"""Caps of everyone, of presets and of users: which apply, and errors in their settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config import Settings, UserSettings

FILE = """
user = "Ada"
[limits]
tokens_per_day = 1000
blocks_per_day = 100
[presets.child]
preset = "guest"
tokens_per_day = 200
[presets.guest]
blocks_per_day = 10
tokens_per_day = 20
bytes_per_day = "none"
[users.ada]
preset = "Child"
epsilon_per_day = 4
[users.Ben]
tokens_per_day = 2000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ugsd.toml").write_text(FILE)
    return tmp_path / "ugsd.toml"


def test_file_and_environment_cap_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        "[limits]\nblocks_per_recording = 100\nbytes_per_recording = 9000\n"
        "[users.ada]\nepsilon_per_recording = 2.5\nbytes_per_recording = 'none'\n"
    )
    monkeypatch.setenv("UGSD_USERS__ADA__TOKENS_PER_RECORDING", "40")
    settings = Settings.load(file)
    ada, ben = settings.limits_for("ada"), settings.limits_for("ben")
    assert (ada.blocks_per_recording, ada.tokens_per_recording) == (100, 40)
    assert (ada.epsilon_per_recording, ada.bytes_per_recording) == (2.5, None)
    assert (ben.tokens_per_recording, ben.bytes_per_recording) == (None, 9000)


def test_caps_of_user_win_over_preset_and_limits(file: Path) -> None:
    settings = Settings.load(file)
    ada, ben, eve = (settings.limits_for(user) for user in ("ada", "BEN", "eve"))
    assert settings.limits_for() == ada, "the settings' own user, whatever the case"
    assert (ada.tokens_per_day, ada.blocks_per_day, ada.bytes_per_day) == (200, 10, None)
    assert (ada.epsilon_per_day, ada.bytes_per_hour) == (4, BudgetLimits().bytes_per_hour)
    assert (ben.tokens_per_day, ben.blocks_per_day) == (2000, 100)
    assert eve == settings.limits


def test_variables_and_arguments_set_user_caps(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_USERS__BEN__TOKENS_PER_DAY", "7")
    monkeypatch.setenv("UGSD_USERS__EVE__PRESET", "guest")
    monkeypatch.setenv("UGSD_PRESETS__GUEST__BLOCKS_PER_DAY", "none")
    settings = Settings.load(file, users={"BEN": {"blocks_per_day": 5}})
    ben, eve = settings.limits_for("Ben"), settings.limits_for("eve")
    assert (ben.tokens_per_day, ben.blocks_per_day) == (7, 5)
    assert (eve.tokens_per_day, eve.blocks_per_day) == (20, None)


def test_settings_round_trip_through_their_dump(file: Path) -> None:
    settings = Settings.load(file)
    again = Settings(**settings.model_dump())
    assert again.limits_for() == settings.limits_for(), "the dump contains only what was given"
    assert Settings(**dict(settings)).limits_for("ben") == settings.limits_for("ben")


def test_caps_may_be_given_in_python() -> None:
    settings = Settings(
        user="ada",
        presets={"child": UserSettings(tokens_per_day=9)},
        users={"ada": {"preset": "child"}},
    )
    assert settings.limits_for().tokens_per_day == 9


def test_users_and_presets_have_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "ugsd.toml"
    file.write_text(
        'length = "rich"\n[presets.child]\ndisclosure = "tokens"\ntokens_per_day = 9\n'
        '[users.Ada]\npreset = "child"\nlength = "short"\n[users.default]\nmin_enrolment = 0\n'
    )
    settings = Settings.load(file)
    ada, ben = settings.for_user("ADA"), settings.for_user("ben")
    assert (ada.user, ada.length, ada.disclosure) == ("ada", "short", "tokens")
    assert ada.limits_for().tokens_per_day == 9
    assert (ben.user, ben.length, ben.disclosure) == ("ben", "rich", "summary")
    assert (ben.min_enrolment, settings.for_user("default").min_enrolment) == (3, 0)


def test_users_variables_set_more_than_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_USERS__ADA__GENDER", "true")
    monkeypatch.setenv("UGSD_USERS__ADA__MIN_ENROLMENT", "5")
    monkeypatch.setenv("UGSD_USERS__ADA__NOISE__SIGMA", "0.5")
    ada = Settings.load().for_user("ada")
    assert (ada.gender, ada.min_enrolment, ada.sigma) == (True, 5, 0.5)
    assert Settings.load().sigma is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"disclosure": "tokens", "noise": {"sigma": 1}}, "users.ada.noise: with disclosure"),
        ({"length": None}, "users.ada.length"),
        ({"min_enrolment": -1}, "users.ada.min_enrolment"),
    ],
)
def test_users_settings_are_checked(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(users={"ada": given})


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "[limits]\n\nblocks_per_dya = 1",
            ":3: key limits.blocks_per_dya: no such setting: did you mean blocks_per_day?",
        ),
        ("tokens_per_day = 5", ":1: key tokens_per_day: no such setting: it belongs in [limits]"),
        (
            "[limits]\nuser = 'x'",
            ":2: key limits.user: no such setting: it belongs in no table: move it above",
        ),
        ("deadline_s = 5", "it belongs in [verifier]"),
        (
            "[presets]\ntokens_per_day = 5",
            "tokens_per_day: it belongs in a named table: [presets.NAME] tokens_per_day = 200",
        ),
        (
            "[profiles.child]\ntokens_per_day = 5",
            ":1: key profiles: no such setting: named sets of caps are presets: [presets.NAME]",
        ),
        (
            "[users.ada]\ninherits = 'child'\n[presets.child]",
            ":2: key users.ada.inherits: no such setting: the key is now `preset`: rename it",
        ),
        (
            "[users.ada]\ninherits = 'child'\n[profiles.child]",
            ":3: key profiles: no such setting: named sets of caps are presets: [presets.NAME]",
        ),
        (
            "[users.ada.limits]\nbytes_per_day = 5",
            ":1: key users.ada.limits: no such setting: caps stand directly in users.ada",
        ),
        ("[users]\nada = 5", ":2: key users.ada: ada is a table: [users.ada] tokens_per_day = 200"),
        ("users = 5", ":1: key users: users is a table: [users.NAME] tokens_per_day = 200"),
        (
            "[users.ada]\npreset = 'chld'\n[presets.child]",
            ":2: key users.ada.preset: no preset is named chld; defined presets: child",
        ),
        (
            "[users.a]\npreset = 'x'\n[presets.x]\npreset = 'y'\n[presets.y]\npreset = 'x'",
            ":4: key presets.x.preset: presets inherit in a cycle: x -> y -> x: break it",
        ),
        (
            "[presets.x]\npreset = 'x'",
            ":2: key presets.x.preset: presets inherit in a cycle: x -> x: break it",
        ),
        ("[users.ada]\n[users.ADA]", ":2: key users.ADA: given twice: delete one"),
        (
            "[limits]\ntokens_per_day = 5\ntokens_per_day = 6",
            ":3: key limits.tokens_per_day: given twice: delete one",
        ),
        ("[limits]\n[noise]\nsigma = 1\n[limits]", ":4: key limits: given twice: delete one"),
        (
            "[limits]\ntokens_per_day = true",
            ":2: key limits.tokens_per_day: must be a whole number",
        ),
        (
            "[limits]\nepsilon_per_day = true",
            ":2: key limits.epsilon_per_day: must be a number",
        ),
        (
            "[limits]\nepsilon_per_day = inf",
            ":2: key limits.epsilon_per_day: must be a finite number",
        ),
        ("\nuser = 5", ":2: key user: must be text, not 5: put it in quotes"),
        ("\nuser = ada", ":2: not valid TOML: invalid value: put text in quotes"),
        ("\nuser = 'ada", ":2: not valid TOML"),
        ("\nuser = '''ada\nb = 1\n", ":2: not valid TOML"),
        ('\nuser = """ada\nb = 1\n', ":2: not valid TOML"),
        ("[noise]\nsigma = 0", ":2: key noise.sigma: must be more than 0"),
        (
            "[noise]\nsigma = 1\nepsilon = 1",
            ":3: key noise.epsilon: give sigma or epsilon, one of the two",
        ),
        ("\n[noise]", ":2: key noise: give sigma or epsilon, one of the two"),
        (
            "disclosure = 'tokens'\n[noise]\nsigma = 1",
            ":2: key noise: with disclosure = tokens no state is sent",
        ),
        (
            "disclosure = 'all_states'\n[noise]\nepsilon = 1\n[limits]\ntokens_per_caption='none'",
            ":3: key noise.epsilon: with disclosure = all_states a caption may send any number",
        ),
    ],
)
def test_fault_in_toml_names_line_and_fix(tmp_path: Path, toml: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as raised:
        Settings.load(path)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["ugsd.json", "ugsd.yaml", "ugsd.yml", "ugsd"])
def test_only_toml_files_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("user = 'ada'")
    with pytest.raises(ConfigError, match=r"read from \.toml files"):
        Settings.load(tmp_path / name)


def test_faulty_variable_is_named_before_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UGSD_USERS__BEN__TOKENS_PER_DAY", "many")
    with pytest.raises(ConfigError, match=r"^environment variable UGSD_USERS__BEN__TOKENS_PER_DAY"):
        Settings.load(file)
    with pytest.raises(ConfigError, match=r"^setting users\.ben\.tokens_per_day: "):
        Settings.load(file, users={"Ben": {"tokens_per_day": -1}})
    with pytest.raises(ConfigError, match=r"^setting users\.ADA: given twice"):
        Settings(users={"ada": {}, "ADA": {}})


def test_two_spellings_across_sources_are_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UGSD_USERS", '{"Ben": {"tokens_per_day": 1}}')
    with pytest.raises(ConfigError, match=r"UGSD_USERS: two spellings of the same name"):
        Settings.load(file)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("UGSD_USERS__ADA__TOKENS_PER_DYA", "UGSD_USERS__ADA__TOKENS_PER_DAY"),
        ("UGSD_USER__ADA__TOKENS_PER_DAY", "UGSD_USERS__ADA__TOKENS_PER_DAY"),
        ("UGSD_USERS__TOKENS_PER_DAY", "UGSD_USERS__NAME__TOKENS_PER_DAY"),
        ("UGSD_NOISE__SIGMAS", "UGSD_NOISE__SIGMA"),
        ("UGSD_PROFILES__GUEST__BLOCKS_PER_DAY", "UGSD_PRESETS__GUEST__BLOCKS_PER_DAY"),
    ],
)
def test_mistyped_user_variable_is_refused(
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
def test_sigma_follows_from_epsilon_of_a_caption(changes: dict[str, object], releases: int) -> None:
    settings = Settings(noise={"epsilon": 8.0}, **changes)
    assert settings.sigma is not None
    spend = releases * dp.privacy_cost(sensitivity=2.0, sigma=settings.sigma, vectors=1)
    assert 7.999 < dp.epsilon_of_privacy_cost(spend, settings.limits.delta) <= 8


def test_unreachable_epsilon_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"noise\.epsilon: no supported noise reaches so small"):
        _ = Settings(noise={"epsilon": 1e-8}, limits={"delta": 1e-12}).sigma


def test_given_sigma_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().sigma is None
    monkeypatch.setenv("UGSD_NOISE__SIGMA", "1.5")
    assert Settings.load().sigma == 1.5


def test_the_example_file_gives_ben_caps() -> None:
    settings = Settings.load(Path(__file__).parents[3] / "examples" / "budgets.toml")
    assert settings.limits_for("ben").blocks_per_day == 1


@pytest.mark.parametrize("noise", [{"sigma": 1e6}, {"epsilon": 1e-9}, {"epsilon": 1e-4}])
def test_too_large_sigma_is_refused(noise: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="noise"):
        _ = Settings(noise=noise).sigma


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("UGSD_USERS__BEN__INHERITS", "UGSD_USERS__BEN__PRESET"),
        ("UGSD_PROFILES__CHILD__TOKENS_PER_DAY", "UGSD_PRESETS__CHILD__TOKENS_PER_DAY"),
    ],
)
def test_former_variable_names_its_new_name(
    former: str, now: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(former, "5")
    with pytest.raises(ConfigError, match=f"no such setting: it is now {now}: rename it"):
        Settings.load()
