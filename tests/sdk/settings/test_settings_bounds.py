"""Settings and model files that would cost minutes or gigabytes are refused soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ugsd_privacy.errors import LeakageNotMeasured
from ugsd_privacy.reports.leakage import Leakage
from ugsd_sdk.cli.audit.record_content import words_of
from ugsd_sdk.decoding.measured_frontier import MeasuredFrontier
from ugsd_sdk.decoding.risk_calibration import RiskCalibration, weight_hashes
from ugsd_sdk.decoding.uncertainty import RejectionPredictor
from ugsd_sdk.drafter.bundle import DrafterBundle
from ugsd_sdk.errors import ConfigError, ModelError
from ugsd_sdk.profile.profile_file import ProfileFile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE
from ugsd_sdk.settings.config import Settings
from ugsd_sdk.settings.settings_file import MAX_PARTS, MAX_SETTINGS_BYTES, SettingsFile

SIZE = MAX_SETTINGS_BYTES - 100
CPU_S = 2.0
"""The worst case takes about half a second on an idle processor."""


@contextmanager
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < CPU_S


def settings_of(folder: Path, name: str, text: str) -> Settings:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Settings.load(path)


HOSTILE = {
    "dots.toml": "a." * 50_000 + "a = 1\n",
    "dots of a table.toml": "[" + "a." * 50_000 + "a]\n",
    "dots inside.toml": "a = {" + "a." * 50_000 + "a = 1}\n",
    "keys.toml": "".join(f"a{n}=1\n" for n in range(MAX_PARTS - 1)),
    "lines.toml": "\n" * (MAX_PARTS + 1),
    "many keys.toml": "".join(f"a{n}=1\n" for n in range(200_000)),
    "nested.toml": "a = " + "[" * (MAX_PARTS - 1),
    "nested maps.toml": "a = " + "{a=" * (MAX_PARTS - 1),
    "digits.toml": "[limits]\ntokens_per_day = " + "9" * (SIZE - 100),
    "hex.toml": "[limits]\ntokens_per_day = 0x" + "F" * (SIZE - 100),
    "binary.toml": "deadline_s = [0b" + "1" * 90 + "]",
    "quotes.toml": '"""a\n' * (MAX_PARTS - 1),
    "zeros.toml": "\0" * SIZE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_settings_are_refused_soon(name: str, tmp_path: Path) -> None:
    with soon(), pytest.raises(ConfigError) as raised:
        settings_of(tmp_path, name, HOSTILE[name])
    assert str(raised.value).startswith(str(tmp_path / name))
    assert len(str(raised.value)) < 1000


def test_huge_settings_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.toml"
    path.touch()
    os.truncate(path, 3 << 30)
    with soon(), pytest.raises(ConfigError, match=r"larger than 262144 bytes.*at most 256 KiB"):
        SettingsFile.read(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_settings_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with soon(), pytest.raises(ConfigError, match=r"is not a file|is a folder"):
        SettingsFile.read(path)


def test_two_thousand_users_are_read_soon(tmp_path: Path) -> None:
    text = "".join(f"users.user{n}.tokens_per_day = {n}\n" for n in range(2000))
    with soon():
        settings = settings_of(tmp_path, "users.toml", text)
    assert settings.limits_for("user1999").tokens_per_day == 1999


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("UGSD_LIMITS", "[" * 60_000, "nested too deeply: set UGSD_LIMITS__"),
        ("UGSD_USERS", '{"a":' * 10_000, "nested too deeply"),
        ("UGSD_USERS__ADA", "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("UGSD_LIMITS", '{"tokens_per_day":' + " " * 100_000 + "1}", "longer than any setting"),
        ("UGSD_USER", "a" * 100_000, "longer than any setting"),
        ("UGSD_LIMITS__" + "A__" * 20_000 + "A", "1", "longer than any setting"),
        ("UGSD_LIMITS__TOKENS_PER_DAY", "9" * 60_000, "UGSD_LIMITS__TOKENS_PER_DAY"),
    ],
)
def test_hostile_variables_are_refused_soon(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with soon(), pytest.raises(ConfigError, match="environment variable UGSD_") as raised:
        Settings.load()
    assert message in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UGSD_" + "A__" * 20_000 + "A", "1"),
        ("UGSD_" + "LIMITZ" * 40, "1"),
        ("UGSD_X", "[" * 60_000),
    ],
)
def test_hostile_foreign_variables_are_ignored_soon(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with soon():
        assert Settings.load() == Settings()


MANY_KEYS = b"{" + b",".join(b'"%x":0' % n for n in range(300_000)) + b"}"
READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "model.json": (lambda folder: DrafterBundle(folder).description(), ModelError),
    "quality.json": (RiskCalibration.load, ConfigError),
    "frontier.json": (MeasuredFrontier.load, ConfigError),
    "leakage.json": (lambda folder: Leakage.load(folder, {}), LeakageNotMeasured),
    "gate.json": (lambda folder: RejectionPredictor.load(folder / "gate.json"), ModelError),
    "words.json": (lambda folder: words_of(folder / "words.json"), ConfigError),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "content",
    [
        MANY_KEYS,
        b'{"settings":[' + b"{}," * 900_000 + b"{}]}",
        b'{"leaks":[' + b"{}," * 900_000 + b"{}]}",
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b" " * (5 * 2**20),
        b"\xff\xfe",
        b"9" * 100_000,
        None,
    ],
    ids=["keys", "settings", "leaks", "arrays", "objects", "size", "utf-8", "digits", "pipe"],
)
def test_hostile_model_files_are_refused_soon(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    read, error = READERS[name]
    path = tmp_path / name
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with soon(), pytest.raises(error):
        read(tmp_path)


def test_huge_rejection_predictor_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "gate.json").touch()
    os.truncate(tmp_path / "gate.json", 3 << 30)
    with soon(), pytest.raises(ModelError, match="larger than"):
        weight_hashes(tmp_path)


def test_nested_vocabulary_is_a_model_error(tmp_path: Path) -> None:
    starter = DrafterBundle.of("starter").folder
    (tmp_path / "model.json").write_bytes((starter / "model.json").read_bytes())
    (tmp_path / "vocabulary.json").write_bytes(b"[" * 100_000)
    with pytest.raises(ModelError, match="SHA-256"):
        DrafterBundle(tmp_path).pieces()


def test_pipe_as_speaker_profile_does_not_block(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path, "ada", b"ears")
    os.mkfifo(file.path)
    assert file.open() is EMPTY_PROFILE
