"""Manifests are refused unless they are exactly what the root signed, and valid now."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ugsd_privacy.errors import KeyFileError, ManifestRejected
from ugsd_privacy.keys.manifest import (
    MAX_KEYS,
    MAX_MANIFEST_BYTES,
    KeyManifest,
    ManifestKey,
    open_manifest,
    read_manifest_file,
    sign,
    verify_manifest,
)
from ugsd_privacy.keys.root import (
    ROOT_PUBLIC_BYTES,
    ROOT_SIGNATURE_BYTES,
    RootKey,
    RootPin,
)
from ugsd_privacy.keys.verifier import VerifierKey

PREFIX = "ugsd-manifest1:"
LABEL = b"ugsd key manifest\x01"
PUBLIC, SIGNED = ROOT_PUBLIC_BYTES, ROOT_PUBLIC_BYTES + ROOT_SIGNATURE_BYTES
BEGIN, END = 1_800_000_000, 1_800_086_400
KEYS = [VerifierKey.generate().public for _ in range(3)]


def manifest(**changes: Any) -> KeyManifest:
    fields: dict[str, Any] = {
        "serial": 7,
        "issued_s": BEGIN,
        "expires_s": END,
        "keys": (
            ManifestKey(public=KEYS[0].raw, not_before_s=BEGIN - 100, not_after_s=BEGIN + 600),
            ManifestKey(public=KEYS[1].raw, not_before_s=BEGIN + 300, not_after_s=END),
        ),
    }
    return KeyManifest(**(fields | changes))


@pytest.fixture(scope="module")
def root() -> RootKey:
    return RootKey.generate()


@pytest.fixture(scope="module")
def signed(root: RootKey) -> bytes:
    """Decode the bytes of the text form."""
    return raw_of(sign(manifest(), root))


def raw_of(text: str) -> bytes:
    encoded = text.removeprefix(PREFIX)
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def text_of(raw: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def resigned(data: bytes, root: RootKey) -> str:
    """Sign arbitrary bytes with the root."""
    return text_of(root.public.raw + root.sign(data, label=LABEL) + data)


def refused(text: str, root: RootKey, message: str = ".", now_s: float = BEGIN) -> None:
    with pytest.raises(ManifestRejected, match=message):
        open_manifest(text, pin=root.public.pin, now_s=now_s, least_serial=0)


def test_signed_manifest_round_trips(root: RootKey) -> None:
    text = sign(manifest(), root)
    for line in (text, f"{text}\n"):
        opened = open_manifest(line, pin=root.public.pin, now_s=BEGIN, least_serial=7)
        assert opened == manifest()


def test_flipped_byte_in_signed_manifest_is_refused(root: RootKey, signed: bytes) -> None:
    for at in range(len(signed)):
        flipped = bytearray(signed)
        flipped[at] ^= 1 << at % 8
        refused(text_of(bytes(flipped)), root)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_changed_text_is_refused(root: RootKey, data: st.DataObject) -> None:
    text = sign(manifest(), root)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters())  # signatures differ between runs, so do not draw from them
    if other != text[at]:
        refused(text[:at] + other + text[at + 1 :], root)
    cut = data.draw(st.integers(0, len(text) - 1))
    refused(text[:cut], root)


@given(text=st.one_of(st.text(), st.binary().map(text_of), st.text().map(PREFIX.__add__)))
def test_arbitrary_text_is_refused(root: RootKey, text: str) -> None:
    refused(text, root)


def test_neither_signature_is_sufficient_alone(root: RootKey, signed: bytes) -> None:
    """Replace a signature by zeros, another root's, or one over other bytes."""
    foreign = raw_of(sign(manifest(), RootKey.generate()))
    newer = raw_of(sign(manifest(serial=8), root))
    ed25519, mldsa = (PUBLIC, PUBLIC + 64), (PUBLIC + 64, SIGNED)
    for (start, end), algorithm in ((ed25519, "Ed25519"), (mldsa, "ML-DSA-65")):
        for other in (bytes(len(signed)), foreign, newer):
            forged = signed[:start] + other[start:end] + signed[end:]
            refused(text_of(forged), root, f"{algorithm} signature does not verify")
        refused(text_of(signed[:start] + signed[end:]), root)
    swapped = signed[:PUBLIC] + signed[PUBLIC + 64 : SIGNED] + signed[PUBLIC : PUBLIC + 64]
    refused(text_of(swapped + signed[SIGNED:]), root, "does not verify")
    refused(text_of(signed[SIGNED:]), root, "is truncated")
    refused(text_of(signed[:SIGNED]), root, "is truncated")


def test_root_with_one_forged_key_is_another_root(root: RootKey) -> None:
    ours, forger = (Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate()), RootKey.generate()
    honest = RootKey(*ours)
    half = RootKey(ours[0], MLDSA65PrivateKey.generate())
    other_half = RootKey(Ed25519PrivateKey.generate(), ours[1])
    for liar in (forger, half, other_half):
        refused(sign(manifest(), liar), honest, "the manifest was signed by root ugsd-root1:")
        # With our public keys, but without our signatures:
        forged = honest.public.raw + raw_of(sign(manifest(), liar))[PUBLIC:]
        refused(text_of(forged), honest, "does not verify")


def test_half_signatures_fail_for_another_root() -> None:
    """Two roots share an Ed25519 key; the signature of one must not be valid for the other."""
    shared = Ed25519PrivateKey.generate()
    one, two = (RootKey(shared, MLDSA65PrivateKey.generate()) for _ in range(2))
    first, second = raw_of(sign(manifest(), one)), raw_of(sign(manifest(), two))
    mixed = second[:PUBLIC] + first[PUBLIC : PUBLIC + 64] + second[PUBLIC + 64 :]
    refused(text_of(mixed), two, "Ed25519 signature")


def test_root_signature_for_another_purpose_is_refused(root: RootKey) -> None:
    data = manifest().to_bytes()
    for label in (b"", b"ugsd key manifest\x02", LABEL[:-1]):
        other = text_of(root.public.raw + root.sign(data, label=label) + data)
        refused(other, root, "does not verify")


def test_manifest_validity_includes_start_excludes_end(root: RootKey) -> None:
    text = sign(manifest(), root)
    for now_s in (BEGIN, BEGIN + 0.5, END - 1, END - 0.001):
        open_manifest(text, pin=root.public.pin, now_s=now_s, least_serial=0)
    refused(text, root, "expired at 2027-01-16 08:00:00 UTC: ask", now_s=END)
    refused(text, root, "expired", now_s=10**18)
    refused(text, root, "this clock says 2027-01-15 07:59:59 UTC: check", now_s=BEGIN - 1)
    refused(text, root, "check this clock", now_s=-(10**18))


@given(serial=st.integers(1, 2**53 - 1), ahead=st.integers(-3, 3))
def test_serial_older_than_seen_is_refused(serial: int, ahead: int) -> None:
    one, seen = manifest(serial=serial), serial + ahead
    if serial >= seen:
        one.check(now_s=BEGIN, least_serial=seen)
    else:
        with pytest.raises(ManifestRejected, match=f"{serial}, but this device has seen {seen}"):
            one.check(now_s=BEGIN, least_serial=seen)


def test_newest_valid_key_is_used() -> None:
    both = manifest()
    for now_s, index in ((BEGIN - 100, 0), (BEGIN + 299, 0), (BEGIN + 300, 1), (END - 1, 1)):
        assert both.key_at(now_s) == KEYS[index]
    for now_s in (BEGIN - 101, END):
        with pytest.raises(ManifestRejected, match=r"none of the manifest's keys"):
            both.key_at(now_s)
    together = manifest(keys=tuple(k.model_copy(update={"not_before_s": 5}) for k in both.keys))
    assert together.key_at(BEGIN) == KEYS[1], "the last of keys that start together"


windows = st.tuples(st.integers(0, 50), st.integers(1, 50)).map(lambda w: (w[0], w[0] + w[1]))


@settings(deadline=None)
@given(held=st.lists(windows, min_size=1, max_size=3), now_s=st.integers(0, 110))
def test_key_is_used_only_while_valid(held: list[tuple[int, int]], now_s: int) -> None:
    held.sort(key=lambda window: window[0])
    keys = tuple(
        ManifestKey(public=key.raw, not_before_s=begins, not_after_s=ends)
        for key, (begins, ends) in zip(KEYS, held, strict=False)
    )
    one = manifest(keys=keys)
    due = [key.key for key in keys if key.not_before_s <= now_s < key.not_after_s]
    if due:
        assert one.key_at(now_s) == due[-1]
    else:
        with pytest.raises(ManifestRejected):
            one.key_at(now_s)


def key_fields(**changes: Any) -> dict[str, Any]:
    return {"public": KEYS[0].raw, "not_before_s": BEGIN, "not_after_s": END} | changes


FAULTS: dict[str, dict[str, Any]] = {
    "a key twice": {"keys": [key_fields(), key_fields()]},
    "no key": {"keys": []},
    "a key short": {"keys": [key_fields(public=KEYS[0].raw[:-1])]},
    "a key that is none": {"keys": [key_fields(public=b"\xff" * 1216)]},
    "a key without an end": {"keys": [{"public": KEYS[0].raw, "not_before_s": BEGIN}]},
    "a key that ends first": {"keys": [key_fields(not_after_s=BEGIN)]},
    "a field too many": {"name": "ours"},
    "a field of a key too many": {"keys": [key_fields(name="ours")]},
    "keys out of order": {
        "keys": [key_fields(), key_fields(public=KEYS[1].raw, not_before_s=BEGIN - 1)]
    },
    "an end before the begin": {"expires_s": BEGIN},
    "no serial": {"serial": 0},
    "a serial beyond": {"serial": 2**53},
    "a serial that is text": {"serial": "7"},
    "a time that is negative": {"issued_s": -1},
    "a time beyond": {"expires_s": 2**60},
    "keys that are a map": {"keys": {}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_invalid_manifest_is_refused_though_signed(root: RootKey, fault: str) -> None:
    fields = manifest().model_dump() | {"keys": [key_fields()]}
    refused_though_signed = resigned(cbor2.dumps(fields | FAULTS[fault], canonical=True), root)
    refused(refused_though_signed, root, "the signed data is not a manifest")
    opened = open_manifest(
        resigned(cbor2.dumps(fields, canonical=True), root),
        pin=root.public.pin,
        now_s=BEGIN,
        least_serial=0,
    )
    assert opened.serial == 7, "without the mistake it is accepted"


def test_noncanonical_bytes_are_refused_though_signed(root: RootKey) -> None:
    fields = manifest().model_dump()
    data = manifest().to_bytes()
    long_serial = data.replace(b"serial\x07", b"serial\x18\x07")
    indefinite = b"\xbf" + data[1:] + b"\xff"
    twice = bytes([data[0] + 1]) + data[1:] + b"\x66serial\x07"
    tagged = b"\xd8\x23" + data
    assert len({data, long_serial, indefinite, twice}) == 4
    others = [cbor2.dumps(dict(sorted(fields.items())[::-1])), long_serial, indefinite, twice]
    refused(resigned(tagged, root), root, "CBOR tag 35")
    for other in [*others, data + b"\0", b"\x80", b"\x07", b"\xf6", b"\x9f" * 500]:
        refused(resigned(other, root), root, "the signed data is not a manifest")


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_though_signed(root: RootKey, data: bytes) -> None:
    refused(resigned(data, root), root)


def test_largest_manifest_fits_and_longer_is_refused(root: RootKey, tmp_path: Path) -> None:
    last = 253_402_300_799
    keys = tuple(
        ManifestKey(public=VerifierKey.generate().public.raw, not_before_s=0, not_after_s=last)
        for _ in range(MAX_KEYS)
    )
    largest = KeyManifest(serial=2**53 - 1, issued_s=0, expires_s=last, keys=keys)
    text = sign(largest, root)
    assert len(largest.to_bytes()) <= MAX_MANIFEST_BYTES
    (tmp_path / "manifest").write_text(text + "\n")
    read = read_manifest_file(tmp_path / "manifest")
    assert verify_manifest(read, pin=root.public.pin) == largest
    refused(resigned(bytes(MAX_MANIFEST_BYTES + 1), root), root, "the key manifest is too long")
    (tmp_path / "manifest").write_text("A" * 30_000)
    with pytest.raises(ManifestRejected, match="is not a manifest"):
        read_manifest_file(tmp_path / "manifest")


def test_missing_files_folders_and_pipes_are_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("nothing", ".", "pipe", "binary", "a\0b"):
        with pytest.raises(ManifestRejected):
            read_manifest_file(tmp_path / name)


def test_invalid_manifest_cannot_be_signed() -> None:
    many = tuple(
        ManifestKey(public=VerifierKey.generate().public.raw, not_before_s=0, not_after_s=END)
        for _ in range(MAX_KEYS + 1)
    )
    for changes in ({"serial": 0}, {"keys": many}, {"keys": many[:1] * 2}, {"expires_s": BEGIN}):
        with pytest.raises(ValidationError):
            manifest(**changes)
    manifest(keys=many[:MAX_KEYS])


class TestRootKeys:
    def test_saved_root_is_the_same_and_private(self, tmp_path: Path) -> None:
        root = RootKey.generate()
        old = os.umask(0)
        try:
            root.save(tmp_path / "root.key")
        finally:
            os.umask(old)
        assert stat.S_IMODE((tmp_path / "root.key").stat().st_mode) == 0o600
        again = RootKey.load(tmp_path / "root.key")
        assert again.public.raw == root.public.raw
        verify_manifest(sign(manifest(), again), pin=root.public.pin)
        with pytest.raises(KeyFileError, match="exists"):
            root.save(tmp_path / "root.key")

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
    def test_root_accessible_to_others_is_refused(self, mode: int, tmp_path: Path) -> None:
        RootKey.generate().save(tmp_path / "root.key")
        (tmp_path / "root.key").chmod(mode)
        with pytest.raises(KeyFileError, match="chmod 600"):
            RootKey.load(tmp_path / "root.key")

    @pytest.mark.parametrize("change", [lambda t: "", lambda t: t[:-4], lambda t: t + "AAAA"])
    def test_malformed_root_is_refused(self, change: Callable[[str], str], tmp_path: Path) -> None:
        path = tmp_path / "root.key"
        RootKey.generate().save(path)
        path.write_text(change(path.read_text().strip()))
        with pytest.raises(KeyFileError):
            RootKey.load(path)

    def test_repr_hides_the_root(self, tmp_path: Path) -> None:
        root = RootKey.generate()
        root.save(tmp_path / "root.key")
        secret = (tmp_path / "root.key").read_text().strip().split(":")[1]
        assert secret[:12] not in repr(root)
        assert root.public.pin.to_text() in repr(root)

    def test_pin_hashes_both_keys_and_loads(self, root: RootKey, tmp_path: Path) -> None:
        pin = root.public.pin
        assert pin.digest == hashlib.sha256(b"ugsd root pin\x01" + root.public.raw).digest()
        (tmp_path / "root.key.pin").write_text(pin.to_text() + "\n")
        for given_ in (pin.to_text(), f" {pin.to_text()}\n", tmp_path / "root.key.pin"):
            assert RootPin.load(given_) == pin
        assert len({pin, RootPin.load(pin.to_text())}) == 1

    @pytest.mark.parametrize("text", ["ugsd-root1:", "ugsd-root1:AAAA", "ugsd-root1:*" + "A" * 42])
    def test_malformed_pins_are_refused(self, text: str) -> None:
        with pytest.raises(KeyFileError):
            RootPin.load(text)


def test_golden_vector_round_trips() -> None:
    path = Path(__file__).parents[2] / "conformance" / "vectors" / "manifest-v1.json"
    vector = json.loads(path.read_text("utf-8"))
    read = verify_manifest(vector["signed"], pin=RootPin.load(vector["pin"]))
    fields = read.model_dump()
    fields["keys"] = [key | {"public": key["public"].hex()} for key in fields["keys"]]
    assert fields == vector["manifest"]
    assert raw_of(vector["signed"])[SIGNED:] == read.to_bytes()
