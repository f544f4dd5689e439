"""What the documents show works: code, commands, settings, examples, and the tests they name."""

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

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
EXAMPLES = {
    "budgets.py": ["ada: ", "ben: ", "as intended", "budget: blocks_per_day"],
    "caption_file.py": ["alone: ", "verified: ", "degraded: None"],
    "weekly_privacy_report.py": [
        "Every log verifies",
        "kitchen: The log does NOT verify at record 2",
        "known before with 4 records",
        "1 of 3 logs does NOT verify",
    ],
    "own_verifier.py": ["ugsd-vk1:", "bytes left for ws://127.0.0.1:"],
}
APPS = {"ugsd": device, "ugsd-server": server, "ugsd-lab": lab}

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Command lines in the documents' console blocks, and those said to print a measured table."""
    lines = [
        line
        for path in DOCUMENTS
        for block in blocks(path, "console")
        for line in block.split("\n")
    ]
    lines += re.findall(r"<!-- measured: (.*?) -->", README.read_text(encoding="utf-8"))
    return sorted({line for line in lines if line})


def run(*command: str, home: Path) -> str:
    """Run with a home of its own, and no settings from the environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("UGSD_")}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_effect(command: Any) -> Any:
    """The command, which now parses and does nothing."""
    command.callback = lambda **_: None
    for child in getattr(command, "commands", {}).values():
        without_effect(child)
    return command


@pytest.mark.parametrize("code", blocks(README, "python"), ids=lambda code: code.split("\n")[0])
def test_python_in_the_readme_runs(code: str, tmp_path: Path) -> None:
    run(sys.executable, "-c", code, home=tmp_path)


@pytest.mark.parametrize("command", commands())
def test_every_command_shown_is_one_that_is_understood(command: str) -> None:
    name, *arguments = shlex.split(command)
    if name == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments)
    elif name == "pip":
        assert arguments[0] == "install"
    else:
        app = without_effect(typer.main.get_command(APPS[name]._app))
        app(args=arguments, prog_name=name, standalone_mode=False)


def test_commands_that_only_read_or_make_a_key_run(tmp_path: Path) -> None:
    ran = 0
    for command in commands():
        if re.match(r"ugsd (audit show|budget)|ugsd-server keygen", command):
            name, *arguments = shlex.split(command)
            module = {"ugsd": "ugsd_sdk", "ugsd-server": "ugsd_server"}[name]
            run(sys.executable, "-m", module, *arguments, home=tmp_path)
            ran += 1
    assert ran == 8
    assert (tmp_path / "verifier.key.pub").exists()


def test_the_commands_for_ones_own_verifier_run_in_the_order_shown(tmp_path: Path) -> None:
    section = README.read_text("utf-8").partition("## Run your own verifier\n")[2]
    shown = re.findall(r"^ugsd-server ([a-z].*)$", section.partition("\n## ")[0], re.MULTILINE)
    for arguments in shown:
        run(sys.executable, "-m", "ugsd_server", *shlex.split(arguments), home=tmp_path)
    done = {arguments.split()[0] for arguments in shown}
    assert done == {"keygen", "root", "manifest", "manifest-show", "rotate"}
    assert (tmp_path / "verifier.manifest").exists()


@pytest.mark.parametrize("block", blocks(README, "toml"))
def test_settings_in_the_readme_are_settings(block: str, tmp_path: Path) -> None:
    path = tmp_path / "ugsd.toml"
    path.write_text(block, encoding="utf-8")
    settings = Settings.load(path)
    assert settings.model_fields_set
    if "[limits]" in block:
        assert settings.limits.blocks_per_day == 500


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, tmp_path: Path) -> None:
    printed = run(sys.executable, str(ROOT / "examples" / example), home=tmp_path)
    assert [text for text in EXAMPLES[example] if text not in printed] == []


def test_no_example_is_left_out() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@documents
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for name, test in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text):
        source = (ROOT / name).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{name}::{test}"


@documents
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]*)", text):
        assert not target or (document.parent / target).exists(), target
