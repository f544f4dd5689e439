"""Every command, option and Python name that a document mentions exists."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import ugsd_sdk
from ugsd_lab import cli as lab
from ugsd_sdk import cli as device
from ugsd_server import cli as server

from tests.docs.documents import CARDS, PAGES, README, ROOT, name_of, prose_of, text_of

APPS = {"ugsd": device, "ugsd-server": server, "ugsd-lab": lab}
LABELS = {"ugsd channel answer", "ugsd channel hello", "ugsd log export 1"}
"""These labels of the wire and of notes look like commands."""
OTHERS_OPTIONS = {"--file", "--no-build-isolation", "--no-deps", "--require-hashes"}
"""These options are those of pip, and of an example."""
OTHERS_NAMES = {"fork", "tlog.Tile.Path"}
"""These functions are those of the C library and of Go."""
INSTANCES = {
    "caption": ugsd_sdk.Caption,
    "captioner": ugsd_sdk.Captioner,
    "timeline": ugsd_sdk.Timeline,
    "token": ugsd_sdk.CaptionToken,
    "verifier": ugsd_sdk.VerifierSettings,
    "visitor": ugsd_sdk.Profile,
}
"""Maps the names that documents give to objects to their types."""
FILE_SUFFIXES = r"anchor|in|json|key|lock|manifest|md|onnx|pin|py|sh|svg|toml|txt|ugsd"
FOR_USERS = {
    page
    for page in PAGES
    if page in {README, ROOT / "CHANGELOG.md", *CARDS}
    or name_of(page).startswith(("docs/quickstart", "docs/guides/", "docs/concepts/"))
}
"""These pages may only call what ``ugsd_sdk`` exports."""

_COMMAND = re.compile(r"(?:ugsd|ugsd-lab|ugsd-server)(?: .*)?", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*(?:\(.*\))?", re.DOTALL)
_CAMEL_CASE = re.compile(r"(?:[A-Z][a-z]+){2,}")


def spans(page: Path) -> list[str]:
    """Return the inline code of a page, each on one line."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose_of(page))]


def commands_of(page: Path) -> Iterator[str]:
    """Yield the commands in a page's inline code and in all of its code blocks."""
    for code in spans(page):
        if _COMMAND.fullmatch(code) and code not in LABELS:
            yield code
        elif code.partition(" ")[0] in groups() and " " in code:  # without the program's name
            yield f"{groups()[code.partition(' ')[0]]} {code}"
    for block in re.findall(r"^```\w*\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ")
            if _COMMAND.fullmatch(command):
                yield re.split(r" {2,}| # ", command)[0]


def fault_of_command(command: str) -> str | None:
    """Return what no app knows about a command, or ``None``."""
    name, *words = shlex.split(command.partition(" > ")[0])
    app = app_of(name)
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":  # which is standard input
            options = {name: one for one in app.params for name in [*one.opts, *one.secondary_opts]}
            option = word.partition("=")[0]
            if option == "--help":
                continue
            if option not in options:
                return f"{command}: no option {option}"
            if words and not options[option].is_flag and "=" not in word:
                words.pop(0)
        elif hasattr(app, "commands"):
            if word not in app.commands:
                return f"{command}: no command {word}"
            app = app.commands[word]
        elif not any(one.param_type_name == "argument" for one in app.params):
            return f"{command}: takes no {word}"
    return None


def all_options(app: Any) -> set[str]:
    """Return the options of a command and of all commands below it."""
    found = {name for one in app.params for name in [*one.opts, *one.secondary_opts]}
    return found.union(*(all_options(one) for one in getattr(app, "commands", {}).values()))


@cache
def app_of(name: str) -> Any:
    """Return the command line app of that name."""
    return typer.main.get_command(APPS[name]._app)


@cache
def groups() -> dict[str, str]:
    """Return the program of each command that has commands of its own."""
    return {
        name: program
        for program in APPS
        for name, command in app_of(program).commands.items()
        if hasattr(command, "commands")
    }


@cache
def modules() -> dict[str, str]:
    """Return the source text of every module of the packages."""
    found = {}
    for package in ("privacy", "sdk", "server", "lab"):  # the last one imports the most
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT / package).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


@cache
def classes() -> dict[str, list[str]]:
    """Return the modules that define each class."""
    found: dict[str, list[str]] = {}
    for module, source in modules().items():
        for name in re.findall(r"^class (\w+)", source, re.MULTILINE):
            found.setdefault(name, []).append(module)
    return found


@cache
def parameters(function: str) -> list[set[str]]:
    """Return the parameters of every function and method of that name."""
    defined = re.compile(rf"\bdef {function}\b")
    trees = [ast.parse(source) for source in modules().values() if defined.search(source)]
    return [
        {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]


def member(owner: Any, name: str) -> Any:
    """Return a module's or object's member, or the type of a field. Raises AttributeError."""
    fields = getattr(owner, "model_fields", {})
    if name in fields:
        annotation = fields[name].annotation
        return next((one for one in get_args(annotation) if one is not type(None)), annotation)
    if inspect.isclass(owner):
        for one in owner.__mro__:
            if name in getattr(one, "__annotations__", {}):
                return one.__annotations__[name]
    if inspect.ismodule(owner) and not hasattr(owner, name):
        try:
            return importlib.import_module(f"{owner.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(str(error)) from error
    return getattr(owner, name)


def starts_of(name: str) -> Iterator[Any]:
    """Yield what the first part of a dotted name may mean. Raises ImportError."""
    if name in INSTANCES:
        yield INSTANCES[name]
    elif name in ugsd_sdk.__all__:
        yield getattr(ugsd_sdk, name)
    elif name in classes():
        yield from (getattr(importlib.import_module(one), name) for one in classes()[name])
    else:
        yield importlib.import_module(name)


def fault_of_path(path: str) -> str | None:
    """Return why a dotted name leads nowhere, or ``None``."""
    first, *rest = path.split(".")
    fault = None
    try:
        for start in starts_of(first):
            fault = None
            try:
                reduce(member, rest, start)
            except AttributeError as error:
                fault = f"{path}: {error}"
            else:
                break
    except ImportError as error:
        return f"{path}: {error}"
    return fault


def public_functions() -> set[str]:
    """Return what users may call: what ``ugsd_sdk`` exports, and the methods of it."""
    exported = [getattr(ugsd_sdk, name) for name in ugsd_sdk.__all__]
    methods = {name for one in exported for name in dir(one) if not name.startswith("_")}
    return methods | set(ugsd_sdk.__all__)


def fault_of_name(code: str, *, for_users: bool) -> str | None:
    """Return what does not exist of a dotted name or a call, or ``None``."""
    path, _, arguments = code.partition("(")
    if path in OTHERS_NAMES or path in vars(builtins):
        return None
    name = path.rpartition(".")[2]
    if "." in path and (fault := fault_of_path(path)):
        return fault
    if not arguments:
        return None if "." in path or name in classes() else f"{code}: no such class"
    if for_users and name == path and name not in public_functions():
        return f"{code}: ugsd_sdk exports no {name}()"
    if name in classes():
        accepted = [set(inspect.signature(one).parameters) for one in starts_of(name)]
        if name == "Captioner":
            accepted.append(accepted[0] | set(ugsd_sdk.Settings.model_fields))
    else:
        accepted = parameters(name)
    given = given_to(code)
    if any(given <= one for one in accepted) or ("." in path and not accepted):
        return None
    return f"{code}: no function {name} takes {', '.join(sorted(given)) or 'that'}"


def given_to(code: str) -> set[str]:
    """Return the names of the arguments of a call that are names."""
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    given = {one.arg for one in call.keywords if one.arg}
    return given | {one.id for one in call.args if isinstance(one, ast.Name)}


def names_of(page: Path) -> Iterator[str]:
    """Yield dotted names, calls and names of classes in a page's inline code, without files."""
    for code in spans(page):
        path = code.partition("(")[0]
        if re.search(rf"\.(?:{FILE_SUFFIXES})$", code) or not _NAME.fullmatch(code):
            continue
        if "." in path or "(" in code or _CAMEL_CASE.fullmatch(code):
            yield code


pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pages
def test_named_commands_and_options_exist(page: Path) -> None:
    assert [fault for one in commands_of(page) if (fault := fault_of_command(one))] == []


def test_options_named_alone_exist() -> None:
    known = set().union(*(all_options(app_of(name)) for name in APPS))
    named = {code for page in PAGES for code in spans(page) if re.match(r"--\w", code)}
    assert {one.split()[0] for one in named} - known - OTHERS_OPTIONS == set()


@pages
def test_named_python_exists(page: Path) -> None:
    faults = [fault_of_name(one, for_users=page in FOR_USERS) for one in names_of(page)]
    assert [fault for fault in faults if fault] == []


@pytest.mark.parametrize(
    "command",
    [
        "ugsd profile forget",
        "ugsd profile show|forget",
        "ugsd audit fleet FILE --kept known.json",
        "ugsd-server --no-such-option",
        "ugsd-lab trains",
    ],
)
def test_unknown_commands_are_faults(command: str) -> None:
    assert fault_of_command(command)


@pytest.mark.parametrize(
    "code",
    [
        "ConditionedClip.heard",
        "Captioner.connect()",
        "Captioner(key=...)",
        "NoSuchError",
        "caption.usage.words",
        "connect()",
        "locked(path, seconds)",
        "ugsd_privacy.audit.missing",
    ],
)
def test_unknown_names_are_faults(code: str) -> None:
    assert fault_of_name(code, for_users=True)
