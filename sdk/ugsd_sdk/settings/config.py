"""Settings of the device side, from a TOML file, the environment and Python.

Python arguments win over the environment (``UGSD_USER``, ``UGSD_VERIFIER__URL``,
``UGSD_LIMITS__BLOCKS_PER_DAY``, ``UGSD_USERS__ADA__TOKENS_PER_DAY``), the environment wins over the
file, and the file over the defaults::

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

    [presets.child]                 # a named set of caps, which wins over [limits]
    tokens_per_day = 200
    epsilon_per_day = "none"        # lifts a cap

    [users.ada]                     # wins over the preset
    preset = "child"
    blocks_per_caption = 2

The caps of a preset or user stand directly in its table. Names of presets and users that differ
only in case or Unicode form are the same name: see :mod:`ugsd_privacy.user_names`.
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
from ugsd_sdk.settings.config_faults import (
    check_variables,
    first_fault,
    format_fault,
    format_variable_fault,
)
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
"""The verifier address that stands for a verifier started as a child process."""
_Name = Annotated[str, Field(min_length=1, max_length=4 * MAX_USER_CHARACTERS)]
_Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class _Table(BaseModel):
    """A table of settings. Text is converted to numbers, since the environment holds only text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bools(cls, value: object, info: ValidationInfo) -> object:
        return _refuse_bool(value, cls.model_fields[str(info.field_name)].annotation)


class VerifierSettings(_Table):
    """Which verifier is used, and how long the device waits for it."""

    url: str | None = None
    """Address of the verifier: ``ws://...`` or ``wss://...``, or ``embedded`` to start one on this
    machine. With none, no verifier is used and nothing is sent."""
    root: str | None = None
    """The root key that signs the verifier's manifest: the text ``ugsd-root1:...``, or a file that
    holds it."""
    manifest: Path | None = None
    """File of the manifest that the root signed. It is read again for each connection."""
    key: str | None = None
    """The verifier's public key, as text or as a file that holds it. It replaces ``root`` and
    ``manifest`` for a verifier on this machine; the embedded verifier announces its own."""
    deadline_s: _Seconds = 2.0
    """Longest wait for one block in seconds, above 0 and up to 3600. For the first block it
    includes the connection."""
    caption_deadline_s: _Seconds = 5.0
    """Longest wait for all blocks of one caption together in seconds, above 0 and up to 3600."""
    connect_timeout_s: _Seconds = 10.0
    """Longest attempt to connect in seconds, above 0 and up to 3600. It runs in the background."""

    def with_identity(
        self, *, key: str | None = None, root: str | None = None, manifest: Path | None = None
    ) -> VerifierSettings:
        """Return these settings with the given identity: a key replaces root and manifest, and they
        replace a key."""
        if root is not None or manifest is not None:
            root, manifest = root or self.root, manifest or self.manifest
        elif key is None:
            return self
        return self.model_copy(update={"key": key, "root": root, "manifest": manifest})


class NoiseSettings(_Table):
    """Gaussian noise on the states that are sent: exactly one of ``sigma`` and ``epsilon``."""

    sigma: Annotated[float, Field(gt=0, le=MAX_SIGMA)] | None = None
    """Standard deviation of the noise on each number of a state, above 0 and up to 128, in units of
    the clip norm."""
    epsilon: _Positive | None = None
    """Epsilon of all states of one caption at ``limits.delta``, above 0 and up to a million; sigma
    is computed from it."""

    @model_validator(mode="after")
    def _check_one(self) -> NoiseSettings:
        if (self.sigma is None) == (self.epsilon is None):
            at = ("noise",) if self.sigma is None else ("noise", "epsilon")
            raise _fault(at, "give sigma or epsilon, one of the two")
        return self


class AuditSettings(_Table):
    """What the log stores for its owner, and for how long."""

    level: LogLevel = "content"
    """What is stored of each frame. ``content``: everything that was sent. ``record``: token ids,
    sizes and the like, but no states."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    """Age in days, 0 to 36500, at which the stored content is erased; a record of the log says so.
    With none it is stored without limit."""


class CapsOverride(BudgetLimits):
    """Caps of a preset or a user. The caps that are given replace the inherited ones."""

    preset: _Name | None = None
    """Name of the preset from which the caps that are not given are inherited. With none they come
    from ``limits``."""

    @property
    def overrides(self) -> dict[str, Any]:
        """The caps that are given, and delta if it is given."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"preset"}}

    @model_serializer(mode="wrap")
    def _only_given(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


class Settings(BaseSettings):
    """All settings. ``Settings(...)`` uses only its arguments; :meth:`load` also reads a file and
    the environment."""

    model_config = SettingsConfigDict(
        env_prefix="UGSD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    _file: ClassVar[SettingsFile | None] = None

    verifier: VerifierSettings = VerifierSettings()
    """Which verifier is used, and how long the device waits for it."""
    home: Path = Path("~/.ugsd")
    """Folder of the ledger, the audit log, its keys and the speaker profiles. ``~`` is expanded."""
    user: str = "default"
    """Name of the user whose budget is charged and whose speaker profile is used. Case and Unicode
    form do not matter (:func:`~ugsd_privacy.user_names.normal_user`). It is never sent."""
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least uncertainty of a block, 0 or more, at which it is escalated. With none the drafter's
    own threshold is used."""
    target_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Replaces the threshold: the largest mean share of a caption's blocks, between 0 and 1, that
    may stay as drafted although the verifier would have rejected them. See
    :class:`~ugsd_sdk.decoding.risk_controlled.RiskControlledPolicy`."""
    target_gain: Annotated[float, Field(gt=0, le=1)] | None = None
    """Replaces the threshold: the least share of the gap between drafter and verifier, above 0 and
    up to 1, that must be closed."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """Which states are sent with the token ids of a block: ``tokens`` none, ``summary`` one per
    caption, ``block_states`` those of the block, ``all_states`` those of all tokens so far. With a
    target this is the most that may be sent."""
    block_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)] = 5
    """Largest number of drafted tokens in one block, 1 to 256."""
    min_enrolment: Annotated[int, Field(ge=0, le=1000)] = 3
    """Number of clips in a user's speaker profile, 0 to 1000, before a state of theirs may be sent.
    The larger it is, the less a state reveals about who speaks; with 0 even the first clip's state
    may be sent, which reveals most."""
    keep_profile: bool = True
    """Whether the user's speaker profile is stored in ``home``. If not, each process starts with an
    empty one."""
    gender: bool = True
    """Whether captions say that a voice sounds like a woman's or a man's when that is clear. These
    words are used only on this device and never sent."""
    traffic_shape: TrafficShape = TrafficShape.PADDED
    """What the number, sizes and times of frames reveal to the network. ``padded``: frames have one
    of eight sizes. ``constant``: while a session is open, each caption sends one frame of one size
    and gets one answer of that size; the frame holds the first escalated block, or is an empty
    cover frame. Later blocks are not sent and stay unverified."""
    noise: NoiseSettings | None = None
    """Noise that is added to states before they are sent. With none, states are sent as they are,
    and no bound holds on what they reveal."""
    audit: AuditSettings = AuditSettings()
    """What the log stores for its owner, and for how long."""
    limits: BudgetLimits = BudgetLimits()
    """Caps of every user."""
    presets: dict[_Name, CapsOverride] = Field(default_factory=dict)
    """Named sets of caps, ``[presets.NAME]``, which users and other presets inherit by ``preset``.
    They win over ``limits``."""
    users: dict[_Name, CapsOverride] = Field(default_factory=dict)
    """Caps of single users, ``[users.NAME]``. They win over the presets and ``limits``."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bools(cls, value: object, info: ValidationInfo) -> object:
        return _refuse_bool(value, cls.model_fields[str(info.field_name)].annotation)

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

    @field_validator("presets", "users", mode="before")
    @classmethod
    def _plain_names(cls, named: object, info: ValidationInfo) -> object:
        if not isinstance(named, Mapping):
            return named
        table = str(info.field_name)
        plain = {_normal_name(table, name): _plain_caps(caps) for name, caps in named.items()}
        if len(plain) < len(named):
            raise _fault((table,), "two spellings of the same name: delete one")
        return plain

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        for table, named in (("presets", self.presets), ("users", self.users)):
            for name, caps in named.items():
                self._check_inherited(table, name, caps)
        if self.noise is not None:
            self._check_noise(self.noise)
        return self

    def _check_inherited(self, table: str, name: str, caps: CapsOverride) -> None:
        at, path = (table, name), [name] if table == "presets" else []
        while caps.preset is not None:
            parent = plain_name(caps.preset)
            if parent not in self.presets:
                defined = ", ".join(sorted(self.presets)) or "none"
                raise _fault(
                    (*at, "preset"), f"no preset is named {caps.preset}; defined presets: {defined}"
                )
            if parent in path:
                cycle = " -> ".join([*path[path.index(parent) :], parent])
                raise _fault(
                    ("presets", parent, "preset"),
                    f"presets inherit in a cycle: {cycle}: break it",
                )
            path.append(parent)
            at, caps = ("presets", parent), self.presets[parent]

    def _check_noise(self, noise: NoiseSettings) -> None:
        if self.disclosure is Disclosure.TOKENS:
            raise _fault(
                ("noise",),
                "with disclosure = tokens no state is sent that noise could be added to: delete "
                "noise, or set disclosure = summary",
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
        """Return the caps of ``user``, by default the user of these settings.

        A user's own caps win over those of inherited presets, and these over ``limits``. Raises
        :class:`UserNameRefused` for a name that is not a valid user name.
        """
        caps = self.users.get(self.user if user is None else normal_user(user))
        chain = []
        while caps is not None:
            chain.append(caps.overrides)
            caps = self.presets[plain_name(caps.preset)] if caps.preset else None
        limits = self.limits
        for given in reversed(chain):
            limits = limits.model_copy(update=given)
        return limits

    @property
    def sigma(self) -> float | None:
        """The noise's standard deviation in units of the clip norm; ``None`` without noise. Raises
        :class:`ConfigError` if no allowed sigma reaches the requested epsilon."""
        if self.noise is None or self.noise.epsilon is None:
            return None if self.noise is None else self.noise.sigma
        sigma = dp.sigma_from_epsilon(
            epsilon=self.noise.epsilon,
            delta=self.limits_for().delta,
            sensitivity=dp.STATE_SENSITIVITY,
            releases=self.states_per_caption or 1,
        )
        if sigma > MAX_SIGMA:
            raise ConfigError(
                "setting noise.epsilon: no supported noise reaches so small an epsilon: raise it"
            )
        return sigma

    @property
    def states_per_caption(self) -> int | None:
        """Most states that one caption may send at this disclosure; ``None`` means no limit."""
        if self.disclosure is Disclosure.TOKENS:
            return 0
        if self.disclosure is Disclosure.SUMMARY:
            return 1
        return self.limits_for().tokens_per_caption

    def __init__(self, **arguments: Any) -> None:
        """Create settings from ``arguments`` only; neither a file nor the environment is read.

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
            fault = first_fault(error.errors(include_url=False))
            raise ConfigError(format_fault(fault, Settings, given, self._file)) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, **arguments: Any) -> Settings:
        """Load settings from ``arguments``, the environment and the TOML file at ``path``.

        Raises :class:`ConfigError`, which names the file, line and key and says what to change. A
        ``UGSD_`` variable that names no setting is an error too, except for the server's
        ``UGSD_SERVER_`` variables.
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
        """Use only the arguments as a source; :meth:`load` adds others."""
        return (init_settings,)


_MAX_DIGITS = 20
"""Most digits of a cap. Longer text is not parsed and is refused, because it is not a number."""


def _plain_caps(caps: object) -> object:
    """Convert text, which the environment gives, to numbers; ``"none"`` lifts a cap."""
    if not isinstance(caps, Mapping):
        return caps
    return {name: value if name == "preset" else _plain_cap(value) for name, value in caps.items()}


def _plain_cap(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()  # text that is not a number, so that pydantic refuses it
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() == "none":
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else value


def _refuse_bool(value: object, annotation: object) -> object:
    """Return ``value``; refuse true and false as numbers, which pydantic reads as 1 and 0."""
    if isinstance(value, bool) and _is_number(annotation):
        raise PydanticCustomError("truth", "must be a number")
    return value


def _is_number(annotation: object) -> bool:
    return annotation in {int, float} or any(map(_is_number, get_args(annotation)))


def _normal_name(table: str, name: object) -> object:
    """Return the normal form of a preset's or user's name; pydantic refuses a name that is not
    text."""
    if not isinstance(name, str):
        return name
    try:
        return normal_user(name)
    except UserNameRefused as error:
        raise _fault((table, name), str(error)) from None


def _fault(keys: tuple[str, ...], message: str) -> PydanticCustomError:
    """Return the error for a conflict of several settings, reported at ``keys``."""
    return PydanticCustomError("together", "{message}", {"message": message, "keys": keys})
