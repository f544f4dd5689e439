"""Captions that cannot be right whatever the voice sounds like."""

from __future__ import annotations

import re

from ugsd_sdk.caption import NO_SPEECH, Caption

from ugsd_lab.data.lexicon import attributes_named

__all__ = ["gibberish_in", "repeated_run"]

_LONGEST_RUN = 8
"""Words of the longest run that is looked for."""


def gibberish_in(caption: Caption) -> str | None:
    """Return what is wrong with a caption as a text; ``None`` if nothing is.

    A caption that says that there is no speech is an error, but no gibberish.
    """
    if caption.text == NO_SPEECH:
        return None
    run = repeated_run(caption.text)
    if run is not None:
        return f"repeats {run!r}"
    if caption.is_truncated:
        return "is cut at its limit"
    named = sorted(attributes_named(caption.text, "emotion"))
    if len(named) != 1:
        return f"names {' and '.join(named) or 'no emotion'}"
    return None


def repeated_run(text: str) -> str | None:
    """Return the first run of words that stands twice in a row, at most eight words long."""
    words = re.findall(r"[\w'-]+", text.lower())
    for start in range(len(words)):
        for length in range(1, _LONGEST_RUN + 1):
            run = words[start : start + length]
            if run == words[start + length : start + 2 * length]:
                return " ".join(run)
    return None
