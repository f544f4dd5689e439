"""Settings of the device side, from a TOML or YAML file, the environment and Python.

Python wins over the environment (``UGSD_USER``, ``UGSD_VERIFIER__URL``,
``UGSD_LIMITS__BLOCKS_PER_DAY``, ``UGSD_USERS__ADA__TOKENS_PER_DAY``), the environment over the
file, the file over the defaults::

    user = "ada"
    threshold = 0.3
    disclosure = "summary"

    [verifier]
    url = "wss://captions.example.org"
    root = "ugsd-root1:..."         # or a file that holds it
    manifest = "verifier.manifest"
    deadline_s = 2.0

    [noise]
    sigma = 1.0                     # or epsilon = 8.0, of one caption

    [limits]                        # everyone's caps
    tokens_per_day = 2000

    [profiles.child]                # over them
    tokens_per_day = 200
    epsilon_per_day = "none"        # lifts a cap

    [users.ada]                     # over the profile's
    inherits = "child"
    blocks_per_caption = 2

Caps of a profile or user stand directly in its table. The names of profiles and users are told
apart without regard to case and Unicode form: see :mod:`ugsd_privacy.user_names`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)
from ugsd_privacy.audit.records import LogLevel
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import MAX_SIGMA
from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.protocol.channel import TrafficShape
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, Disclosure
from ugsd_privacy.user_names import MAX_USER_CHARACTERS, normal_user

from ugsd_sdk.errors import ConfigError
from ugsd_sdk.settings.config_faults import check_variables, format_fault, format_variable_fault
from ugsd_sdk.settings.settings_file import (
    SettingsFile,
    name_given_twice,
    plain_name,
    with_lower_names,
)

__all__ = [
    "EMBEDDED",
    "AuditSettings",
    "CapsOverride",
    "NoiseSettings",
    "Settings",
    "VerifierSettings",
]

EMBEDDED = "embedded"
"""The verifier address that stands for one started as a child process."""
_Name = Annotated[str, Field(min_length=1, max_length=4 * MAX_USER_CHARACTERS)]
_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class _Table(BaseModel):
    """A table of settings. Text becomes numbers, since the environment gives nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        return _no_truth(value, cls.model_fields[str(info.field_name)].annotation)


class VerifierSettings(_Table):
    """Which verifier, and how long to wait for it."""

    url: str | None = None
    """``ws://`` or ``wss://`` address, ``embedded``, or none."""
    root: str | None = None
    """The root that vouches for its keys, or a file that holds that: ``ugsd-root1:...``."""
    manifest: Path | None = None
    """File of the root's signed manifest, read anew for each connection."""
    key: str | None = None
    """Instead of both, for a verifier on this machine: its public key, or a file that holds it. The
    embedded verifier announces its own."""
    deadline_s: _Seconds = 2.0
    """Longest wait for one block, the first one's connection included."""
    caption_deadline_s: _Seconds = 5.0
    """Longest wait of one caption, all blocks together."""
    connect_timeout_s: _Seconds = 10.0
    """Longest attempt to connect; it runs in the background."""

    def with_identity(
        self, *, key: str | None = None, root: str | None = None, manifest: Path | None = None
    ) -> VerifierSettings:
        """These settings with what is given: a key in place of root and manifest, or these in place
        of a key."""
        if root is not None or manifest is not None:
            root, manifest = root or self.root, manifest or self.manifest
        elif key is None:
            return self
        return self.model_copy(update={"key": key, "root": root, "manifest": manifest})


class NoiseSettings(_Table):
    """Gaussian noise on states that leave: exactly one of two."""

    sigma: Annotated[float, Field(gt=0, le=MAX_SIGMA)] | None = None
    """Standard deviation of each coordinate, in units of the clip norm."""
    epsilon: _Positive | None = None
    """Of the states of one caption at ``limits.delta``; sigma is made to fit."""

    @model_validator(mode="after")
    def _check_one(self) -> NoiseSettings:
        if (self.sigma is None) == (self.epsilon is None):
            at = ("noise",) if self.sigma is None else ("noise", "epsilon")
            raise _fault(at, "give sigma or epsilon, one of the two")
        return self


class AuditSettings(_Table):
    """What the log keeps for its owner, and for how long."""

    level: LogLevel = "content"
    """``content``: all that left. ``record``: token ids, sizes and the like, no states."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    """After so many days what left is erased, and the log says so; none keeps it."""


class CapsOverride(BudgetLimits):
    """Caps of a profile or a user: those that are given count, over what is inherited."""

    inherits: _Name | None = None
    """Name of the profile that the others come from; none takes ``limits``."""

    @property
    def overrides(self) -> dict[str, Any]:
        """Those that are given, and delta if that is."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"inherits"}}

    @model_serializer(mode="wrap")
    def _only_given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


class Settings(BaseSettings):
    """All settings. ``Settings(...)`` takes its arguments alone; :meth:`load` also reads a file and
    the environment."""

    model_config = SettingsConfigDict(
        env_prefix="UGSD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    _file: ClassVar[SettingsFile | None] = None

    verifier: VerifierSettings = VerifierSettings()
    home: Path = Path("~/.ugsd")
    """Folder of the ledger, the audit log and its key."""
    user: str = "default"
    """Whose budget is charged, in the form of :func:`~ugsd_privacy.user_names.normal_user`: neither
    case nor Unicode form tells two users apart. It never leaves the device."""
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least uncertainty that is escalated; none takes the drafter's own."""
    target_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """In place of a threshold: the largest mean share of a caption's blocks that may stand though
    the verifier would have rejected them. See
    :class:`~ugsd_sdk.decoding.risk_controlled.RiskControlledPolicy`."""
    target_gain: Annotated[float, Field(gt=0, le=1)] | None = None
    """In place of a threshold: the least share of the gap to the verifier that is to be closed."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """How much leaves with a block; with a target, the most that may."""
    block_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)] = 5
    min_enrolment: Annotated[int, Field(ge=0, le=1000)] = 3
    """How many clips of a user must have been heard before a state of theirs may leave: the more,
    the less it tells of who speaks. 0 lets the first one leave, which tells most."""
    keep_profile: bool = True
    """Keep the user's habit in ``home``; else each process gets acquainted anew."""
    gender: bool = True
    """Word what the voice sounds like, a woman's or a man's, where it is clear. On this device
    alone: it is never sent."""
    traffic_shape: TrafficShape = TrafficShape.PADDED
    """What the number, sizes and times of frames tell. ``constant``: while there is a session each
    caption sends one frame, all of one size, and gets one such answer: its first escalated block,
    or a cover that carries nothing. Later blocks stay here, unverified."""
    noise: NoiseSettings | None = None
    """Added to states before they leave; none adds none, and then nothing bounds what they tell."""
    audit: AuditSettings = AuditSettings()
    limits: BudgetLimits = BudgetLimits()
    """Everyone's caps."""
    profiles: dict[_Name, CapsOverride] = Field(default_factory=dict)
    """Caps by a name that users, and other profiles, inherit."""
    users: dict[_Name, CapsOverride] = Field(default_factory=dict)
    """A user's own caps."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        return _no_truth(value, cls.model_fields[str(info.field_name)].annotation)

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
        return _plain_caps(limits)

    @field_validator("profiles", "users", mode="before")
    @classmethod
    def _plain_names(cls, named: object, info: ValidationInfo) -> object:
        if not isinstance(named, Mapping):
            return named
        table = str(info.field_name)
        plain = {_normal_name(table, name): _plain_caps(caps) for name, caps in named.items()}
        if len(plain) < len(named):
            raise _fault((table,), "two names are one, written differently: delete one")
        return plain

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        for table, named in (("profiles", self.profiles), ("users", self.users)):
            for name, caps in named.items():
                self._check_inherited(table, name, caps)
        if self.noise is not None:
            self._check_noise(self.noise)
        return self

    def _check_inherited(self, table: str, name: str, caps: CapsOverride) -> None:
        at, path = (table, name), [name] if table == "profiles" else []
        while caps.inherits is not None:
            parent = plain_name(caps.inherits)
            if parent not in self.profiles:
                known = ", ".join(sorted(self.profiles)) or "none"
                raise _fault(
                    (*at, "inherits"), f"no profile is named {caps.inherits}; those given: {known}"
                )
            if parent in path:
                circle = " -> ".join([*path[path.index(parent) :], parent])
                raise _fault(("profiles", parent, "inherits"), f"a circle: {circle}: break it")
            path.append(parent)
            at, caps = ("profiles", parent), self.profiles[parent]

    def _check_noise(self, noise: NoiseSettings) -> None:
        if self.disclosure is Disclosure.TOKENS:
            raise _fault(
                ("noise",),
                "disclosure = tokens sends no state that noise could be added to: delete noise, "
                "or disclose a summary",
            )
        if noise.epsilon is not None and self.states_per_caption is None:
            raise _fault(
                ("noise", "epsilon"),
                f"with disclosure = {self.disclosure} a caption may send any number of states: set "
                "limits.tokens_per_caption, or noise.sigma instead",
            )

    @field_validator("user")
    @classmethod
    def _plain_user(cls, user: str) -> str:
        try:
            return normal_user(user)
        except UserNameRefused as error:
            raise PydanticCustomError("user_name", "{fault}", {"fault": str(error)}) from None

    def limits_for(self, user: str | None = None) -> BudgetLimits:
        """The caps of ``user``, or of the one that these settings are for: everyone's, under those
        of the profiles that they inherit, under their own. Raises :class:`UserNameRefused` for a
        name that no user has."""
        caps = self.users.get(self.user if user is None else normal_user(user))
        chain = []
        while caps is not None:
            chain.append(caps.overrides)
            caps = self.profiles[plain_name(caps.inherits)] if caps.inherits else None
        limits = self.limits
        for given in reversed(chain):
            limits = limits.model_copy(update=given)
        return limits

    @property
    def sigma(self) -> float | None:
        """The noise's standard deviation in units of the clip norm; ``None`` without noise. Raises
        :class:`ConfigError` where none makes the epsilon asked for."""
        if self.noise is None or self.noise.epsilon is None:
            return None if self.noise is None else self.noise.sigma
        sigma = dp.sigma_from_epsilon(
            epsilon=self.noise.epsilon,
            delta=self.limits_for().delta,
            sensitivity=dp.STATE_SENSITIVITY,
            releases=self.states_per_caption or 1,
        )
        if sigma > MAX_SIGMA:
            raise ConfigError("setting noise.epsilon: no noise makes so small a one")
        return sigma

    @property
    def states_per_caption(self) -> int | None:
        """How many the disclosure lets a caption send at most; ``None`` for any number."""
        if self.disclosure is Disclosure.TOKENS:
            return 0
        if self.disclosure is Disclosure.SUMMARY:
            return 1
        return self.limits_for().tokens_per_caption

    def __init__(self, **arguments: Any) -> None:
        """Make settings from ``arguments`` alone; neither a file nor the environment is read.

        Raises :class:`ConfigError` as :meth:`load` does.
        """
        twice = name_given_twice(arguments)
        if twice is not None:
            raise ConfigError(f"setting {'.'.join(twice)}: given twice: delete one")
        given = with_lower_names(arguments)
        try:
            super().__init__(**given)
        except (SettingsError, RecursionError):
            raise ConfigError(format_variable_fault(Settings)) from None
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise ConfigError(format_fault(fault, Settings, given, self._file)) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **arguments: Any) -> Settings:
        """Load settings from ``arguments``, the environment and the file at ``path``.

        The file is TOML or YAML by its ending. Raises :class:`ConfigError` that names file, line
        and key at fault and what would be right; also for a ``UGSD_`` variable that names no
        setting (``UGSD_SERVER_`` ones are the server's).
        """
        check_variables(cls)
        file = None if path is None else SettingsFile.read(Path(path))

        class WithEnvironment(cls):  # type: ignore[valid-type,misc]
            _file = file

            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,
                file_secret_settings: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                values = {} if file is None else dict(file.values)
                return init_settings, env_settings, InitSettingsSource(settings_cls, values)

        return WithEnvironment(**arguments)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments count, unless :meth:`load` says otherwise."""
        return (init_settings,)


_MAX_DIGITS = 20
"""Of a cap; longer text is left as it is, and refused as no number."""


def _plain_caps(caps: object) -> object:
    """Text, as the environment gives it, becomes numbers; ``"none"`` lifts a cap."""
    if not isinstance(caps, Mapping):
        return caps
    return {
        name: value if name == "inherits" else _plain_cap(value) for name, value in caps.items()
    }


def _plain_cap(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()  # which is no number
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() == "none":
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else value


def _no_truth(value: object, annotation: object) -> object:
    """``value``, unless it is true or false where pydantic would take it for 1 or 0."""
    if isinstance(value, bool) and _is_number(annotation):
        raise PydanticCustomError("truth", "a number is needed")
    return value


def _is_number(annotation: object) -> bool:
    return annotation in {int, float} or any(map(_is_number, get_args(annotation)))


def _normal_name(table: str, name: object) -> object:
    """The form of a profile's or user's name; what is no text is left for pydantic to refuse."""
    if not isinstance(name, str):
        return name
    try:
        return normal_user(name)
    except UserNameRefused as error:
        raise _fault((table, name), str(error)) from None


def _fault(keys: tuple[str, ...], told: str) -> PydanticCustomError:
    """A fault of several settings together, found at ``keys``."""
    return PydanticCustomError("together", "{told}", {"told": told, "keys": keys})
