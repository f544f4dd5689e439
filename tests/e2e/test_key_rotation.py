"""A verifier's key is replaced over real sockets, with the server and devices running.

The operator's part is done by the commands in the README.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import AlwaysEscalate
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.errors import VerifierMismatch, VerifierUntrusted
from ugsd_sdk.settings.config import Settings, VerifierSettings
from ugsd_server.cli import main
from ugsd_server.keyring import expiry_of, rotate

from tests.doubles.reasons import why_of

Voice = NDArray[np.float32]
PATIENT = Settings(verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20))
OVERLAP_S = 6


class Operator:
    """A folder with a verifier's key, the root, and the manifest for devices."""

    def __init__(self, folder: Path) -> None:
        self.key, self.root = folder / "verifier.key", folder / "root.key"
        self.manifest = folder / "verifier.manifest"
        assert main(["keygen", "--key-file", str(self.key)]) == 0
        assert main(["root", "--key-file", str(self.root)]) == 0

    @property
    def public(self) -> VerifierPublicKey:
        return VerifierKey.load(self.key).public

    def sign(self) -> None:
        """Sign a manifest of every existing key, the current one last."""
        keys = sorted(self.key.parent.glob("verifier.key.until-*.pub"))
        keys.append(Path(f"{self.key}.pub"))
        command = ["manifest", "--root-key", str(self.root), "--out", str(self.manifest)]
        assert main([*command, *map(str, keys)]) == 0


class Device:
    """A captioner with its own home and its own copy of the manifest."""

    def __init__(self, folder: Path, operator: Operator, url: str) -> None:
        self.folder = folder
        folder.mkdir()
        self.manifest = folder / "verifier.manifest"
        self.update(operator)
        self.url, self.pin = url, f"{operator.root}.pin"
        self.captioner = self._new_captioner()

    def _new_captioner(self) -> Captioner:
        return Captioner(
            ScriptedDrafter(seed=3, vocabulary_size=400),
            verifier=self.url,
            verifier_root=self.pin,
            verifier_manifest=self.manifest,
            home=self.folder / "home",
            policy=AlwaysEscalate(),
            config=PATIENT,
        )

    def update(self, operator: Operator) -> None:
        shutil.copy(operator.manifest, self.manifest)

    def reconnect(self, url: str | None = None) -> None:
        """Close the connection, if there is one, and connect again."""
        self.captioner.close()
        self.url = url or self.url
        self.captioner = self._new_captioner()
        self.captioner.wait_until_connected(10)

    @property
    def pinned(self) -> VerifierPublicKey:
        session = self.captioner._pipeline().links.first._session  # type: ignore[union-attr]
        assert session is not None
        return session.channel.pinned


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    (tmp_path / "operator").mkdir()
    operator = Operator(tmp_path / "operator")
    operator.sign()
    return operator


def test_rotated_key_ends_after_its_overlap(
    operator: Operator, run_server: Any, voice: Voice, tmp_path: Path
) -> None:
    server = run_server(key=operator.key, rank=400)
    first = operator.public
    updated, behind = (
        Device(tmp_path / name, operator, server.url) for name in ("updated", "behind")
    )
    with updated.captioner, behind.captioner:
        updated.captioner.wait_until_connected(10)
        behind.captioner.wait_until_connected(10)
        assert updated.pinned == behind.pinned == first

        rotation = rotate(operator.key, overlap_s=OVERLAP_S, now_s=time.time())
        assert rotation.retained is not None
        operator.sign()
        updated.update(operator)
        for device in (updated, behind):
            caption = device.captioner.caption(voice, 16_000)
            assert caption.unverified_reason is None, "sessions that are open stay open"
            device.reconnect()
            assert device.captioner.caption(voice, 16_000).unverified_reason is None
        assert (updated.pinned, behind.pinned) == (operator.public, first)

        while time.time() < rotation.ends_s:
            time.sleep(0.05)
        with pytest.raises(VerifierMismatch, match="does not have the pinned key"):
            behind.reconnect()
        caption = behind.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "wrong_verifier_key",
            0,
        )
        updated.reconnect()
        assert updated.captioner.caption(voice, 16_000).unverified_reason is None

        behind.update(operator)
        behind.captioner.wait_until_connected(10)  # without a restart
        assert behind.captioner.caption(voice, 16_000).unverified_reason is None
        assert behind.pinned == operator.public


def test_stolen_old_key_gets_nothing_from_updated_devices(
    operator: Operator, run_server: Any, voice: Voice, tmp_path: Path
) -> None:
    stolen = VerifierKey.load(operator.key)
    old_manifest = operator.manifest.read_bytes()
    rotation = rotate(operator.key, overlap_s=3600, now_s=time.time())
    assert rotation.retained is not None
    assert expiry_of(rotation.retained) == rotation.ends_s
    operator.sign()
    thief, honest = run_server(key=stolen, rank=400), run_server(key=operator.key, rank=400)
    device = Device(tmp_path / "device", operator, honest.url)
    with device.captioner:
        device.captioner.wait_until_connected(10)

        # The verifier still accepts the key, for devices that are behind:
        with pytest.raises(VerifierMismatch):
            device.reconnect(thief.url)
        caption = device.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "wrong_verifier_key",
            0,
        )

        device.manifest.write_bytes(old_manifest)  # the thief's way back
        with pytest.raises(VerifierUntrusted, match="serial 1, but this device has seen 2"):
            device.reconnect(thief.url)
        caption = device.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "key_not_trusted",
            0,
        )

        device.update(operator)
        device.reconnect(honest.url)
        assert device.captioner.caption(voice, 16_000).unverified_reason is None


def test_key_dropped_without_overlap_opens_nothing(
    operator: Operator, run_server: Any, tmp_path: Path
) -> None:
    server = run_server(key=operator.key)
    device = Device(tmp_path / "device", operator, server.url)
    with device.captioner:
        device.captioner.wait_until_connected(10)
        assert main(["rotate", "--key-file", str(operator.key), "--overlap-days", "0"]) == 0
        with pytest.raises(VerifierMismatch):
            device.reconnect()
        operator.sign()
        device.update(operator)
        device.captioner.wait_until_connected(10)
        assert device.pinned == operator.public
