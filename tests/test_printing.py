"""Command lines print by the one module that shows foreign text as text, and by no other way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ONLY = {"privacy/ugsd_privacy/output/terminal.py", "privacy/ugsd_privacy/output/consoles.py"}
"""What may write to a terminal."""
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("privacy/ugsd_privacy", "sdk/ugsd_sdk", "server/ugsd_server", "lab/ugsd_lab")
    for path in (ROOT / package).rglob("*.py")
)
PRINTING = {
    "print", "typer.echo", "typer.secho", "click.echo", "click.secho", "rich.print",
    "sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "logging.basicConfig",
    "logging.StreamHandler",
}  # fmt: skip
READING_MARKUP = {
    "Console", "Panel", "Progress", "TextColumn", "SpinnerColumn", "Spinner", "Prompt", "Confirm",
    "track", "inspect", "from_markup", "from_ansi", "render_markup", "rich.markup", "rich.prompt",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
    return ""


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func) == "Text"


def faults(source: str) -> Iterator[str]:
    """What a source file prints with, or makes that would read markup."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "rich":
            yield "from rich import"
        if isinstance(node, ast.ImportFrom) and node.module in {"rich.markup", "rich.prompt"}:
            yield node.module
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in PRINTING or (
            name.rpartition(".")[2] in READING_MARKUP and name != "shown.track"
        ):
            yield name
        if name.endswith(".status") and any(
            not (isinstance(given, ast.Call) and dotted(given.func) == "Text")
            for given in node.args
        ):
            yield name
        if any(given.arg == "markup" for given in node.keywords) and not name.endswith("print"):
            yield f"{name}(markup=)"


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_else_writes_to_a_terminal(path: str) -> None:
    if path not in ONLY:
        assert not list(faults((ROOT / path).read_text("utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "print(path)",
        "typer.echo(f'{path}')",
        "sys.stderr.write(error)",
        "console = rich.console.Console()",
        "Console(stderr=True).print(user)",
        "from rich import print",
        "Text.from_markup(user)",
        "console.status(user)",
        "Progress(console=on)",
        "table(user, markup=True)",
        "logging.basicConfig()",
    ],
)
def test_the_lint_sees_each_way(line: str) -> None:
    assert list(faults(line))
