"""The documentation site: it builds without a warning or a network, and its pages are complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import ugsd_sdk
from pydantic import BaseModel
from ugsd_privacy.budget import CAPS
from ugsd_privacy.strict_models import attribute_docstrings
from ugsd_sdk import errors
from ugsd_sdk.settings.config import (
    AuditSettings,
    NoiseSettings,
    Settings,
    UserSettings,
    VerifierSettings,
)
from ugsd_server.settings import Settings as ServerSettings

from tests.docs.documents import ROOT

SITE = ROOT / "docs" / "site"
sys.path.insert(0, str(SITE))

import links  # noqa: E402
import reference  # noqa: E402

WITHOUT_NETWORK = """
import sys
def no_network(event, arguments):
    if event.startswith("socket.") and event not in {"socket.__new__", "socket.gethostname"}:
        raise RuntimeError(f"the build of the documents used the network: {event} {arguments}")
sys.addaudithook(no_network)
from mkdocs.__main__ import cli
cli(["build", "--strict", "--site-dir", sys.argv[1]])
"""
LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"((?:https?:)?//[^\"]+)\"")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return reference.pages()


@pytest.mark.slow
def test_site_builds_without_warning_or_network(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None and not os.environ.get("CI"):
        pytest.skip("mkdocs is not installed: pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) > 50
    for page in built:
        html = page.read_text(encoding="utf-8")
        assert LOADED.findall(html) == [], page
        assert unrendered(html) == [], page


def unrendered(html: str) -> list[str]:
    """Return the lines of a page's text that are still Markdown: lists, tables or links."""
    article = html.partition("<article")[2].partition("</article>")[0]
    text = re.sub(r"<(pre|code)\b.*?</\1>|<[^>]+>", "", article, flags=re.DOTALL)
    return re.findall(r"^\s*(?:- |\| ).*$|.*\]\(.*", text, re.MULTILINE)


def test_settings_page_has_every_setting(generated: dict[str, str]) -> None:
    page = generated["reference/settings.md"]
    tables = {"verifier", "noise", "audit", "limits"}
    for model in (Settings, VerifierSettings, NoiseSettings, ServerSettings):
        for name in set(model.model_fields) - tables:
            assert f"| `{name}` | " in page
    assert [cap for cap in CAPS if f"`{cap}`" not in page] == []


@pytest.mark.parametrize(
    "model",
    [Settings, VerifierSettings, NoiseSettings, AuditSettings, UserSettings, ServerSettings],
)
def test_every_setting_has_a_meaning(model: type[BaseModel]) -> None:
    meanings = attribute_docstrings(model)
    fields = set(model.model_fields) - set(CAPS)  # the page explains caps by measure and window
    assert {name for name in fields if not meanings.get(name)} == set()


def test_command_page_has_every_command(generated: dict[str, str]) -> None:
    page = generated["reference/cli.md"]
    for command in ("ugsd audit verify", "ugsd budget set", "ugsd-server rotate", "ugsd-lab bench"):
        assert re.search(rf"^#+ `{command}`$", page, re.MULTILINE)
        assert f"Usage: {command} " in page


def test_reference_pages_have_every_public_name(generated: dict[str, str]) -> None:
    described = generated["reference/python.md"] + generated["reference/errors.md"]
    for name in ugsd_sdk.__all__:
        assert re.search(rf"(\.|`){name}\b", described), name
    assert all(f"| `{name}` | " in described for name in errors.__all__)


def test_every_decision_has_number_title_and_status(generated: dict[str, str]) -> None:
    files = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    listed = list(reference.decisions())
    assert [name for *_, name in listed] == files
    for number, _, status, _, name in listed:
        assert name.startswith(f"{number}-")
        assert re.fullmatch(r"accepted|(partly )?superseded by \d{3}", status), name
    assert len({number for number, *_ in listed}) == len(listed)


@pytest.mark.parametrize(
    ("markdown", "source", "page", "expected"),
    [
        ("[a](docs/wire.md#order)", "SECURITY.md", "security/policy.md", "[a](../wire.md#order)"),
        ("[a](../SECURITY.md)", "docs/wire.md", "wire.md", "[a](security/policy.md)"),
        ("[a](docs/decisions/)", "README.md", "index.md", "[a](decisions/index.md)"),
        ("[`a.py`](../sdk/a.py)", "docs/log.md", "log.md", "`a.py`"),
        ("[a](https://example.org)", "README.md", "index.md", "[a](https://example.org)"),
        ("So:\n- a\n- b\n", "docs/log.md", "log.md", "So:\n\n- a\n- b\n"),
        ("```\n[a](b)\n```", "README.md", "index.md", "```\n[a](b)\n```"),
    ],
)
def test_links_lead_to_site_pages(markdown: str, source: str, page: str, expected: str) -> None:
    assert links.for_the_site(markdown, source, page) == expected
