"""The example as a notebook runs, and its stored outputs are those of a run."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.docs.documents import ROOT
from tests.docs.example_modules import EXAMPLES
from tests.docs.notebooks import Output, code_cells, read_notebook, run_cell, source_of

JOURNEY = EXAMPLES / "caption_journey.ipynb"
MOST_BYTES = 80_000
VARYING = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|root [0-9a-f]{16}|(?<=128  )[a-z0-9]{5}|(?<=2386  )[a-z0-9]{5}"
)
"""Matches what differs in each run: times, the verifier's key, and the root of the tree."""
NUMBER = re.compile(r"\d*\.\d+")
"""Matches what may be rounded otherwise on another processor."""


def text_of(output: Output) -> str:
    """Return what an output shows as plain text, without what may vary."""
    lines = output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
    return NUMBER.sub("", VARYING.sub("", "".join(lines)))


def kinds_of(output: Output) -> set[str]:
    return set(output.get("data", ()))


def test_stored_outputs_are_those_of_a_run() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.ExitStack() as closing:
        for number, cell in enumerate(code_cells(read_notebook(JOURNEY)), 1):
            made = run_cell(cell, names, number)
            if number == 1:
                closing.callback(names["captioner"].close)
            assert cell["execution_count"] == number
            assert list(map(kinds_of, made)) == list(map(kinds_of, cell["outputs"]))
            assert list(map(text_of, made)) == list(map(text_of, cell["outputs"])), source_of(cell)
    assert not names["home"].exists()


def test_stored_outputs_show_the_journey() -> None:
    shown = [output for cell in code_cells(read_notebook(JOURNEY)) for output in cell["outputs"]]
    text = "".join(map(text_of, shown))
    assert "the log verifies" in text
    assert "1 block sent" in text
    assert "25 bytes: 87 00" in text
    (picture,) = ("".join(one["data"]["image/svg+xml"]) for one in shown if is_picture(one))
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def is_picture(output: Output) -> bool:
    return "image/svg+xml" in output.get("data", ())


def test_notebook_is_small_and_names_no_machine() -> None:
    stored = JOURNEY.read_text(encoding="utf-8")
    assert len(stored) < MOST_BYTES
    private = [str(ROOT), str(Path.home()), tempfile.gettempdir(), "/home/", "/Users/", "site-pack"]
    assert [one for one in private if len(one) > 1 and one in stored] == []
    for name in (socket.gethostname(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(name)}\b", stored) or name in {"root", "user"}
    assert not re.search(r"PRIVATE KEY|(?:[0-9a-f]{2}){32}|ugsd-[a-z]+k1:", stored)
