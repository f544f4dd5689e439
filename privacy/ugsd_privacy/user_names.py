"""Normalise users' names, so that a user has one budget however the name is typed.

The normal form is Unicode's NFKC with folded case, as for identifiers (UAX #31). So composed and
decomposed ``José`` are one user, and so are ``STRASSE`` and ``straße``. Letters of different
scripts that look alike, such as Latin ``a`` and Cyrillic ``а``, stay different.
"""

from __future__ import annotations

import unicodedata

from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.output.plain_text import is_visible, plain_line

__all__ = ["MAX_USER_CHARACTERS", "normal_user", "require_normal_user"]

MAX_USER_CHARACTERS = 64
_MOST_FOLDS = 8
"""Two are enough for any single character."""
_TOO_LONG = f"the name has more than {MAX_USER_CHARACTERS} characters: shorten it"
_MOST_GIVEN = 4 * MAX_USER_CHARACTERS


def normal_user(name: str) -> str:
    """Return the normal form of a user's ``name``, of 1 to ``MAX_USER_CHARACTERS`` characters.

    Surrounding spaces are removed, and runs of spaces become one. Raises :class:`UserNameRefused`
    for a name that is blank or too long, or has an invisible character: controls, joiners,
    direction marks, and unassigned and private-use characters, and for what is not text.
    """
    if not isinstance(name, str):
        raise UserNameRefused(f"the name is no text, but {type(name).__name__}: pass it as text")
    if len(name) > _MOST_GIVEN:
        raise UserNameRefused(_TOO_LONG)
    plain = " ".join(part for part in _folded(name.strip()).strip().split(" ") if part)
    hidden = next((c for c in plain if not is_visible(c)), None)
    if hidden is not None:
        raise UserNameRefused(
            f"the name has the invisible character {ascii(hidden)[1:-1]}: remove controls, joiners "
            "and direction marks"
        )
    if not plain:
        raise UserNameRefused("the name is blank: give one")
    if unicodedata.category(plain[0]) in {"Mn", "Me", "Mc"}:
        raise UserNameRefused("the name begins with an accent or another mark: put a letter first")
    if len(plain) > MAX_USER_CHARACTERS:
        raise UserNameRefused(_TOO_LONG)
    return plain


def require_normal_user(name: str) -> None:
    """Raise :class:`UserNameRefused` unless ``name`` is in the form of :func:`normal_user`."""
    normal = normal_user(name)
    if normal != name:
        raise UserNameRefused(
            f"the user name {plain_line(name)} is not in its normal form, {plain_line(normal)}: "
            "pass it through normal_user()"
        )


def _folded(name: str) -> str:
    """Apply NFKC and case folding until the name is stable: folding can undo a composition."""
    for _ in range(_MOST_FOLDS):
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded == name:
            return name
        name = folded
    raise UserNameRefused("the name has no normal form: choose another")
