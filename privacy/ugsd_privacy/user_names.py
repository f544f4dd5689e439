"""Users' names: one form for each, so that one user has one budget however the name was typed.

The form is Unicode's NFKC with case folded, as for identifiers (UAX #31): ``José`` composed or
not, ``STRASSE`` and ``straße``, full-width letters are each one user. Letters of different
scripts that look alike, such as Latin ``a`` and Cyrillic ``а``, stay different users: who has which
budget is for whoever names them.
"""

from __future__ import annotations

import unicodedata

from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.output.plain_text import is_visible, plain_line

__all__ = ["MAX_USER_CHARACTERS", "normal_user", "require_normal_user"]

MAX_USER_CHARACTERS = 64
_MOST_FOLDS = 8
"""Two are enough for every character alone."""
_TOO_LONG = f"the name has more than {MAX_USER_CHARACTERS} characters: shorten it"
_MOST_GIVEN = 4 * MAX_USER_CHARACTERS


def normal_user(name: str) -> str:
    """The form of a user's ``name`` that budgets and records know, of 1 to ``MAX_USER_CHARACTERS``.

    Spaces around it go, and those within become single. Raises :class:`UserNameRefused` for a name
    that is blank or too long, or has a character that is not seen: controls, joiners, marks of
    direction, unassigned and private ones.
    """
    if len(name) > _MOST_GIVEN:
        raise UserNameRefused(_TOO_LONG)
    plain = " ".join(part for part in _folded(name.strip()).strip().split(" ") if part)
    hidden = next((c for c in plain if not is_visible(c)), None)
    if hidden is not None:
        raise UserNameRefused(
            f"the name has {ascii(hidden)[1:-1]}, which is not seen: leave out controls, joiners "
            "and marks of direction"
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
            f"the user {plain_line(name)} is called {plain_line(normal)} here: pass it through "
            "normal_user()"
        )


def _folded(name: str) -> str:
    """NFKC and folded case, until neither changes it: folding can undo what NFKC composed."""
    for _ in range(_MOST_FOLDS):
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded == name:
            return name
        name = folded
    raise UserNameRefused("the name has no normal form: choose another")
