"""Speaker profiles that are set aside while another drafter is used.

A profile fits one audio encoder. With another one it is renamed to ``NAME.encoder-HASH.npz``, HASH
being that of its encoder, and it is renamed back when that encoder returns. A file that no drafter
of this release can use becomes ``NAME.unused-HASH.npz``, by the hash of its bytes. So no profile is
ever overwritten by another one.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from pathlib import Path

from ugsd_privacy.files.bounded_files import read_regular

__all__ = [
    "MAX_PROFILE_BYTES",
    "aside_path",
    "can_take_up",
    "files_aside",
    "other_encoder_message",
    "set_aside",
    "take_up",
]

MAX_PROFILE_BYTES = 1 << 20
_HASH_DIGITS = 12
_FORMER_NAME = "old-encoder"
"""What earlier releases named the one file that they kept aside."""

_logger = logging.getLogger(__name__)


def aside_path(path: Path, encoder: str) -> Path:
    """Return where the profile of ``path`` is while another encoder than ``encoder`` is used."""
    return path.with_name(f"{path.stem}.encoder-{_hash(encoder.encode())}.npz")


def files_aside(path: Path) -> list[Path]:
    """Return the files that were set aside for the profile at ``path``, sorted by name."""
    stem = glob.escape(path.stem)
    digits = "[0-9a-f]" * _HASH_DIGITS
    kinds = (f"encoder-{digits}*", f"unused-{digits}", _FORMER_NAME)
    return sorted(one for kind in kinds for one in path.parent.glob(f"{stem}.{kind}.npz"))


def set_aside(path: Path, encoder: str | None, wanted: str) -> None:
    """Rename the profile at ``path``, which ``encoder`` made, since ``wanted`` is used now, and log
    it. ``encoder`` is ``None`` if no drafter of this release can use it. Raises ``OSError``."""
    if encoder is None:
        aside = path.with_name(f"{path.stem}.unused-{_hash_of(path)}.npz")
        message = (
            "a speaker profile was written by another release, or does not fit the audio encoder "
            f"that made it: it is kept as {aside}, and a new one begins with the next clips; use "
            "the release that wrote it, or delete the file"
        )
    else:
        aside = aside_path(path, encoder)
        if os.path.lexists(aside):
            aside = aside.with_name(f"{aside.stem}-{_hash_of(path)}.npz")
        message = f"{other_encoder_message(encoder, wanted)}; meanwhile it is kept as {aside}"
    path.replace(aside)
    _logger.warning("%s", message)


def other_encoder_message(encoder: str, wanted: str) -> str:
    """Return what is said of a profile of ``encoder`` while a drafter of ``wanted`` is used."""
    return (
        f"a speaker profile was made with the audio encoder {_hash(encoder.encode())}, and this "
        f"drafter has {_hash(wanted.encode())}, so another profile is used: it is taken up again "
        "with the drafter that made it"
    )


def can_take_up(path: Path, encoder: str) -> bool:
    """Whether a profile of ``encoder`` was set aside, and nothing is in its place at ``path``."""
    return not os.path.lexists(path) and aside_path(path, encoder).is_file()


def take_up(path: Path, encoder: str) -> bool:
    """Put a profile of ``encoder`` that was set aside back to ``path``. Return whether there was
    one. Raises ``OSError``."""
    if not can_take_up(path, encoder):
        return False
    aside_path(path, encoder).rename(path)
    _logger.info("%s: the speaker profile of this drafter is taken up again", path)
    return True


def _hash_of(path: Path) -> str:
    return _hash(read_regular(path, MAX_PROFILE_BYTES))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
