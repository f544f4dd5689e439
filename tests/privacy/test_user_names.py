"""A user has one name however it is typed, so nobody gets a second budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.output.plain_text import is_visible
from ugsd_privacy.user_names import MAX_USER_CHARACTERS, normal_user, require_normal_user

from tests.privacy.output.test_plain_text import HIDDEN


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("jose\u0301", "jos\u00e9"),
        ("STRASSE", "straße"),
        ("STRAẞE", "straße"),
        ("ａｄａ", "ada"),
        ("ADA", " ada\n"),
        ("ﬁona", "fiona"),
        ("ada\u00a0b", "ada  b"),
        ("ΑΣ", "ας"),
        ("\u212bsa", "åsa"),
        ("①", "1"),
        ("ǰ", "J\u030c"),
    ],
)
def test_variants_of_a_name_are_one_user(name: str, other: str) -> None:
    assert normal_user(name) == normal_user(other)


def test_lookalikes_of_two_scripts_stay_different() -> None:
    assert normal_user("ada") != normal_user("аda")


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_hidden_character_is_refused(character: str) -> None:
    with pytest.raises(UserNameRefused):
        normal_user(f"a{character}b")


@pytest.mark.parametrize("name", ["", " ", "\n\t", "\u00a0", "\u3000 ", "\u0301a", "a" * 65])
def test_blank_and_long_names_are_refused(name: str) -> None:
    with pytest.raises(UserNameRefused):
        normal_user(name)


def test_name_is_bounded_before_it_is_folded() -> None:
    with pytest.raises(UserNameRefused):
        normal_user("\ufdfa" * 10**6)


@given(st.text(max_size=30))
def test_normal_name_is_its_own_normal_form(name: str) -> None:
    try:
        normal = normal_user(name)
    except UserNameRefused:
        return
    assert normal_user(normal) == normal
    require_normal_user(normal)
    assert 0 < len(normal) <= MAX_USER_CHARACTERS
    assert all(map(is_visible, normal))
    if normal != name:
        with pytest.raises(UserNameRefused, match="pass it through"):
            require_normal_user(name)
