"""A verifier's key gives way to the next, over real sockets, with the server and devices running.

The operator's part is done by the commands that the README shows.
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
    """A folder with a verifier's key, the root, and the manifest that devices are given."""

    def __init__(self, folder: Path) -> None:
        self.key, self.root = folder / "verifier.key", folder / "root.key"
        self.manifest = folder / "verifier.manifest"
        assert main(["keygen", "--key-file", str(self.key)]) == 0
        assert main(["root", "--key-file", str(self.root)]) == 0

    @property
    def public(self) -> VerifierPublicKey:
        return VerifierKey.load(self.key).public

    def sign(self) -> None:
        """A manifest of every key there is, the current one last."""
        keys = sorted(self.key.parent.glob("verifier.key.until-*.pub"))
        keys.append(Path(f"{self.key}.pub"))
        command = ["manifest", "--root-key", str(self.root), "--out", str(self.manifest)]
        assert main([*command, *map(str, keys)]) == 0


class Device:
    """A captioner with a home and a copy of the manifest of its own."""

    def __init__(self, folder: Path, operator: Operator, url: str) -> None:
        self.folder = folder
        folder.mkdir()
        self.manifest = folder / "verifier.manifest"
        self.update(operator)
        self.captioner = Captioner(
            ScriptedDrafter(seed=3, vocabulary_size=400),
            verifier=url,
            verifier_root=f"{operator.root}.pin",
            verifier_manifest=self.manifest,
            home=folder / "home",
            policy=AlwaysEscalate(),
            config=PATIENT,
        )

    def update(self, operator: Operator) -> None:
        shutil.copy(operator.manifest, self.manifest)

    def dial_again(self, url: str | None = None) -> None:
        """Close the connection, if there is one, and connect anew."""
        self.captioner.close()
        if url is not None:
            self.captioner._given_verifier = url
        self.captioner.wait_until_connected(10)

    @property
    def pinned(self) -> VerifierPublicKey:
        session = self.captioner._load().link._session  # type: ignore[union-attr]
        assert session is not None
        return session.channel.pinned


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    (tmp_path / "operator").mkdir()
    operator = Operator(tmp_path / "operator")
    operator.sign()
    return operator


def test_a_key_rotates_under_running_devices_and_ends_after_its_overlap(
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
            device.dial_again()
            assert device.captioner.caption(voice, 16_000).unverified_reason is None
        assert (updated.pinned, behind.pinned) == (operator.public, first)

        while time.time() < rotation.ends_s:
            time.sleep(0.05)
        with pytest.raises(VerifierMismatch, match="does not have the pinned key"):
            behind.dial_again()
        caption = behind.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "wrong_verifier_key",
            0,
        )
        updated.dial_again()
        assert updated.captioner.caption(voice, 16_000).unverified_reason is None

        behind.update(operator)
        behind.captioner.wait_until_connected(10)  # without a restart
        assert behind.captioner.caption(voice, 16_000).unverified_reason is None
        assert behind.pinned == operator.public


def test_a_stolen_earlier_key_gets_nothing_from_a_device_that_saw_the_next_one(
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

        # Though it is still accepted by the verifier, for devices that are behind:
        with pytest.raises(VerifierMismatch):
            device.dial_again(thief.url)
        caption = device.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "wrong_verifier_key",
            0,
        )

        device.manifest.write_bytes(old_manifest)  # the thief's way back
        with pytest.raises(VerifierUntrusted, match="serial 1, but this device has seen 2"):
            device.dial_again(thief.url)
        caption = device.captioner.caption(voice, 16_000)
        assert (why_of(caption.unverified_reason), caption.usage.num_frames) == (
            "key_not_trusted",
            0,
        )

        device.update(operator)
        device.dial_again(honest.url)
        assert device.captioner.caption(voice, 16_000).unverified_reason is None


def test_a_key_that_is_dropped_at_once_opens_nothing_more(
    operator: Operator, run_server: Any, tmp_path: Path
) -> None:
    server = run_server(key=operator.key)
    device = Device(tmp_path / "device", operator, server.url)
    with device.captioner:
        device.captioner.wait_until_connected(10)
        assert main(["rotate", "--key-file", str(operator.key), "--overlap-days", "0"]) == 0
        with pytest.raises(VerifierMismatch):
            device.dial_again()
        operator.sign()
        device.update(operator)
        device.captioner.wait_until_connected(10)
        assert device.pinned == operator.public
