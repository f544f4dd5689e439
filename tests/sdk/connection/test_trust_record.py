"""The record of earlier manifests: damage, loss, locks and concurrent processes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ugsd_privacy.keys.manifest import KeyManifest
from ugsd_privacy.keys.root import RootKey
from ugsd_sdk.cli import main
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.errors import VerifierUntrusted

from tests.doubles.lock_holder import Hold
from tests.sdk.connection.manifests import BEGIN, DAY, KEYS, ROOT, Device, signed


def test_manifest_record_is_private(device: Device) -> None:
    device.manifest.write_text(signed(1, KEYS[0]))
    old = os.umask(0)
    try:
        device.key()
    finally:
        os.umask(old)
    assert stat.S_IMODE(device.record.stat().st_mode) == 0o600
    assert stat.S_IMODE(device.record.parent.stat().st_mode) == 0o700
    assert json.loads(device.record.read_text()) == {"serial": 1, "latest_s": BEGIN}
    assert len(list(device.record.parent.iterdir())) == 2, "the record and its lock"


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}x",
        '{"serial": -1, "latest_s": 0}',
        '{"serial": "1", "latest_s": 0}',
        "\xff",
        "A" * 9000,
        "[]",
        '{"serial": 1.5, "latest_s": 0}',
        '{"serial": 1, "latest_s": 0, "more": 1}',
    ],
)
def test_damaged_record_is_refused_until_accept(device: Device, damage: str) -> None:
    device.key(signed(5, KEYS[0]))
    device.record.write_text(damage, encoding="latin-1")
    device.refuses("the record of the verifier's manifests", signed(4, KEYS[1]))
    assert device.record.read_text(encoding="latin-1") == damage
    with pytest.raises(VerifierUntrusted, match="serial 4, but this device has seen 5"):
        device.new_root().accept()
    device.manifest.write_text(signed(5, KEYS[1]))
    assert device.new_root().accept().serial == 5
    assert device.key() == KEYS[1]


LOSSES: dict[str, Callable[[Device], object]] = {
    "folder": lambda device: shutil.rmtree(device.home / "trust"),
    "record": lambda device: device.record.unlink(),
    "marks": lambda device: (device.home / "trust.anchor").unlink(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_lost_record_is_detected(device: Device, loss: str) -> None:
    device.key(signed(5, KEYS[0]))
    LOSSES[loss](device)
    for serial in (4, 5, 6):
        device.refuses(r"was lost.*run: ugsd trust accept", signed(serial, KEYS[1]))
    assert device.new_root().accept().serial == 6
    assert device.key() == KEYS[1]
    device.refuses("this device has seen 6", signed(5, KEYS[0]))


def test_marks_survive_a_lost_record(device: Device) -> None:
    device.key(signed(5, KEYS[0]))
    shutil.rmtree(device.home / "trust")
    device.manifest.write_text(signed(4, KEYS[0]))
    with pytest.raises(VerifierUntrusted, match="serial 4, but this device has seen 5"):
        device.new_root().accept()


def test_record_restored_from_backup_is_detected(device: Device) -> None:
    device.key(signed(4, KEYS[0]))
    old = device.record.read_bytes()
    device.key(signed(5, KEYS[1]))
    device.record.write_bytes(old)
    device.refuses("serial 4, but this device has seen 5", signed(4, KEYS[0]))


def test_losing_record_and_marks_is_detected(device: Device) -> None:
    device.key(signed(5, KEYS[0]))
    (device.home / "log.key").write_text("made after the marks")
    shutil.rmtree(device.home / "trust")
    (device.home / "trust.anchor").unlink()
    root = TrustedRoot(
        ROOT.public.pin,
        device.manifest,
        device.home / "trust",
        made_after=device.home / "log.key",
        now_s=lambda: device.now_s,
    )
    with pytest.raises(VerifierUntrusted, match=r"trust\.anchor was lost"):
        root.key()


def test_damaged_marks_are_refused_until_accept(device: Device) -> None:
    device.key(signed(5, KEYS[0]))
    for damage in ("", "{}", '{"format": "ugsd-marks/1", "marks": {"ab": [true, 1]}}'):
        (device.home / "trust.anchor").write_text(damage)
        device.refuses("is damaged", signed(5, KEYS[0]))
    assert device.new_root().accept().serial == 5
    assert device.key() == KEYS[0]


def test_trust_command_accepts_what_it_shows(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    begins_s = int(time.time()) - DAY
    device.manifest.write_text(signed(5, KEYS[0], begins_s=begins_s))
    home = device.home
    root = TrustedRoot(ROOT.public.pin, device.manifest, home / "trust")
    root.key()
    shutil.rmtree(home / "trust")
    options = ["--home", str(home), "--verifier-root", ROOT.public.pin.to_text()]
    options += ["--verifier-manifest", str(device.manifest)]
    assert main(["trust", "show", *options]) == 0
    assert f"digest {root.manifest().fingerprint}" in capsys.readouterr().out
    with pytest.raises(VerifierUntrusted, match="was lost"):
        root.key()
    assert main(["trust", "accept", *options]) == 2
    assert "cannot ask for confirmation here: add --yes" in capsys.readouterr().err
    assert main(["trust", "accept", "--yes", *options]) == 0
    assert root.key() == KEYS[0]
    assert main(["trust", "show", "--home", str(home)]) == 2
    error = capsys.readouterr().err
    assert "no root is pinned" in error
    assert "--verifier-root" in error


def test_unwritable_record_gives_no_key(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.key(signed(1, KEYS[0]))
    before = device.record.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        device.refuses("free some space", signed(2, KEYS[1]))
    assert device.record.read_bytes() == before
    assert device.key() == KEYS[1]


def test_home_that_is_a_file_gives_no_key(device: Device) -> None:
    device.home.write_text("a file")
    device.refuses("cannot be written", signed(1, KEYS[0]))


def test_record_is_written_before_key_is_returned(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.manifest.write_text(signed(3, KEYS[0]))

    def crash(self: KeyManifest, now_s: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(KeyManifest, "key_at", crash)
        with pytest.raises(KeyboardInterrupt):
            device.key()
    device.refuses("this device has seen 3", signed(2, KEYS[0]))


_READ_MANIFESTS = """
import sys
from pathlib import Path
from ugsd_privacy.keys.root import RootPin
from ugsd_sdk.errors import VerifierUntrusted
from ugsd_sdk.connection.trust import TrustedRoot

pin, home, now_s, *manifests = sys.argv[1:]
refused = 0
for manifest in manifests:
    root = TrustedRoot(RootPin.load(pin), Path(manifest), Path(home), now_s=lambda: float(now_s))
    try:
        root.key()
    except VerifierUntrusted as error:
        assert "this device has seen" in str(error), error
        refused += 1
print(refused)
"""


def test_concurrent_processes_lose_no_record(device: Device, tmp_path: Path) -> None:
    paths = []
    for serial in range(1, 41):
        paths.append(tmp_path / f"{serial}.manifest")
        paths[-1].write_text(signed(serial, KEYS[serial % 3]))
    orders = [paths, paths[::-1], paths[::2] + paths[1::2]]
    command = [
        sys.executable,
        "-c",
        _READ_MANIFESTS,
        ROOT.public.pin.to_text(),
        device.home / "trust",
    ]
    running = [
        subprocess.Popen(
            [*command, str(BEGIN + n), *order],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n, order in enumerate(orders)
    ]
    refused = [int(process.communicate(timeout=60)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert refused[1] == 39, "the process that started with the newest refused all others"
    assert json.loads(device.record.read_text()) == {"serial": 40, "latest_s": BEGIN + 2}


def test_locked_record_gives_no_key(
    device: Device, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr("ugsd_sdk.connection.trust._LOCK_TIMEOUT_S", 0.2)
    device.key(signed(1, KEYS[0]))
    end = hold("file", device.record.with_suffix(".lock"))
    started_s = time.monotonic()
    device.refuses("wait until it has ended, or end it", signed(2, KEYS[1]))
    assert time.monotonic() - started_s < 1.9, "less than the timeout that is replaced above"
    end()
    assert device.key() == KEYS[1]


def test_each_root_has_a_separate_record(device: Device, tmp_path: Path) -> None:
    other = RootKey.generate()
    device.key(signed(9, KEYS[0]))
    (tmp_path / "other").write_text(signed(1, KEYS[1], root=other))
    beside = TrustedRoot(
        other.public.pin, tmp_path / "other", device.home / "trust", now_s=lambda: BEGIN
    )
    assert beside.key() == KEYS[1]
