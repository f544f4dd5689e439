"""A witness's keys (C2SP tlog-cosignature with Ed25519), and the folder with its key and state."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.keys.note_keys import NamedPrivateKey, NamedPublicKey
from ugsd_privacy.tlog.witness_state import WitnessState

__all__ = ["WitnessKey", "WitnessPublicKey", "open_witness"]


class WitnessPublicKey(NamedPublicKey):
    """A witness's name and Ed25519 public key. The text form is a verifier key of type 0x04
    (tlog-cosignature, Format)."""

    __slots__ = ()

    _algorithm = b"\x04"
    _signer, _signature = "witness", "cosignature"
    _printed_by = "the public key that the witness prints"


class WitnessKey(NamedPrivateKey):
    """A witness's private key. The witness's name is derived from it."""

    __slots__ = ("_public",)

    _prefix = "ugsd-wsk1:"
    _noun = "witness's private key"
    _written_as = "the witness's private key"

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key)
        raw = key.public_key().public_bytes_raw()
        name = f"ugsd.witness/{hashlib.sha256(raw).hexdigest()[:16]}"
        self._public = WitnessPublicKey(name, raw)

    @property
    def public(self) -> WitnessPublicKey:
        """The public key, which devices and auditors store."""
        return self._public

    def __repr__(self) -> str:
        return f"<WitnessKey {self.public.name}>"


def open_witness(folder: Path, key_file: Path | None = None) -> tuple[WitnessKey, WitnessState]:
    """Return the key and the state of the witness in ``folder``; create both if there is no key.

    Raises :class:`KeyFileError` or :class:`WitnessUnavailable`, also if the state is lost and the
    key is not, or if the key is missing and the state is not new.
    """
    if folder.exists() and not folder.is_dir():
        raise KeyFileError(f"{folder} is a file: give a folder for the witness's state")
    path = folder / "witness.key" if key_file is None else key_file
    create = not path.exists()
    # The state comes first: after a crash between the two, the folder is still usable.
    state = WitnessState(folder / "witness.sqlite3", create=create).open()
    if create:
        if not state.is_new() and not path.exists():
            raise KeyFileError(
                f"no key at {path}, but {folder} holds the state of a witness: give the path of "
                "its key, or a new folder for another witness"
            )
        try:
            WitnessKey.generate().save(path)
        except KeyFileError:
            if not path.exists():  # otherwise another process has just created it
                raise
    key = WitnessKey.load(path)
    state.bind(key.public.to_text())
    return key, state
