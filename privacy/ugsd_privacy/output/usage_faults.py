"""Plain English for the faults that pydantic and click find in an option or a setting."""

from __future__ import annotations

import re
from collections.abc import Callable

from ugsd_privacy.output.near_names import choices

__all__ = ["plain_fault"]

_WORDS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"Input should be a valid integer\b.*", "must be a whole number"),
    (r"('[^']*') is not a valid integer(?: range)?\.", r"must be a whole number, not \1"),
    (r"Input should be a valid number\b.*", "must be a number"),
    (r"('[^']*') is not a valid float(?: range)?\.", r"must be a number, not \1"),
    (r"Input should be a valid string\b.*", "must be text"),
    (r"Input should be a valid boolean\b.*", "must be true or false"),
    (r"Input should be a finite number\b.*", "must be a finite number"),
    (r"Input should be greater than or equal to (\S+)", r"must be \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"must be \1 or less"),
    (r"Input should be greater than (\S+)", r"must be more than \1"),
    (r"Input should be ", "must be "),
    (r"(\S+) is not in the range (\S+?)<=x<=(\S+?)\.", r"must be from \2 to \3, not \1"),
    (r"(\S+) is not in the range x>=(\S+?)\.", r"must be \2 or more, not \1"),
    (
        r"(?:Value error, )?(['\"].*['\"]) is not one of ((?:'[^']*'(?:, )?)+)\.",
        lambda found: f"must be {_choices(found[2], found[1])}, not {found[1]}",
    ),
    (
        r"(?:Value error, )?(['\"].*['\"]) does not match the formats? (.+)\.",
        lambda found: f"must be {_example(found[2])}, not {found[1]}",
    ),
    (r"Value error, ", ""),
)
_PREFIX = re.compile(r"Invalid value(?: for [^:]*)?: ")
_MOMENT = {"%Y": "2026", "%m": "01", "%d": "31", "%H": "13", "%M": "00", "%S": "00"}


def plain_fault(message: str) -> str:
    """Return ``message`` with the library's words for a fault replaced by ours.

    The words around them, such as the option's name, are kept, and so is any other message.
    """
    found = _PREFIX.match(message)
    before, fault = ("", message) if found is None else (found[0], message[found.end() :])
    for pattern, words in _WORDS:
        plain, count = re.subn(rf"\A{pattern}", words, fault, count=1, flags=re.DOTALL)
        if count:
            return before + plain
    return message


def _choices(quoted: str, given: str) -> str:
    return choices(given.strip("'\""), re.findall("'([^']*)'", quoted))


def _example(formats: str) -> str:
    moments = re.findall("'([^']*)'", formats)
    for code, digits in _MOMENT.items():
        moments = [moment.replace(code, digits) for moment in moments]
    return f"a date such as {' or '.join(moments)}"
