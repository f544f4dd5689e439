"""Converts docstrings, which contain some reStructuredText, to the Markdown of the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"::$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Turn roles into plain code, and the mark of a literal block into a colon."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite the docstrings of a package once it is loaded."""
        _rewrite(pkg)


def _rewrite(owner: griffe.Object) -> None:
    if owner.docstring is not None:
        text = _ROLE.sub(r"`\1`", owner.docstring.value)
        owner.docstring.value = _LITERAL.sub(":", text)
    for member in owner.members.values():
        if not member.is_alias:
            _rewrite(member)
