"""Which variables of the environment are ours, and homes of processes that have none."""

from __future__ import annotations

import pickle
import pwd
import sys
from pathlib import Path

import numpy as np
import pytest
import ugsd
import ugsd_lab.errors
import ugsd_privacy.errors
import ugsd_sdk.errors
import ugsd_server.errors
from ugsd_sdk import Captioner, Settings
from ugsd_sdk.errors import ConfigError, ModelError, WrongType
from ugsd_server.errors import ConfigError as ServerConfigError
from ugsd_server.settings import Settings as ServerSettings

FOREIGN = ("UGSD_DEBUG", "UGSD_SERVICE_HOST", "UGSD_PORT_8765_TCP_ADDR", "UGSD_LOG_LEVEL")


@pytest.mark.parametrize("variable", FOREIGN)
def test_variables_of_other_programs_are_ignored(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "[" * 100)
    assert Settings.load() == Settings()


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("UGSD_VERIFER__URL", "did you mean UGSD_VERIFIER__URL"),
        ("UGSD_GENDR", "did you mean UGSD_GENDER"),
        ("UGSD_LIMITS__FOO", "did you mean UGSD_LIMITS__"),
        ("UGSD_OFFLINE", "--offline"),
        ("UGSD_CONFIG", "--config"),
    ],
)
def test_variables_that_set_nothing_are_refused(
    variable: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=f"{variable}: no such setting: .*{remedy}"):
        Settings.load()


@pytest.mark.parametrize("name", ["HOME", "LENGTH", "LIMITS", "VERIFIER__MANIFEST"])
def test_empty_variables_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"UGSD_{name}", "")
    with pytest.raises(ConfigError, match=f"UGSD_{name}: (it is empty|not JSON)"):
        Settings.load()


def test_only_loading_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_LENGTH", "short")
    loaded = Settings.load()
    assert loaded.length == "short"
    assert Settings().length == Captioner()._settings().length == "normal"
    assert Captioner(config=loaded)._settings() == loaded
    assert pickle.loads(pickle.dumps(loaded)) == loaded


def test_server_settings_follow_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UGSD_SERVER_PORT", "1")
    monkeypatch.setenv("UGSD_SERVER_SERVICE_HOST", "10.0.0.1")
    key = Path("key")
    assert ServerSettings(key_file=key).port == 8765
    assert ServerSettings.load(key_file=key).port == 1
    monkeypatch.setenv("UGSD_SEVER_MODEL", "folder")
    with pytest.raises(ServerConfigError, match="did you mean UGSD_SERVER_MODEL"):
        ServerSettings.load(key_file=key)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id without an entry, as in many containers."""

    def no_entry(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


@pytest.mark.usefixtures("homeless")
def test_homeless_process_captions_offline() -> None:
    with Captioner() as captioner:
        assert str(captioner.caption(np.zeros(16_000), 16_000)) == "No speech."
    with pytest.raises(ConfigError, match=r"set HOME, or set home \(UGSD_HOME\)"):
        Captioner(verifier="embedded").load()


def test_frozen_app_starts_no_embedded_verifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConfigError, match="run ugsd-server"):
        Captioner(verifier="embedded", home=tmp_path).load()


def test_wrong_choices_name_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'stater': give starter or free"):
        Captioner("stater").load()
    with pytest.raises(ConfigError, match="'embeded': give embedded"):
        Captioner(verifier="embeded", home=tmp_path).load()
    with pytest.raises(ConfigError, match="must be 'rich', 'short' or 'normal'"):
        Settings(length="rihc")
    with pytest.raises(WrongType, match="not int"):
        Captioner(3).load()  # type: ignore[arg-type]


@pytest.mark.parametrize("module", [ugsd_lab, ugsd_privacy, ugsd_sdk, ugsd_server])
def test_one_base_catches_every_error(module: object) -> None:
    errors = module.errors  # type: ignore[attr-defined]
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), ugsd.UgsdError)
