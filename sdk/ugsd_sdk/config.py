"""Settings of the device side, from a TOML file, the environment and Python.

Python wins over the environment (``UGSD_USER``, ``UGSD_VERIFIER__URL``,
``UGSD_LIMITS__BLOCKS_PER_DAY``), the environment over the file, the file over the defaults::

    user = "ada"
    threshold = 0.3
    disclosure = "summary"

    [verifier]
    url = "wss://captions.example.org"
    key = "verifier.pub"            # or the key's text
    deadline_s = 2.0

    [limits]
    tokens_per_day = 2000
"""

from __future__ import annotations

import json
import os
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.channel import Shape
from ugsd_privacy.wire import MAX_CAPTION_TOKENS, Disclosure

from ugsd_sdk.errors import ConfigError

__all__ = ["EMBEDDED", "Settings", "VerifierSettings"]

EMBEDDED = "embedded"
"""The verifier address that stands for one started as a child process."""

_TABLES = {
    "verifier": '[verifier] url = "embedded"',
    "limits": "[limits] tokens_per_day = 2000",
}
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class VerifierSettings(BaseModel):
    """Which verifier, and how long to wait for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """``ws://`` or ``wss://`` address, ``embedded``, or none."""
    key: str | None = None
    """Its public key, or a file that holds it; the embedded verifier announces its own."""
    deadline_s: _Seconds = 2.0
    """Longest wait for one block, the first one's connection included."""
    caption_deadline_s: _Seconds = 5.0
    """Longest wait of one caption, all blocks together."""
    connect_timeout_s: _Seconds = 10.0
    """Longest attempt to connect; it runs in the background."""


class Settings(BaseSettings):
    """All settings. ``Settings()`` reads the environment; :meth:`read` a file too."""

    model_config = SettingsConfigDict(
        env_prefix="UGSD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    verifier: VerifierSettings = VerifierSettings()
    home: Path = Path("~/.ugsd")
    """Folder of the ledger, the audit log and its key."""
    user: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    """Whose budget is charged; it never leaves the device."""
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least uncertainty that is escalated; none takes the drafter's own."""
    target_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """In place of a threshold: the largest mean share of a caption's blocks that may stand though
    the verifier would have rejected them. See :class:`~ugsd_sdk.minimum.MinimumEscalation`."""
    target_gain: Annotated[float, Field(gt=0, le=1)] | None = None
    """In place of a threshold: the least share of the gap to the verifier that is to be closed."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """How much leaves with a block; with a target, the most that may."""
    block_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)] = 5
    acquaintance: Annotated[int, Field(ge=0, le=1000)] = 3
    """How many clips of a user must have been heard before a state of theirs may leave: the more,
    the less it tells of who speaks. 0 lets the first one leave, which tells most."""
    remember: bool = True
    """Keep the user's habit in ``home``; else each process gets acquainted anew."""
    gender: bool = True
    """Word what the voice sounds like, a woman's or a man's, where it is clear. On this device
    alone: it is never sent."""
    shape: Shape = Shape.PADDED
    """What the number, sizes and times of frames tell. ``constant``: while there is a session each
    caption sends one frame, all of one size, and gets one such answer: its first escalated block,
    or a cover that carries nothing. Later blocks stay here, unverified."""
    limits: BudgetLimits = BudgetLimits()

    @field_validator("target_risk", "target_gain")
    @classmethod
    def _one_of_three(cls, target: float | None, info: ValidationInfo) -> float | None:
        others = [info.data.get(name) for name in ("threshold", "target_risk")]
        if target is not None and any(other is not None for other in others):
            raise PydanticCustomError(
                "excluded", "set only one of threshold, target_risk and target_gain"
            )
        return target

    @field_validator("limits", mode="before")
    @classmethod
    def _plain_limits(cls, limits: object) -> object:
        """Text, as the environment gives it, becomes numbers; ``"none"`` lifts a cap."""
        if not isinstance(limits, dict):
            return limits
        return {name: _plain_limit(value) for name, value in limits.items()}

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None = None, **arguments: Any) -> Settings:
        """Settings from ``arguments``, the environment and the TOML file at ``path``.

        Raises :class:`ConfigError` that names the key at fault and what would be right; also for a
        ``UGSD_`` variable that names no setting (``UGSD_SERVER_`` ones are the server's).
        """
        _check_variables()
        file = {} if path is None else _read_toml(Path(path))

        class FromFile(cls):  # type: ignore[valid-type,misc]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, InitSettingsSource(settings_cls, file)

        return _checked(FromFile, arguments, file, path)

    @classmethod
    def of(cls, **arguments: Any) -> Settings:
        """Settings from ``arguments`` alone: neither file nor environment is read.

        Raises :class:`ConfigError` as :meth:`read` does.
        """
        return _checked(_ArgumentsOnly, arguments, {}, None)


class _ArgumentsOnly(Settings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _plain_limit(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text == "none":
        return None
    return int(text) if text.isdecimal() else value


def _check_variables() -> None:
    tables: dict[str, type[BaseModel]] = {"verifier": VerifierSettings, "limits": BudgetLimits}
    known = {f"UGSD_{name}".upper() for name in Settings.model_fields}
    for table, model in tables.items():
        known |= {f"UGSD_{table}__{name}".upper() for name in model.model_fields}
    for variable in sorted(os.environ):
        name = variable.upper()
        ours = name.startswith("UGSD_") and not name.startswith("UGSD_SERVER_")
        if ours and name not in known:
            nearest = get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"environment variable {variable}: no such setting: did you mean {nearest}? "
                "Correct its name or unset it"
            )


def _checked(
    kind: type[Settings],
    arguments: dict[str, Any],
    file: dict[str, Any],
    path: str | os.PathLike[str] | None,
) -> Settings:
    try:
        return kind(**arguments)
    except SettingsError:
        tables = [f"UGSD_{table.upper()}" for table in _TABLES]
        name = next((table for table in tables if not _is_json(os.environ.get(table))), tables[0])
        raise ConfigError(
            f"environment variable {name}: not JSON: set {name}__ and a key of it instead"
        ) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        keys = [str(part) for part in fault["loc"]]
        raise ConfigError(f"{_origin(keys, arguments, file, path)}: {_fix(fault)}") from None


def _is_json(text: str | None) -> bool:
    try:
        json.loads(text or "null")
    except ValueError:
        return False
    return True


def _origin(
    keys: list[str],
    arguments: dict[str, Any],
    file: dict[str, Any],
    path: str | os.PathLike[str] | None,
) -> str:
    """Where the faulty value came from: the first source, by precedence, that has its key."""
    name = ".".join(keys)
    variable = "UGSD_" + "__".join(keys).upper()
    if keys and keys[0] in arguments:
        return f"setting {name}"
    if variable in {key.upper() for key in os.environ}:
        return f"environment variable {variable}"
    return f"{path}: key {name}" if keys and keys[0] in file else f"setting {name}"


def _fix(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such setting: correct its name or delete it"
    table = fault["loc"][-1] if fault["loc"] else None
    if fault["type"] in {"model_type", "model_attributes_type"} and table in _TABLES:
        return f"{table} is a table: {_TABLES[table]}"
    if fault["type"] == "path_type":
        return f'a path is text, such as "~/.ugsd", not {fault["input"]!r}'
    return f"{fault['msg'].lower()}, not {fault['input']!r}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: check the path and its permissions") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
