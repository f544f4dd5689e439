"""The rooms, files and threads in docs/architecture.md are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks, prose_of, text_of

PAGE = ROOT / "docs" / "architecture.md"
ROOMS = ROOT / "docs" / "pictures" / "rooms.svg"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PACKAGES = ("sdk/ugsd_sdk", "privacy/ugsd_privacy", "server/ugsd_server", "lab/ugsd_lab")
THREADS = {"Thread", "ThreadPoolExecutor"}


def rooms_of(package: str) -> set[str]:
    """Return the folders and files of a package, without the folders of models."""
    folder = ROOT / package
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


def listed(package: str) -> set[str]:
    """Return the rooms in the page's table of a package."""
    section = text_of(PAGE).partition(f"`{package}/`\n")[2].partition("\n### ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE))


def statement(what: str) -> set[str]:
    """Return the files that the page's table of threads names for ``what``."""
    (found,) = re.findall(rf"^\| {what} \| (.*) \|$", text_of(PAGE), re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", found))


def trees(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def starts_threads(tree: ast.Module) -> bool:
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(getattr(one, "attr", getattr(one, "id", "")) in THREADS for one in called)


def imports_asyncio(tree: ast.Module) -> bool:
    return any(
        (isinstance(node, ast.Import) and "asyncio" in {alias.name for alias in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module == "asyncio")
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("package", ["sdk/ugsd_sdk", "privacy/ugsd_privacy", "lab/ugsd_lab"])
def test_page_lists_every_room(package: str) -> None:
    assert listed(package) == rooms_of(package)


@pytest.mark.parametrize("package", ["ugsd_sdk", "ugsd_privacy"])
def test_picture_shows_every_room(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        one
        for one in project["tool"]["importlinter"]["contracts"]
        if one.get("containers") == [package]
    ]
    drawn = set(re.findall(r">(\w+)</text>", ROOMS.read_text(encoding="utf-8")))
    assert {room for layer in contract["layers"] for room in layer.split(" | ")} <= drawn


def test_threads_start_only_in_listed_files() -> None:
    for where, package in (("on the device", PACKAGES[0]), ("in the server", PACKAGES[2])):
        found = {name for name, tree in trees(package) if starts_threads(tree)}
        assert statement(f"starts threads {where}") == found
    assert not any(starts_threads(tree) for _, tree in trees(PACKAGES[1]))


def test_asyncio_is_used_only_in_listed_files() -> None:
    found = {name for one in PACKAGES[:3] for name, tree in trees(one) if imports_asyncio(tree)}
    assert statement("uses asyncio") == found


@pytest.mark.parametrize("page", [PAGE, CONTRIBUTING], ids=lambda path: path.name)
def test_named_files_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|json|toml))`", prose_of(page))
    for name in named:
        places = [ROOT, *(ROOT / package for package in PACKAGES)]
        found = any((place / name).exists() for place in places)
        assert found or list(ROOT.glob(f"sdk/ugsd_sdk/*/{name}")), name
    assert len(named) > 5
    assert blocks(page, "mermaid") == []
