"""The identity of a verifier, a root or a bare key, in captioner, settings and command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.cli import main
from ugsd_sdk.errors import ConfigError, VerifierUntrusted
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_sdk.transport.memory import MemoryTransport
from ugsd_sdk.transport.websocket import WebSocketTransport

from tests.doubles.reasons import why_of
from tests.sdk.connection.manifests import DAY, KEYS, NOT_TRUSTED, ROOT, signed

Voice = NDArray[np.float32]
New = Callable[..., Captioner]
NOW = int(time.time())


@pytest.fixture
def trusting(new_captioner: New, fake: Any, tmp_path: Path) -> New:
    """Create captioners that identify the fake verifier by its root."""
    (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60))
    known = {"verifier_key": None, "verifier_root": ROOT.public.pin.to_text()}
    return lambda **changes: new_captioner(
        **(known | {"verifier_manifest": tmp_path / "m"} | changes)
    )


def test_captions_are_verified_with_key_from_manifest(
    trusting: New, fake: Any, voice: Voice
) -> None:
    with trusting() as captioner:
        captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).unverified_reason is None
    assert fake.blocks


def test_untrusted_manifest_does_not_stop_captions(
    trusting: New, fake: Any, voice: Voice, tmp_path: Path
) -> None:
    (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60)[:-4])
    with trusting() as captioner:
        assert why_of(captioner.caption(voice, 16_000).unverified_reason) == NOT_TRUSTED
        with pytest.raises(VerifierUntrusted, match="signature does not verify: fetch"):
            captioner.wait_until_connected(5)
        caption = captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (NOT_TRUSTED, 0)
        assert fake.connections == 0, "nothing was sent, not even a hello"
        (tmp_path / "m").write_text(signed(1, fake.key.public, begins_s=NOW - 60))
        captioner.wait_until_connected(5)
        assert captioner.caption(voice, 16_000).unverified_reason is None


def test_key_is_looked_up_for_each_connection(
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


def test_bare_key_is_accepted_only_on_loopback(drafter: Any, tmp_path: Path) -> None:
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


def test_root_and_manifest_are_accepted_for_any_address(drafter: Any, tmp_path: Path) -> None:
    """The manifest is missing, so no connection is tried."""
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
    ("identity", "message"),
    [
        ({}, "key pinned for the verifier: set verifier_root"),
        ({"verifier_root": "PIN"}, "set verifier_manifest"),
        ({"verifier_manifest": "m"}, "set verifier_root"),
        ({"verifier_root": "PIN", "verifier_manifest": "m", "verifier_key": "KEY"}, "one of them"),
        ({"verifier_root": "ugsd-root1:x", "verifier_manifest": "m"}, "verifier root: not a root"),
        ({"verifier_root": "/none", "verifier_manifest": "m"}, "no root's pin at /none"),
    ],
)
def test_incomplete_identity_is_reported_on_load(
    drafter: Any, identity: dict[str, str], message: str
) -> None:
    texts = {"PIN": ROOT.public.pin.to_text(), "KEY": KEYS[0].to_text()}
    given = {name: texts.get(value, value) for name, value in identity.items()}
    captioner = Captioner(drafter, verifier="ws://127.0.0.1:1", **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        captioner.load()


def test_arguments_replace_configured_identity() -> None:
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


def test_file_and_environment_set_root_and_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text('[verifier]\nroot = "ugsd-root1:x"\nmanifest = "a"\n')
    monkeypatch.setenv("UGSD_VERIFIER__MANIFEST", "b")
    settings = Settings.load(path).verifier
    assert (settings.root, settings.manifest) == ("ugsd-root1:x", Path("b"))


def test_command_line_identifies_verifier_by_root(
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
def test_loopback_is_decided_by_address_alone(url: str, is_loopback: bool) -> None:
    assert WebSocketTransport(url).is_loopback is is_loopback
