"""The commands by which an operator creates keys, roots and manifests."""

from __future__ import annotations

import os
import re
import shlex
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.manifest import KeyManifest, verify_manifest
from ugsd_privacy.keys.root import RootKey, RootPin
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_server.cli import main
from ugsd_server.manifest_entries import ManifestEntry, next_manifest

DAY = 86_400
BEGIN = 1_800_000_000
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a temporary folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> tuple[int, str, str]:
        code = main(shlex.split(command))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


@pytest.fixture
def made(run: Run) -> Run:
    """``run`` in a folder that has a verifier's key, a root and a first manifest."""
    assert run("keygen --key-file verifier.key")[0] == 0
    assert run("root --key-file root.key")[0] == 0
    assert run("manifest --root-key root.key --out verifier.manifest verifier.key.pub")[0] == 0
    return run


def manifest_in(folder: Path) -> KeyManifest:
    pin = RootPin.load(folder / "root.key.pin")
    return verify_manifest((folder / "verifier.manifest").read_text(), pin=pin)


def test_root_is_private_printed_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("root --key-file root.key")
    key = tmp_path / "root.key"
    assert code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    pin = RootKey.load(key).public.pin
    assert out.strip() == (tmp_path / "root.key.pin").read_text().strip() == pin.to_text()
    before = key.read_bytes()
    code, _, error = run("root --key-file root.key")
    assert (code, key.read_bytes()) == (1, before)
    assert "root.key exists; choose another --key-file" in error
    key.unlink()
    assert run("root --key-file root.key")[0] == 1, "a pin is not overwritten either"


def test_manifest_is_signed_replaced_and_shown(made: Run, tmp_path: Path) -> None:
    first = manifest_in(tmp_path)
    public = VerifierKey.load(tmp_path / "verifier.key").public
    assert (first.serial, len(first.keys)) == (1, 1)
    assert abs(first.expires_s - time.time() - 90 * DAY) < 60
    assert abs(first.issued_s - time.time() + 3600) < 60, "devices' clocks may be slow"
    assert first.key_at(first.issued_s) == public
    code, out, _ = made("manifest-show verifier.manifest --root root.key.pin")
    assert code == 0
    assert out.startswith("serial 1, issued 20")
    assert re.search(rf"key {public.fingerprint}, from .* to .*, in use now\n", out)
    code, out, errors = made(
        "manifest --root-key root.key --out verifier.manifest --days 7 verifier.key.pub"
    )
    assert (code, out.split(",")[0]) == (0, "serial 2")
    assert "the root's pin: ugsd-root1:" in errors
    second = manifest_in(tmp_path)
    assert second.keys[0].not_before_s == first.keys[0].not_before_s
    assert second.keys[0].not_after_s == second.expires_s
    assert abs(second.expires_s - time.time() - 7 * DAY) < 60


def test_rotate_prints_manifest_command_with_both_keys(made: Run, tmp_path: Path) -> None:
    before = VerifierKey.load(tmp_path / "verifier.key").public
    code, out, errors = made("rotate --key-file verifier.key --overlap-days 30")
    public = VerifierPublicKey.from_text(out)
    assert (code, VerifierKey.load(tmp_path / "verifier.key").public) == (0, public)
    command = errors.splitlines()[-1].strip()
    assert command.startswith("ugsd-server manifest --root-key root.key")
    assert made(command.removeprefix("ugsd-server "))[0] == 0
    both = manifest_in(tmp_path)
    assert both.serial == 2
    assert [key.key for key in both.keys] == [before, public]
    assert both.key_at(both.issued_s) == public, "the new key, even in the same second"
    assert both.keys[0].not_after_s < both.expires_s == both.keys[1].not_after_s
    assert abs(both.keys[0].not_after_s - time.time() - 30 * DAY) < 60
    code, out, errors = made("rotate --key-file verifier.key --overlap-days 0")
    assert "the previous key is no longer accepted" in errors
    assert ".until-" not in errors.splitlines()[-1]


def test_new_keys_may_start_later(made: Run, tmp_path: Path) -> None:
    made("rotate --key-file verifier.key")
    retained = next(tmp_path.glob("*.until-*.pub")).name
    later = f"{time.gmtime().tm_year + 2}-01-02"
    command = f"--days 1000 --not-before {later} {retained} verifier.key.pub"
    assert made(f"manifest --root-key root.key --out verifier.manifest {command}")[0] == 0
    manifest = manifest_in(tmp_path)
    assert manifest.key_at(manifest.issued_s) == manifest.keys[0].key
    begins = time.gmtime(manifest.keys[1].not_before_s)
    assert (begins.tm_mon, begins.tm_mday, begins.tm_hour) == (1, 2, 0)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("root", 2, "--key-file"),
        ("rotate --key-file none.key", 1, "no key file"),
        ("rotate --key-file verifier.key --overlap-days -1", 2, "--overlap-days"),
        ("rotate --key-file root.key", 1, "not a verifier's private key"),
        ("manifest --root-key root.key --out m", 2, "KEY"),
        ("manifest --root-key none.key --out m verifier.key.pub", 1, "no key file"),
        ("manifest --root-key verifier.key --out m verifier.key.pub", 1, "not a root key"),
        (
            "manifest --root-key root.key --out m verifier.key",
            1,
            "verifier.key: this is a private key: give verifier.key.pub",
        ),
        ("manifest --root-key root.key --out m none.pub", 1, "no key file"),
        ("manifest --root-key root.key --out no/m verifier.key.pub", 1, "cannot write"),
        ("manifest --root-key root.key --out root.key.pin verifier.key.pub", 1, "not a signed"),
        ("manifest --root-key root.key --out m verifier.key.pub verifier.key.pub", 1, "twice"),
        ("manifest --root-key root.key --out m --days 0 verifier.key.pub", 2, "--days"),
        ("manifest --root-key root.key --out m --not-before soon verifier.key.pub", 2, "soon"),
        (
            "manifest-show verifier.manifest --root ugsd-root1:AAAA",
            1,
            "root's pin must have 32 bytes",
        ),
        ("manifest-show none --root root.key.pin", 1, "no manifest at none"),
        (
            "manifest --root-key root.key --out verifier.manifest --serial 1 verifier.key.pub",
            1,
            "the serial must increase: give 2 or more",
        ),
    ],
)
def test_failed_command_reports_cause_and_changes_nothing(
    made: Run, tmp_path: Path, command: str, code: int, message: str
) -> None:
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    got, _, error = made(command)
    assert (got, message in error) == (code, True), error
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_private_key_readable_by_others_is_not_used(made: Run, tmp_path: Path) -> None:
    for name in ("root.key", "verifier.key"):
        (tmp_path / name).chmod(0o644)
    for command in (
        "manifest --root-key root.key --out verifier.manifest verifier.key.pub",
        "rotate --key-file verifier.key",
    ):
        code, _, error = made(command)
        assert code == 1
        assert "chmod 600" in error
    assert manifest_in(tmp_path).serial == 1


def test_manifest_of_another_root_is_refused(made: Run, tmp_path: Path) -> None:
    assert made("root --key-file other.key")[0] == 0
    command = "manifest --root-key other.key --out verifier.manifest verifier.key.pub"
    for refused in (command, "manifest-show verifier.manifest --root other.key.pin"):
        code, _, error = made(refused)
        assert code == 1
        assert "the manifest was signed by root ugsd-root1:" in error
    assert manifest_in(tmp_path).serial == 1


def test_expired_manifest_is_reported_and_can_be_replaced(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_s = time.time() + 91 * DAY
    for command in ("manifest", "manifest_show"):
        monkeypatch.setattr(f"ugsd_server.key_commands.{command}.time", lambda: later_s)
    code, out, error = made("manifest-show verifier.manifest --root root.key.pin")
    assert (code, "in use now" in out) == (1, False)
    assert out.startswith("serial 1")
    assert "the manifest expired at" in error
    assert made("manifest --root-key root.key --out verifier.manifest verifier.key.pub")[0] == 0
    assert manifest_in(tmp_path).serial == 2
    assert made("manifest-show verifier.manifest --root root.key.pin")[0] == 0


def test_lost_manifest_is_replaced_with_given_serial(made: Run, tmp_path: Path) -> None:
    (tmp_path / "verifier.manifest").unlink()
    command = "manifest --root-key root.key --out verifier.manifest --serial 41 verifier.key.pub"
    assert made(command)[0] == 0
    assert manifest_in(tmp_path).serial == 41


def test_failed_write_leaves_manifest_unchanged(
    made: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        code, _, error = made(
            "manifest --root-key root.key --out verifier.manifest verifier.key.pub"
        )
    assert (code, "free some space" in error) == (1, True)
    assert manifest_in(tmp_path).serial == 1
    assert not list(tmp_path.glob(".*")), "no partial file remains"


def test_expired_key_is_not_listed() -> None:
    key = VerifierKey.generate().public
    for ends_s in (BEGIN - 1, BEGIN):
        with pytest.raises(KeyFileError, match=f"{key.fingerprint} has expired: leave it out"):
            next_manifest(
                [ManifestEntry(key, ends_s)],
                None,
                serial=None,
                issued_s=BEGIN,
                expires_s=BEGIN + DAY,
            )


def test_last_new_key_is_newest_in_manifest() -> None:
    old, *new = [VerifierKey.generate().public for _ in range(3)]
    first = next_manifest(
        [ManifestEntry(old)], None, serial=None, issued_s=BEGIN, expires_s=BEGIN + 9 * DAY
    )
    second = next_manifest(
        [ManifestEntry(new[0]), ManifestEntry(new[1]), ManifestEntry(old)],
        first,
        serial=None,
        issued_s=BEGIN + DAY,
        expires_s=BEGIN + 10 * DAY,
    )
    assert [key.key for key in second.keys] == [old, *new]
    assert second.key_at(BEGIN + DAY) == new[1]
