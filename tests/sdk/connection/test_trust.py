"""Keys from a root's manifest: older, expired and unsigned manifests are refused."""

from __future__ import annotations

import pytest
from ugsd_privacy.errors import ManifestRejected
from ugsd_privacy.keys.manifest import KeyManifest, ManifestKey, sign
from ugsd_privacy.keys.root import RootKey
from ugsd_sdk.errors import VerifierUntrusted

from tests.sdk.connection.manifests import BEGIN, DAY, KEYS, ROOT, Device, signed


def test_new_manifest_changes_key_of_running_device(device: Device) -> None:
    device.manifest.write_text(signed(1, KEYS[0]))
    running = device.new_root()
    assert running.key() == KEYS[0]
    device.manifest.write_text(signed(2, KEYS[0], KEYS[1]))
    assert running.key() == KEYS[1]
    assert device.key() == KEYS[1]


def test_older_manifest_is_refused_by_later_processes(device: Device) -> None:
    old, new = signed(4, KEYS[0]), signed(5, KEYS[1])
    device.key(old)
    device.key(new)
    device.refuses("serial 4, but this device has seen 5", old)
    assert device.key(new) == KEYS[1]


def test_expired_manifest_still_raises_highest_serial(device: Device) -> None:
    """Otherwise, after a manifest expired, the one before with a stolen key would be accepted."""
    device.key(signed(1, KEYS[0], days=30))
    device.refuses("expired", signed(2, KEYS[1]), BEGIN + 10 * DAY)
    device.refuses("this device has seen 2", signed(1, KEYS[0], days=30))


def test_manifest_expires_by_the_second(device: Device) -> None:
    text = signed(1, KEYS[0])
    assert device.key(text, BEGIN + 10 * DAY - 1) == KEYS[0]
    device.refuses("expired at 2027-01-25 08:00:00 UTC", None, BEGIN + 10 * DAY)


def test_clock_set_back_revives_no_expired_manifest(device: Device) -> None:
    text = signed(1, KEYS[0])
    device.key(text, BEGIN + DAY)
    device.refuses("expired", None, BEGIN + 11 * DAY)
    for now_s in (BEGIN + DAY, BEGIN + 9 * DAY, 0.0):
        device.refuses("expired", None, now_s)
    assert device.key(signed(2, KEYS[1], begins_s=BEGIN + 10 * DAY), BEGIN + 11 * DAY) == KEYS[1]


def test_clock_set_back_revives_no_earlier_key(device: Device) -> None:
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


def test_clock_once_too_fast_keeps_next_manifest_valid(
    device: Device,
) -> None:
    device.refuses("expired", signed(1, KEYS[0]), BEGIN + 9000 * DAY)
    assert device.key(signed(2, KEYS[1], begins_s=BEGIN + 5 * DAY), BEGIN + 11 * DAY) == KEYS[1]


def test_manifest_from_the_future_is_refused_until_then(device: Device) -> None:
    device.refuses("check this clock", signed(1, KEYS[0]), BEGIN - 1)
    assert device.key(None, BEGIN) == KEYS[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a signed key manifest"),
        ("ugsd-manifest1:AAAA", "is truncated"),
        (signed(1, KEYS[0])[:-8], "does not verify"),
        (signed(1, KEYS[0], root=RootKey.generate()), "the manifest was signed by root"),
    ],
    ids=["empty", "unsigned", "cut", "another root's"],
)
def test_unsigned_manifest_is_refused_and_not_recorded(
    device: Device, text: str, message: str
) -> None:
    device.refuses(message, text)
    assert not device.home.exists()
    assert device.key(signed(1, KEYS[0])) == KEYS[0]


def test_missing_manifest_is_untrusted(device: Device) -> None:
    device.refuses("no manifest at")
    with pytest.raises(VerifierUntrusted) as refused:
        device.key()
    assert isinstance(refused.value.__cause__, ManifestRejected)
