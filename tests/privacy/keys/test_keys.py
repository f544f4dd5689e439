from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ugsd_privacy.errors import KeyFileError, LogTampered
from ugsd_privacy.keys.log import LogKey, LogPublicKey, NotePublicKey
from ugsd_privacy.keys.owner import OwnerKey, OwnerPublicKey
from ugsd_privacy.keys.root import RootKey, RootPin
from ugsd_privacy.keys.verifier import VerifierKey, VerifierPublicKey
from ugsd_privacy.keys.witness import WitnessKey, WitnessPublicKey

# The example of golang.org/x/mod/sumdb/note's documentation.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"

kinds = pytest.mark.parametrize("kind", [VerifierKey, LogKey])


@kinds
def test_saved_key_loads_as_the_same_key(
    kind: type[VerifierKey] | type[LogKey], tmp_path: Path
) -> None:
    key = kind.generate()
    key.save(tmp_path / "key")
    assert kind.load(tmp_path / "key").public.to_text() == key.public.to_text()
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@kinds
def test_key_file_is_private(kind: type[VerifierKey] | type[LogKey], tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        kind.generate().save(tmp_path / "key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@kinds
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_key_accessible_to_others_is_refused(
    kind: type[VerifierKey] | type[LogKey], mode: int, tmp_path: Path
) -> None:
    kind.generate().save(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        kind.load(tmp_path / "key")


@kinds
def test_key_file_is_never_overwritten(
    kind: type[VerifierKey] | type[LogKey], tmp_path: Path
) -> None:
    kind.generate().save(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(KeyFileError, match="exists"):
        kind.generate().save(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@kinds
@pytest.mark.parametrize("damage", ["", "x", "ugsd-vk1:", "\x00\xff", "A" * 9000, "cut", "longer"])
def test_malformed_key_file_is_refused(
    kind: type[VerifierKey] | type[LogKey], damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    kind.generate().save(path)
    text = {"cut": path.read_text().strip()[:-8], "longer": path.read_text().strip() + "AAAA"}
    path.write_text(text.get(damage, damage))
    with pytest.raises(KeyFileError):
        kind.load(path)


@kinds
def test_missing_keys_directories_and_pipes_are_reported(
    kind: type[VerifierKey] | type[LogKey], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("nothing", ".", "pipe", "a\0b"):
        with pytest.raises(KeyFileError):
            kind.load(tmp_path / name)
    for name in ("no/key", "a\0b"):
        with pytest.raises(KeyFileError, match="cannot create"):
            kind.generate().save(tmp_path / name)


def test_repr_hides_the_private_key(tmp_path: Path) -> None:
    for key in (VerifierKey.generate(), LogKey.generate()):
        key.save(tmp_path / type(key).__name__)
        secret = (tmp_path / type(key).__name__).read_text().strip().split(":")[1]
        assert secret[:12] not in repr(key)


def test_public_key_loads_from_text_and_file(tmp_path: Path) -> None:
    public = VerifierKey.generate().public
    (tmp_path / "public").write_text(public.to_text() + "\n")
    for given in (public.to_text(), f" {public.to_text()}\n", str(tmp_path / "public")):
        assert VerifierPublicKey.load(given) == public
    assert VerifierPublicKey.load(tmp_path / "public") == public
    assert len({public, VerifierPublicKey.from_text(public.to_text())}) == 1


@pytest.mark.parametrize(
    "text", ["", "ugsd-vk1:", "ugsd-vk2:AAAA", "ugsd-vk1:****", "ugsd-vk1:" + "A" * 1620]
)
def test_malformed_public_keys_are_refused(text: str) -> None:
    with pytest.raises(KeyFileError):
        VerifierPublicKey.from_text(text)


def test_public_key_has_one_text_form(verifier_key: VerifierKey) -> None:
    text = verifier_key.public.to_text()
    last = chr(ord(text[-1]) + 1)  # other stray bits, the same bytes
    for other in (
        text[:-1] + last,
        text + "=",
        text[:50] + "\n" + text[50:],
        text[:50] + "!" + text[50:],
    ):
        with pytest.raises(KeyFileError):
            VerifierPublicKey.from_text(other)


def test_fingerprints_distinguish_keys() -> None:
    prints = {VerifierKey.generate().public.fingerprint for _ in range(3)}
    assert len(prints) == 3
    assert all([len(group) for group in text.split("-")] == [5] * 5 for text in prints)


def test_go_note_keys_are_read_and_written() -> None:
    key = NotePublicKey.from_text(GO_KEY)
    assert key.origin == "PeterNeumann"
    assert key.key_id.hex() == "c74f20a3"
    assert key.to_text() == GO_KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        GO_KEY.replace("c7", "c8"),
        GO_KEY.replace("ARpc", "Arpc"),
        "a b" + GO_KEY,
        "+" + GO_KEY,
    ],
)
def test_malformed_log_keys_are_refused(text: str) -> None:
    with pytest.raises(KeyFileError):
        NotePublicKey.from_text(text)


def test_key_cannot_use_another_logs_name(log_key: LogKey) -> None:
    theirs = NotePublicKey(log_key.public.origin, LogKey.generate().public.raw).to_text()
    with pytest.raises(KeyFileError, match="is not the name of this log key"):
        LogPublicKey.from_text(theirs)
    assert LogPublicKey.from_text(log_key.public.to_text()).raw == log_key.public.raw


def test_log_key_signature_fails_for_another_key(log_key: LogKey) -> None:
    signature = log_key.sign(b"text")
    log_key.public.verify(signature, b"text")
    for key, message in ((log_key.public, b"test"), (LogKey.generate().public, b"text")):
        with pytest.raises(LogTampered):
            key.verify(signature, message)


def test_racing_creators_get_one_log_key(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: LogKey.open_or_create(path).public.to_text(), range(16)))
    assert len(set(keys)) == 1
    program = (
        "import sys; from ugsd_privacy.keys.log import LogKey;"
        "print(LogKey.open_or_create(sys.argv[1]).public.to_text())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == keys[0]


def test_damaged_log_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    path.write_text("damaged")
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        LogKey.open_or_create(path)
    assert path.read_text() == "damaged"


_LOG, _WITNESS = LogKey.generate(), WitnessKey.generate()
_VERIFIER, _OWNER, _ROOT = VerifierKey.generate(), OwnerKey.generate(), RootKey.generate()
_LOADS: dict[str, tuple[Any, Any, Any]] = {
    "log": (LogKey, LogPublicKey, _LOG),
    "witness": (WitnessKey, WitnessPublicKey, _WITNESS),
    "verifier": (VerifierKey, VerifierPublicKey, _VERIFIER),
    "owner": (OwnerKey, OwnerPublicKey, _OWNER),
    "root": (RootKey, RootPin, _ROOT),
}
_INSTEAD = {
    "log": ("what `ugsd audit key` prints", "the log.key of the home"),
    "witness": ("the public key that the witness prints", "the witness's private key"),
    "verifier": ("key.pub", "key"),
    "owner": ("owner.pub", "owner.key"),
    "root": ("key.pin", "key"),
}


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("kind", _LOADS)
@pytest.mark.parametrize("content", ["garbage", "", "\xff\xfe", "ugsd-vk1:AAAA", "A" * 9000])
def test_garbage_key_file_is_named(kind: str, half: int, content: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as raised:
        _LOADS[kind][half].load(path)
    assert str(path) in str(raised.value)
    assert re.search("give |restore it from a backup", str(raised.value))


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("kind", _LOADS)
def test_other_half_of_a_key_is_recognised(
    kind: str, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    private, public, key = _LOADS[kind]
    key.save("key")
    file = {"root": "key.pin"}.get(kind, "key.pub")
    if kind == "owner":
        key.public.save(file)
    else:
        Path(file).write_text((key.public.pin if kind == "root" else key.public).to_text() + "\n")
    Path(file).chmod(mode)
    wants_public, wants_private = _INSTEAD[kind]
    with pytest.raises(KeyFileError) as raised:
        public.load("key")
    assert str(raised.value) == f"key: this is a private key: give {wants_public}"
    with pytest.raises(KeyFileError) as raised:
        private.load(file)
    assert str(raised.value) == f"{file}: this is a public key: give {wants_private}"
