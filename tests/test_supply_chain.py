"""What is installed: exact versions with hashes, within the ranges that the package declares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(path.name for path in REQUIREMENTS.glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEV_EXTRAS = ("dev", "docs", "interop", "lab", "report")
"""Those that `make test` installs."""
UNBOUNDED = {"cryptography"}
"""Why is said beside it."""
_ENTRY = re.compile(r"^(\S+==\S+(?: ; [^\\]+?)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)\n", re.M)


def entries(lock: str) -> list[tuple[Requirement, int]]:
    """Each requirement of a lock, and how many hashes it has."""
    text = (REQUIREMENTS / lock).read_text(encoding="utf-8")
    found = _ENTRY.findall(text)
    assert "".join(f"{requirement}{hashes}\n" for requirement, hashes in found) == text
    return [(Requirement(one), hashes.count("--hash")) for one, hashes in found]


def pins(lock: str) -> dict[str, list[Version]]:
    """Versions by name; those of several Pythons stand apart."""
    versions: dict[str, list[Version]] = {}
    for requirement, _ in entries(lock):
        (pin,) = requirement.specifier
        versions.setdefault(canonicalize_name(requirement.name), []).append(Version(pin.version))
    return versions


def assert_satisfied(wanted: list[str], locked: dict[str, list[Version]]) -> None:
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{text} is not locked: run make lock"
        for version in locked[name]:
            assert version in requirement.specifier, f"{name} {version} is not {text}: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_version_has_hashes(lock: str) -> None:
    found = entries(lock)
    assert found
    assert [str(requirement) for requirement, hashes in found if not hashes] == []
    assert not any(
        version.is_prerelease for versions in pins(lock).values() for version in versions
    )


def test_locks_satisfy_the_declared_ranges() -> None:
    base, dev = pins("base.lock"), pins("dev.lock")
    assert_satisfied(PROJECT["project"]["dependencies"], base)
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [text for extra in DEV_EXTRAS for text in extras[extra] if "torch" not in text]
    assert_satisfied([*PROJECT["project"]["dependencies"], *wanted], dev)
    assert_satisfied(PROJECT["build-system"]["requires"], pins("build.lock"))


def test_every_lock_pins_the_same_versions() -> None:
    dev = pins("dev.lock")
    assert {name: dev.get(name) for name in pins("base.lock")} == pins("base.lock")
    for name, versions in pins("build.lock").items():
        assert dev.get(name, versions) == versions


def test_nothing_names_an_index() -> None:
    files = [*REQUIREMENTS.iterdir(), ROOT / "Makefile", ROOT / "pyproject.toml"]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"://|\bindex-url\b(?<!no-emit-index-url)|--find-links|@ file", text
        ), path


def test_torch_is_left_to_its_constraint() -> None:
    assert (
        (ROOT / "constraints.txt")
        .read_text(encoding="utf-8")
        .splitlines()[-1]
        .startswith("torch==")
    )
    for lock in LOCKS:
        assert not {name for name in pins(lock) if re.match("torch|nvidia|cuda|triton", name)}


def test_what_torch_needs_is_locked() -> None:
    wanted = [Requirement(text) for text in requires("torch") or ()]
    plain = [str(one) for one in wanted if one.marker is None]
    assert plain, "its metadata is read"
    assert_satisfied(plain, pins("dev.lock"))


def test_dependencies_have_upper_bounds() -> None:
    unbounded = {
        requirement.name
        for requirement in map(Requirement, PROJECT["project"]["dependencies"])
        if not any(one.operator in {"<", "=="} for one in requirement.specifier)
    }
    assert unbounded == UNBOUNDED


def test_the_bill_of_materials_lists_the_base_install(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = re.search(r"-m cyclonedx_py ((?:.*\\\n)*.*)", recipe)
    assert command
    options = command[1].replace("\\\n", " ").replace("$(SBOM)", str(tmp_path / "sbom.json"))
    subprocess.run(
        [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", *options.split()],
        cwd=ROOT,
        check=True,
    )
    made = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    listed = {canonicalize_name(one["name"]) for one in made["components"]}
    assert listed == set(pins("base.lock"))
    assert made["metadata"]["component"]["name"] == "ugsd"
