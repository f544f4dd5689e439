"""A verifier known by its root: what the device saw of manifests counts, and captions go on."""

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
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.errors import ManifestRejected
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey, sign
from ugsd_privacy.keys.root import RootKey
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.connection.trust import TrustedRoot
from ugsd_sdk.errors import ConfigError, VerifierUntrusted
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.doubles.lock_holder import Hold
from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
DAY = 86_400
BEGIN = 1_800_000_000
ROOT = RootKey.generate()
KEYS = [VerifierKey.generate().public for _ in range(3)]
NOT_TRUSTED = "key_not_trusted"


def signed(
    serial: int,
    *keys: VerifierPublicKey,
    begins_s: int = BEGIN,
    days: int = 10,
    root: RootKey = ROOT,
) -> str:
    ends_s = begins_s + days * DAY
    listed = tuple(
        ManifestKey(public=key.raw, not_before_s=begins_s, not_after_s=ends_s) for key in keys
    )
    manifest = KeyManifest(serial=serial, issued_s=begins_s, expires_s=ends_s, keys=listed)
    return sign(manifest, root)


class Device:
    """What a device has of one root, and a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.manifest = folder / "verifier.manifest"
        self.home = folder / "home"
        self.now_s = float(BEGIN)

    @property
    def record(self) -> Path:
        (record,) = (self.home / "trust").glob("*.json")
        return record

    def started(self) -> TrustedRoot:
        """As a process begins: nothing but files is left of earlier ones."""
        return TrustedRoot(
            ROOT.public.pin, self.manifest, self.home / "trust", now_s=lambda: self.now_s
        )

    def key(self, text: str | None = None, now_s: float | None = None) -> VerifierPublicKey:
        if text is not None:
            self.manifest.write_text(text)
        if now_s is not None:
            self.now_s = now_s
        return self.started().key()

    def refuses(self, told: str, text: str | None = None, now_s: float | None = None) -> None:
        with pytest.raises(VerifierUntrusted, match=told) as refused:
            self.key(text, now_s)
        assert why_of(refused.value.reason) == NOT_TRUSTED


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_new_manifest_gives_a_running_device_another_key(device: Device) -> None:
    device.manifest.write_text(signed(1, KEYS[0]))
    running = device.started()
    assert running.key() == KEYS[0]
    device.manifest.write_text(signed(2, KEYS[0], KEYS[1]))
    assert running.key() == KEYS[1]
    assert device.key() == KEYS[1]


def test_an_older_manifest_than_one_seen_is_refused_by_every_later_process(device: Device) -> None:
    old, new = signed(4, KEYS[0]), signed(5, KEYS[1])
    device.key(old)
    device.key(new)
    device.refuses("serial 4, and 5 was seen already", old)
    assert device.key(new) == KEYS[1]


def test_a_manifest_that_is_not_used_is_seen_all_the_same(device: Device) -> None:
    """Else an expired one would let the one before it, that a thief has the key of, pass."""
    device.key(signed(1, KEYS[0], days=30))
    device.refuses("expired", signed(2, KEYS[1]), BEGIN + 10 * DAY)
    device.refuses("2 was seen already", signed(1, KEYS[0], days=30))


def test_it_expires_by_the_second(device: Device) -> None:
    text = signed(1, KEYS[0])
    assert device.key(text, BEGIN + 10 * DAY - 1) == KEYS[0]
    device.refuses("expired at 2027-01-25 08:00:00 UTC", None, BEGIN + 10 * DAY)


def test_a_clock_set_back_makes_no_expired_manifest_valid_again(device: Device) -> None:
    text = signed(1, KEYS[0])
    device.key(text, BEGIN + DAY)
    device.refuses("expired", None, BEGIN + 11 * DAY)
    for now_s in (BEGIN + DAY, BEGIN + 9 * DAY, 0.0):
        device.refuses("expired", None, now_s)
    assert device.key(signed(2, KEYS[1], begins_s=BEGIN + 10 * DAY), BEGIN + 11 * DAY) == KEYS[1]


def test_a_clock_set_back_brings_no_earlier_key_back(device: Device) -> None:
    keys = (
        ManifestKey(public=KEYS[0].raw, not_before_s=BEGIN, not_after_s=BEGIN + 10 * DAY),
        ManifestKey(public=KEYS[1].raw, not_before_s=BEGIN + DAY, not_after_s=BEGIN + 10 * DAY),
    )
    manifest = KeyManifest(serial=1, issued_s=BEGIN, expires_s=BEGIN + 10 * DAY, keys=keys)
    text = sign(manifest, ROOT)
    assert device.key(text, BEGIN) == KEYS[0]
    assert device.key(text, BEGIN + DAY) == KEYS[1]
    assert device.key(text, BEGIN) == KEYS[1]
    assert device.key(text, BEGIN - 5 * DAY) == KEYS[1]


def test_a_clock_that_was_wrong_for_a_while_does_not_expire_the_next_manifest(
    device: Device,
) -> None:
    device.refuses("expired", signed(1, KEYS[0]), BEGIN + 9000 * DAY)
    assert device.key(signed(2, KEYS[1], begins_s=BEGIN + 5 * DAY), BEGIN + 11 * DAY) == KEYS[1]


def test_a_clock_before_the_manifest_waits_for_it(device: Device) -> None:
    device.refuses("check this clock", signed(1, KEYS[0]), BEGIN - 1)
    assert device.key(None, BEGIN) == KEYS[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a signed key manifest"),
        ("ugsd-manifest1:AAAA", "lacks a signature"),
        (signed(1, KEYS[0])[:-8], "does not verify"),
        (signed(1, KEYS[0], root=RootKey.generate()), "the root that signed the manifest is"),
    ],
    ids=["empty", "unsigned", "cut", "another root's"],
)
def test_what_the_root_did_not_sign_is_refused_and_leaves_no_trace(
    device: Device, text: str, told: str
) -> None:
    device.refuses(told, text)
    assert not device.home.exists()
    assert device.key(signed(1, KEYS[0])) == KEYS[0]


def test_a_missing_manifest_is_untrusted(device: Device) -> None:
    device.refuses("no manifest at")
    with pytest.raises(VerifierUntrusted) as refused:
        device.key()
    assert isinstance(refused.value.__cause__, ManifestRejected)


def test_what_was_seen_is_its_owners_alone(device: Device) -> None:
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
def test_a_damaged_record_is_not_begun_anew_in_silence(device: Device, damage: str) -> None:
    device.key(signed(5, KEYS[0]))
    device.record.write_text(damage, encoding="latin-1")
    device.refuses("what was seen of the verifier's manifests", signed(4, KEYS[1]))
    assert device.record.read_text(encoding="latin-1") == damage
    with pytest.raises(VerifierUntrusted, match="serial 4, and 5 was seen already"):
        device.started().accept()
    device.manifest.write_text(signed(5, KEYS[1]))
    assert device.started().accept().serial == 5
    assert device.key() == KEYS[1]


LOSSES: dict[str, Callable[[Device], object]] = {
    "folder": lambda device: shutil.rmtree(device.home / "trust"),
    "record": lambda device: device.record.unlink(),
    "marks": lambda device: (device.home / "trust.anchor").unlink(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_record_is_missed(device: Device, loss: str) -> None:
    device.key(signed(5, KEYS[0]))
    LOSSES[loss](device)
    for serial in (4, 5, 6):
        device.refuses(r"was lost.*run: ugsd trust accept", signed(serial, KEYS[1]))
    assert device.started().accept().serial == 6
    assert device.key() == KEYS[1]
    device.refuses("6 was seen already", signed(5, KEYS[0]))


def test_marks_outlive_a_lost_record(device: Device) -> None:
    device.key(signed(5, KEYS[0]))
    shutil.rmtree(device.home / "trust")
    device.manifest.write_text(signed(4, KEYS[0]))
    with pytest.raises(VerifierUntrusted, match="serial 4, and 5 was seen already"):
        device.started().accept()


def test_a_record_from_a_backup_forgets_nothing(device: Device) -> None:
    device.key(signed(4, KEYS[0]))
    old = device.record.read_bytes()
    device.key(signed(5, KEYS[1]))
    device.record.write_bytes(old)
    device.refuses("serial 4, and 5 was seen already", signed(4, KEYS[0]))


def test_losing_all_is_missed_by_the_log_key(device: Device) -> None:
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


def test_damaged_marks_are_no_silence(device: Device) -> None:
    device.key(signed(5, KEYS[0]))
    for damage in ("", "{}", '{"format": "ugsd-marks/1", "marks": {"ab": [true, 1]}}'):
        (device.home / "trust.anchor").write_text(damage)
        device.refuses("is damaged", signed(5, KEYS[0]))
    assert device.started().accept().serial == 5
    assert device.key() == KEYS[0]


def test_the_command_accepts_what_it_shows(
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
    assert "repeat it with --yes" in capsys.readouterr().err
    assert main(["trust", "accept", "--yes", *options]) == 0
    assert root.key() == KEYS[0]
    assert main(["trust", "show", "--home", str(home)]) == 2
    assert "no root is pinned" in capsys.readouterr().err


def test_a_record_that_cannot_be_kept_gives_no_key(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.key(signed(1, KEYS[0]))
    before = device.record.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        device.refuses("free some space", signed(2, KEYS[1]))
    assert device.record.read_bytes() == before
    assert device.key() == KEYS[1]


def test_a_home_that_is_a_file_gives_no_key(device: Device) -> None:
    device.home.write_text("a file")
    device.refuses("cannot be kept in", signed(1, KEYS[0]))


def test_the_record_is_kept_before_the_key_is_given(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.manifest.write_text(signed(3, KEYS[0]))

    def crash(self: KeyManifest, now_s: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(KeyManifest, "key_at", crash)
        with pytest.raises(KeyboardInterrupt):
            device.key()
    device.refuses("3 was seen already", signed(2, KEYS[0]))


_SEEING = """
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
        assert "was seen already" in str(error), error
        refused += 1
print(refused)
"""


def test_processes_that_see_manifests_at_once_forget_none(device: Device, tmp_path: Path) -> None:
    paths = []
    for serial in range(1, 41):
        paths.append(tmp_path / f"{serial}.manifest")
        paths[-1].write_text(signed(serial, KEYS[serial % 3]))
    orders = [paths, paths[::-1], paths[::2] + paths[1::2]]
    command = [sys.executable, "-c", _SEEING, ROOT.public.pin.to_text(), device.home / "trust"]
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
    assert refused[1] == 39, "whoever began with the newest refused all others"
    assert json.loads(device.record.read_text()) == {"serial": 40, "latest_s": BEGIN + 2}


def test_a_held_record_gives_no_key(
    device: Device, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    monkeypatch.setattr("ugsd_sdk.connection.trust._LOCK_TIMEOUT_S", 0.2)
    device.key(signed(1, KEYS[0]))
    end = hold("file", device.record.with_suffix(".lock"))
    started_s = time.monotonic()
    device.refuses("wait until it has ended, or end it", signed(2, KEYS[1]))
    assert time.monotonic() - started_s < 1.2
    end()
    assert device.key() == KEYS[1]


def test_roots_are_seen_apart(device: Device, tmp_path: Path) -> None:
    other = RootKey.generate()
    device.key(signed(9, KEYS[0]))
    (tmp_path / "other").write_text(signed(1, KEYS[1], root=other))
    beside = TrustedRoot(
        other.public.pin, tmp_path / "other", device.home / "trust", now_s=lambda: BEGIN
    )
    assert beside.key() == KEYS[1]


# Captions

NOW = int(time.time())


@pytest.fixture
def trusting(new_captioner: New, fake: Any, tmp_path: Path) -> New:
    """A captioner that knows the fake by its root."""
    (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60))
    known = {"verifier_key": None, "verifier_root": ROOT.public.pin.to_text()}
    return lambda **changes: new_captioner(
        **(known | {"verifier_manifest": tmp_path / "m"} | changes)
    )


def test_captions_are_verified_by_whom_the_root_vouches_for(
    trusting: New, fake: Any, voice: Voice
) -> None:
    with trusting() as captioner:
        captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.blocks


def test_a_manifest_that_is_not_trusted_never_stops_captions_and_connect_says_why(
    trusting: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60)[:-4])
    with trusting() as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == NOT_TRUSTED
        with pytest.raises(VerifierUntrusted, match="signature does not verify: fetch"):
            captioner.wait_until_connected(5)
        caption = captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (NOT_TRUSTED, 0)
        assert fake.connections == 0, "nothing left, the hello neither"
        (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60))
        captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_the_key_is_looked_up_for_each_connection(
    trusting: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    transports: list[MemoryTransport] = []

    def remembered() -> MemoryTransport:
        transports.append(fake.transport())
        return transports[-1]

    with trusting(verifier=remembered) as captioner:
        captioner.wait_until_connected(5)
        fake.key = VerifierKey.generate()
        (tmp_path / "m").write_text(signed(2, fake.key.public, begins_s=NOW - 60))
        transports[0].close()
        captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.connections == 2


# Settings


def test_a_bare_key_is_taken_on_this_machine_alone(drafter: Any, tmp_path: Path) -> None:
    key = KEYS[0].to_text()
    for host in (
        "example.org",
        "192.168.1.5",
        "0.0.0.0",
        "[::2]",
        "localhost.example.org",
        "128.0.0.1",
    ):
        for scheme in ("ws", "wss"):
            captioner = Captioner(drafter, verifier=f"{scheme}://{host}:1", verifier_key=key)
            with pytest.raises(ConfigError, match=r"`ugsd-server root`.*verifier_manifest"):
                captioner.load()
    for host in ("127.0.0.1", "127.8.9.1", "[::1]", "localhost", "LOCALHOST"):
        home = tmp_path / "home"
        with Captioner(drafter, verifier=f"ws://{host}:1", verifier_key=key, home=home):
            pass


def test_a_root_and_its_manifest_are_taken_towards_any_address(
    drafter: Any, tmp_path: Path
) -> None:
    """Though not fetched: the manifest is not there, so no connection is tried."""
    with (
        Captioner(
            drafter,
            verifier="wss://captions.invalid",
            verifier_root=ROOT.public.pin.to_text(),
            verifier_manifest=tmp_path / "none",
            home=tmp_path / "home",
        ) as captioner,
        pytest.raises(VerifierUntrusted, match="no manifest at"),
    ):
        captioner.wait_until_connected(5)


@pytest.mark.parametrize(
    ("known_by", "told"),
    [
        ({}, "key pinned: give verifier_root"),
        ({"verifier_root": "PIN"}, "give verifier_manifest"),
        ({"verifier_manifest": "m"}, "give verifier_root"),
        ({"verifier_root": "PIN", "verifier_manifest": "m", "verifier_key": "KEY"}, "one of them"),
        ({"verifier_root": "ugsd-root1:x", "verifier_manifest": "m"}, "verifier root: not a root"),
        ({"verifier_root": "/none", "verifier_manifest": "m"}, "no root's pin at /none"),
    ],
)
def test_half_a_trust_is_told_on_load(drafter: Any, known_by: dict[str, str], told: str) -> None:
    texts = {"PIN": ROOT.public.pin.to_text(), "KEY": KEYS[0].to_text()}
    given = {name: texts.get(value, value) for name, value in known_by.items()}
    captioner = Captioner(drafter, verifier="ws://127.0.0.1:1", **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=told):
        captioner.load()


def test_what_is_given_replaces_what_is_set() -> None:
    by_root = VerifierSettings(url="wss://a", root="r", manifest=Path("m"))
    by_key = VerifierSettings(url="ws://a", key="k")
    assert by_root.with_identity() == by_root
    replaced = by_root.with_identity(key="k2")
    assert (replaced.url, replaced.key, replaced.root, replaced.manifest) == (
        "wss://a",
        "k2",
        None,
        None,
    )
    replaced = by_root.with_identity(manifest=Path("n"))
    assert (replaced.root, replaced.manifest) == ("r", Path("n"))
    replaced = by_key.with_identity(root="r", manifest=Path("m"))
    assert (replaced.key, replaced.root) == (None, "r")


def test_a_file_and_the_environment_set_root_and_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text('[verifier]\nroot = "ugsd-root1:x"\nmanifest = "a"\n')
    monkeypatch.setenv("UGSD_VERIFIER__MANIFEST", "b")
    settings = Settings.load(path).verifier
    assert (settings.root, settings.manifest) == ("ugsd-root1:x", Path("b"))


def test_the_command_line_knows_a_verifier_by_its_root(
    tmp_path: Path, voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", voice, 16_000)
    (tmp_path / "pin").write_text(ROOT.public.pin.to_text())
    (tmp_path / "m").write_text(signed(1, KEYS[0], begins_s=NOW - 20 * DAY))
    (tmp_path / "ugsd.toml").write_text("threshold = 0.0\nmin_enrolment = 0\n")
    options = f"--verifier wss://captions.invalid --home {tmp_path / 'home'}".split()
    options += f"--config {tmp_path / 'ugsd.toml'} --verifier-root {tmp_path / 'pin'}".split()
    clip = str(tmp_path / "a.wav")
    assert main(["caption", *options, "--verifier-manifest", str(tmp_path / "m"), clip]) == 0
    printed = capsys.readouterr()
    assert "continuing without the verifier" in printed.err
    assert "the manifest expired at" in printed.err
    assert "not fully verified: verifier key not trusted" in printed.out
    assert main(["caption", *options[:2], "--verifier-key", KEYS[0].to_text(), clip]) == 2
    assert "`ugsd-server manifest`" in capsys.readouterr().err
    assert main(["caption", "--offline", "--verifier-root", "x", clip]) == 2


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("ws://127.0.0.1:1", True),
        ("wss://127.255.255.254", True),
        ("ws://[::1]:1", True),
        ("ws://LocalHost:1", True),
        ("ws://[::ffff:8.8.8.8]:1", False),
        ("ws://127.0.0.1.example.org", False),
        ("ws://localhost.example.org", False),
        ("ws://2130706433", False),
        ("ws://10.0.0.1", False),
    ],
)
def test_loopback_is_told_by_the_address_alone(url: str, is_loopback: bool) -> None:
    assert WebSocketTransport(url).is_loopback is is_loopback
