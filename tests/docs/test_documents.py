"""Code, commands, settings, examples and links in the documents work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ugsd_lab import cli as lab
from ugsd_sdk import cli as device
from ugsd_sdk.settings.config import Settings
from ugsd_server import cli as server

from tests.docs.documents import EXAMPLES as EXAMPLES_PAGE
from tests.docs.documents import (
    PAGES,
    README,
    ROOT,
    SECURITY,
    anchors,
    blocks,
    blocks_of_all,
    commands,
    links,
    name_of,
    prose_of,
    text_of,
)

DECISIONS = ROOT / "docs" / "decisions"
OWN_VERIFIER = ROOT / "docs" / "guides" / "own-verifier.md"
EXAMPLES = {
    "budgets.py": ["ada: ", "ben: ", "as intended", "blocks_per_day: "],
    "caption_file.py": ["device: ", "verified: ", "unverified: nothing"],
    "weekly_privacy_report.py": [
        "Every log verifies",
        "kitchen: The log does NOT verify at record 2",
        "records known before",
        "1 of 3 logs does NOT verify",
    ],
    "ten_lines.py": [" by the device", " by the verifier", "1 block sent"],
    "own_verifier.py": ["ugsd-vk1:", "bytes sent to ws://127.0.0.1:"],
}
TESTED_APART = {"call_centre", "caption_journey", "microphone_view", "upload_service"}
"""Examples with a test file of their own."""
APPS = {"ugsd": device, "ugsd-server": server, "ugsd-lab": lab}
MAX_LINES = {README: 160, SECURITY: 80}
GENERATED = {
    "reference/settings.md": {"the-device", "the-verifier-service"},
    "reference/cli.md": set(),
    "reference/errors.md": set(),
    "reference/python.md": set(),
    "reference/caption-schema.md": set(),
    "reference/report-schema.md": set(),
    "decisions/index.md": set(),
}
"""Maps pages that only the site has to the headings that others link to."""
HARMLESS = (
    r"ugsd (audit (show|verify)|budget|profile|privacy (explain|recommend))( |$)|ugsd-server keygen"
)
"""Matches commands that can run by themselves in an empty home folder."""

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


def run(*command: str, home: Path, folder: Path | None = None) -> str:
    """Return what a command prints, run in ``folder`` without settings from the environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("UGSD_")}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command,
        cwd=folder or home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_effect(command: Any) -> Any:
    """Make a command parse its arguments and do nothing, and return it."""
    command.callback = lambda **_: None
    for child in getattr(command, "commands", {}).values():
        without_effect(child)
    return command


def codes(language: str) -> list[Any]:
    """Return the code blocks of a language, each once, named after the first page with it."""
    once = {code: page for page, code in reversed(blocks_of_all(language))}
    return [
        pytest.param(code, id=f"{page}:{code.split(chr(10))[0]}") for code, page in once.items()
    ]


@pytest.mark.parametrize("code", codes("python"))
def test_python_in_document_runs(code: str, tmp_path: Path) -> None:
    run(sys.executable, "-c", code, home=tmp_path)


@pytest.mark.parametrize("command", commands())
def test_commands_in_documents_parse(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = shlex.split(command)
    monkeypatch.chdir(tmp_path)
    for argument in arguments:  # some options take only what exists
        if argument.isupper():
            Path(argument).mkdir()
        elif argument.endswith(".safetensors"):
            Path(argument).touch()
    if name == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments)
    elif name == "pip":
        assert arguments[0] == "install"
        assert all((ROOT / one).exists() for one in arguments if one.endswith(".lock"))
    else:
        app = without_effect(typer.main.get_command(APPS[name]._app))
        app(args=arguments, prog_name=name, standalone_mode=False)


def test_read_only_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("UGSD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    harmless = [one for one in commands() if re.match(HARMLESS, one) and "." not in one]
    for command in harmless:
        name, *arguments = shlex.split(command)
        if arguments[:2] in (["audit", "verify"], ["privacy", "explain"]) and arguments[2:]:
            continue  # it needs a file, or starts a verifier
        assert APPS[name].main(arguments) == 0, (command, capsys.readouterr())
    shown = {" ".join(command.split()[:3]) for command in harmless}
    assert shown >= {"ugsd audit show", "ugsd budget set", "ugsd budget reset", "ugsd profile show"}


def test_verifier_is_set_up_as_shown(tmp_path: Path) -> None:
    shown = [
        line.removeprefix("ugsd-server ")
        for code in blocks(OWN_VERIFIER, "console")
        for line in code.splitlines()
        if re.match(r"ugsd-server [a-z]", line)
    ]
    (trust,) = [one for one in commands() if one.startswith("ugsd trust show --verifier-root")]
    for arguments in shown:
        run(sys.executable, "-m", "ugsd_server", *shlex.split(arguments), home=tmp_path)
    done = {arguments.split()[0] for arguments in shown}
    assert done == {"keygen", "root", "manifest", "manifest-show", "rotate"}
    assert (tmp_path / "verifier.key.pub").exists()
    assert (tmp_path / "verifier.manifest").exists()
    command = shlex.split(trust)[1:]
    assert "digest " in run(sys.executable, "-m", "ugsd_sdk", *command, home=tmp_path)


def test_quick_start_shows_what_is_printed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "quickstart.md"
    (command,) = [c for c in blocks(page, "console") if re.match(r"ugsd caption [^-]", c)]
    (shown,) = blocks(page, "text")
    clip = shlex.split(command)[-1]
    printed = run(sys.executable, "-m", "ugsd_sdk", "caption", str(ROOT / clip), home=tmp_path)
    path, *lines = (line.rpartition(";")[0] or line for line in shown.splitlines())
    assert path == clip
    assert [line.rpartition(";")[0] or line for line in printed.splitlines()[1:]] == lines


@pytest.mark.parametrize("code", codes("toml"))
def test_settings_in_document_load(code: str, tmp_path: Path) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text(code, encoding="utf-8")
    assert Settings.load(path).model_fields_set


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(example: str, tmp_path: Path) -> None:
    printed = run(sys.executable, str(EXAMPLES_PAGE.parent / example), home=tmp_path)
    assert [text for text in EXAMPLES[example] if text not in printed] == []


def test_every_example_is_tested() -> None:
    found = {
        path.stem for path in EXAMPLES_PAGE.parent.iterdir() if path.suffix in {".py", ".ipynb"}
    }
    assert found == TESTED_APART | {Path(name).stem for name in EXAMPLES}
    assert all(Path(__file__).with_name(f"test_{name}.py").exists() for name in TESTED_APART)


def test_every_example_is_listed() -> None:
    listed = set(links(EXAMPLES_PAGE))
    files = {path.name for path in EXAMPLES_PAGE.parent.iterdir() if path.is_file()} - {"README.md"}
    assert {name for name in listed if "/" not in name} == files


def test_output_in_readme_is_printed(tmp_path: Path) -> None:
    (shown,) = [code for code in blocks(README, "text") if "$ ugsd caption" in code]
    folder, command, *output = shown.splitlines()
    assert output.pop(0) == output.pop() == "..."  # other clips
    clips = ROOT / folder.removeprefix("$ cd ")
    name, *arguments = shlex.split(command.removeprefix("$ "))
    assert name == "ugsd"
    files = sorted(path.name for path in clips.glob(arguments.pop()))  # as a shell would
    printed = run(sys.executable, "-m", "ugsd_sdk", *arguments, *files, home=tmp_path, folder=clips)
    lines = printed.splitlines()
    start = lines.index(output[0])
    assert 0 < start < len(lines) - len(output)
    assert lines[start + 1] == output[1]
    assert len(output) == 4
    probability = re.compile(r"(?<= )[01]?\.\d\d(?=[;)]|$)")  # may be rounded otherwise elsewhere
    assert probability.sub("", lines[start + 2]) == probability.sub("", output[2])
    without_time = output[3].rpartition(";")[0]
    assert lines[start + 3].startswith(without_time)


@pytest.mark.parametrize("page", MAX_LINES, ids=name_of)
def test_top_level_document_stays_short(page: Path) -> None:
    assert len(text_of(page).splitlines()) <= MAX_LINES[page]


@pages
def test_named_tests_exist(page: Path) -> None:
    for name, test in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text_of(page)):
        source = (ROOT / name).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{name}::{test}"


@pages
def test_decisions_cited_in_documents_exist(page: Path) -> None:
    cited = re.findall(r"[Dd]ecisions? (\d{3}(?:(?:, | and )\d{3})*)", prose_of(page))
    numbers = {number for group in cited for number in re.findall(r"\d{3}", group)}
    assert numbers <= {path.name[:3] for path in DECISIONS.glob("*.md")}


@pages
def test_link_targets_exist(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        generated = GENERATED.get(os.path.relpath(target, ROOT / "docs"))
        if generated is not None:
            assert not anchor or anchor in generated, link
            continue
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_decisions_cited_in_code_exist() -> None:
    known = {path.name[:3] for path in DECISIONS.glob("*.md")}
    for package in ("privacy", "sdk", "server", "lab", "tests", "examples"):
        for source in (ROOT / package).rglob("*.py"):
            text = source.read_text(encoding="utf-8")
            cited = re.findall(r"docs/decisions/(\d{3})|[Dd]ecision (\d{3})\b", text)
            assert {"".join(found) for found in cited} <= known, source
