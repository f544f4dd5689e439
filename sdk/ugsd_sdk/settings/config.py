"""Settings of the device side, from a TOML file, the environment and Python.

Python arguments win over the environment (``UGSD_USER``, ``UGSD_VERIFIER__URL``,
``UGSD_LIMITS__BLOCKS_PER_DAY``, ``UGSD_USERS__ADA__TOKENS_PER_DAY``), the environment wins over the
file, and the file over the defaults::

    user = "ada"
    min_gain = 0.05
    disclosure = "summary"

    [verifier]
    url = "wss://captions.example.org"
    root = "ugsd-root1:..."         # or a file that holds it
    manifest = "verifier.manifest"
    proxy = "http://proxy.example.org:3128"     # only if the network needs one
    deadline_s = 2.0

    [noise]
    sigma = 1.0                     # or epsilon = 8.0, of one caption

    [limits]                        # everyone's caps
    tokens_per_day = 2000

    [presets.child]                 # a named set, which wins over [limits] and what is above
    tokens_per_day = 200
    epsilon_per_day = "none"        # lifts a cap

    [users.ada]                     # wins over the preset
    preset = "child"
    blocks_per_caption = 2
    length = "short"                # and other settings of this user's captions

What a preset or user has stands directly in its table. Names of presets and users that differ
only in case or Unicode form are the same name: see :mod:`ugsd_privacy.user_names`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
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
from ugsd_privacy.budget import BudgetLimits
from ugsd_privacy.dp import accounting as dp
from ugsd_privacy.dp.mechanism import MAX_SIGMA
from ugsd_privacy.errors import UserNameRefused
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, Disclosure
from ugsd_privacy.protocol.traffic_shape import TrafficShape
from ugsd_privacy.user_names import normal_user

from ugsd_sdk.arguments import path_text
from ugsd_sdk.attributes.length import CaptionLength
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
from ugsd_sdk.settings.speculative import speculative_fault
from ugsd_sdk.settings.tables import (
    AuditSettings,
    Enrolment,
    EnrolmentSeconds,
    Name,
    NoiseSettings,
    UserSettings,
    VerifierSettings,
    conflict,
    normal_name,
    plain_caps,
    refuse_unusable,
)
from ugsd_sdk.settings.verification import BLOCK_TOKENS, BlockUnit, Continuation, Verification

__all__ = [
    "ANONYMOUS",
    "EMBEDDED",
    "AuditSettings",
    "NoiseSettings",
    "Settings",
    "UserSettings",
    "VerifierSettings",
]

ANONYMOUS = "default"
"""The user name that stands for everyone who is not named."""
EMBEDDED = "embedded"
"""The verifier address that stands for a verifier started as a child process."""


class Settings(BaseSettings):
    """All settings. ``Settings(...)`` uses only its arguments; :meth:`load` also reads a file and
    the environment."""

    model_config = SettingsConfigDict(
        env_prefix="UGSD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    _reads_environment: ClassVar[bool] = False
    _file: ClassVar[SettingsFile | None] = None

    verifier: VerifierSettings = VerifierSettings()
    """Which verifier is used, and how long the device waits for it."""
    home: Path = Path("~/.ugsd")
    """Folder of the ledger, the audit log, its keys and the speaker profiles. ``~`` is expanded."""
    user: str = ANONYMOUS
    """Name of the user whose budget is charged and whose speaker profile is used. Case and Unicode
    form do not matter (:func:`~ugsd_privacy.user_names.normal_user`). It is never sent. ``default``
    stands for everyone who is not named: it has a budget but no profile, so with the default of
    ``min_enrolment`` no states of its clips are sent."""
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Least uncertainty of a block, 0 or more, at which it is escalated, in place of the expected
    gain. If neither it nor a target is set, blocks whose gain nothing predicts, such as blocks of
    tokens, have the drafter's own threshold."""
    min_gain: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Ask only where asking is expected to raise the probability that the emotion is right by more
    than this, -1 to 1. If neither it nor a threshold or target is set, 0 is used with drafters that
    predict the gain, as the bundled ones do, for questions about slots."""
    target_risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decides in place of the expected gain: the largest share of questions, between 0 and 1, that
    may stay on the device although the verifier would have rejected the draft. A caption has one
    question, about its emotion. See
    :class:`~ugsd_sdk.decoding.risk_controlled.RiskControlledPolicy`."""
    target_gain: Annotated[float, Field(gt=0, le=1)] | None = None
    """Decides in place of the expected gain: the least share of the gap in emotion accuracy between
    drafter and verifier, above 0 and up to 1, that must be closed by the questions that are
    asked."""
    disclosure: Disclosure = Disclosure.SUMMARY
    """Which states are sent with the token ids of a block: ``tokens`` none, ``summary`` one per
    caption, ``block_states`` those of the block, ``all_states`` those of all tokens so far,
    ``distributions`` what ``summary`` sends and the probabilities of the emotions, for speculative
    verification alone. A bundled drafter makes one state per clip, so ``block_states`` and
    ``all_states`` repeat the same numbers; with noise, the verifier may average these copies. With
    a target at least ``summary``, and no more than that is sent."""
    block_unit: BlockUnit = BlockUnit.SLOT
    """What one block is. ``slot``: the clause of the emotion, up to the word that names it, as one
    question. ``tokens``: ``block_tokens`` tokens, as in the paper, and always so for a drafter
    without slots."""
    block_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)] = BLOCK_TOKENS
    """Largest number of drafted tokens in one block, 1 to 256, if ``block_unit`` is ``tokens``."""
    adaptive_blocks: bool = False
    """Whether blocks of tokens have the length, 1 to 16, that is best for the measured times to
    draft a token and to get an answer and for the share of accepted tokens, in place of
    ``block_tokens``. It changes nothing for questions about slots."""
    continuation: Continuation | None = None
    """How far the verifier may go on after the tokens that it accepts or corrects. Default:
    ``nothing`` for questions, ``clause`` for blocks of tokens of a drafter with slots, ``caption``
    for a drafter without slots. With ``nothing`` the device words the rest. Questions allow nothing
    else, and a drafter with slots no ``caption``: its captions state what the device measured."""
    verification: Verification = Verification.VERIFIER
    """How an emotion that is asked about is judged. ``verifier``: by the verifier's own rule, which
    its operator sets. ``speculative``: the device draws the emotion from the drafter's
    probabilities, and where it asks, the answer has exactly the verifier's distribution; where it
    does not ask, the emotion has the drafter's. It needs ``block_unit = slot``,
    ``continuation = nothing``, ``disclosure = distributions`` and a drafter with slots; the same
    ``seed`` then no longer gives the same caption."""
    min_enrolment: Enrolment = 3
    """Number of different clips in a speaker profile, 0 to 1000, before a state of its speaker may
    be sent. The larger it is, the less a state reveals about who speaks; with 0 even the first
    clip's state may be sent, and that of a clip without a profile, which reveals most."""
    min_enrolment_s: EnrolmentSeconds = 5.0
    """Seconds of speech in these clips together, 0 to 3600, before a state may be sent. It does not
    count if ``min_enrolment`` is 0."""
    keep_profile: bool = True
    """Whether the user's speaker profile is stored in ``home``. If not, each process starts with an
    empty one."""
    length: CaptionLength = CaptionLength.NORMAL
    """How much a caption says: ``short`` at most 12 words, ``normal`` about 20, ``rich`` 40 to 60
    in two or three sentences. It changes nothing of :class:`~ugsd_sdk.Attributes`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Chooses among wordings of the same meaning, 0 to 4294967295. The same clip, profile, settings
    and seed give the same caption."""
    gender: bool = False
    """Whether captions say that a voice sounds like a woman's or a man's when that is clear, in
    place of "the speaker". How a voice sounds is no evidence of anybody's gender. The word comes
    from the speaker profile, if there is one, so that a user keeps it. These words are used only on
    this device and never sent."""
    traffic_shape: TrafficShape = TrafficShape.PADDED
    """What the number, sizes and times of frames reveal to the network. ``padded``: frames have one
    of eight sizes. ``constant``: while a session is open, each caption sends one frame of one size
    and gets one answer of that size; the frame holds the first escalated block, or is an empty
    cover frame. Later blocks are not sent and stay unverified."""
    noise: NoiseSettings | None = None
    """Noise that is added to states before they are sent. If it is not set, states are sent as they
    are, and no bound holds on what they reveal."""
    audit: AuditSettings = AuditSettings()
    """What the log stores for its owner, and for how long."""
    budget_pacing: bool = True
    """Whether the caps of an hour and of a day are spent where they gain most: a question is asked
    only if it is worth what its cost is expected to be worth to later questions. Nothing changes
    where the budget suffices. If not, questions are asked until a cap is used up. A policy that an
    application passes is never paced."""
    limits: BudgetLimits = BudgetLimits()
    """Caps of every user."""
    presets: dict[Name, UserSettings] = Field(default_factory=dict)
    """Named sets of caps and other settings, ``[presets.NAME]``, which users and other presets
    inherit by ``preset``. They win over ``limits`` and over the settings of everyone."""
    users: dict[Name, UserSettings] = Field(default_factory=dict)
    """Caps and other settings of single users, ``[users.NAME]``, which win over the presets. Those
    of ``default`` are of everyone who is not named."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unusable(cls, value: object, info: ValidationInfo) -> object:
        return refuse_unusable(value, cls.model_fields[str(info.field_name)].annotation)

    @field_validator("min_gain", "target_risk", "target_gain")
    @classmethod
    def _one_of_four(cls, target: float | None, info: ValidationInfo) -> float | None:
        others = [
            info.data.get(name)
            for name in ("threshold", "min_gain", "target_risk")
            if name != info.field_name
        ]
        if target is not None and any(other is not None for other in others):
            raise PydanticCustomError(
                "excluded", "set only one of threshold, min_gain, target_risk and target_gain"
            )
        return target

    @field_validator("limits", mode="before")
    @classmethod
    def _plain_limits(cls, limits: object) -> object:
        return plain_caps(limits)

    @field_validator("presets", "users", mode="before")
    @classmethod
    def _plain_names(cls, named: object, info: ValidationInfo) -> object:
        if not isinstance(named, Mapping):
            return named
        table = str(info.field_name)
        plain = {normal_name(table, name): plain_caps(caps) for name, caps in named.items()}
        if len(plain) < len(named):
            raise conflict((table,), "two spellings of the same name: delete one")
        return plain

    @model_validator(mode="after")
    def _check_together(self) -> Settings:
        for table, named in (("presets", self.presets), ("users", self.users)):
            for name, caps in named.items():
                self._check_inherited(table, name, caps)
        self._check_alone(())
        for table, named in (("presets", self.presets), ("users", self.users)):
            for name, own in named.items():
                if given := self._inherited(own)[1]:
                    self.model_copy(update=given)._check_alone((table, name))
        return self

    def _check_alone(self, at: tuple[str, ...]) -> None:
        """Refuse settings of one user that exclude each other; ``at`` is the user's table."""
        if self.noise is not None:
            self._check_noise(self.noise, at)
        fault = speculative_fault(
            self.verification,
            block_unit=self.block_unit,
            continuation=self.continuation,
            disclosure=self.disclosure,
            has_target=self.has_target,
            has_epsilon=self.noise is not None and self.noise.epsilon is not None,
        )
        if fault is not None:
            keys, message = fault
            raise conflict((*at, *keys), message)

    def _check_inherited(self, table: str, name: str, caps: UserSettings) -> None:
        at, path = (table, name), [name] if table == "presets" else []
        while caps.preset is not None:
            parent = plain_name(caps.preset)
            if parent not in self.presets:
                defined = ", ".join(sorted(self.presets)) or "none"
                raise conflict(
                    (*at, "preset"), f"no preset is named {caps.preset}; defined presets: {defined}"
                )
            if parent in path:
                cycle = " -> ".join([*path[path.index(parent) :], parent])
                raise conflict(
                    ("presets", parent, "preset"),
                    f"presets inherit in a cycle: {cycle}: break it",
                )
            path.append(parent)
            at, caps = ("presets", parent), self.presets[parent]

    def _check_noise(self, noise: NoiseSettings, at: tuple[str, ...]) -> None:
        if self.disclosure is Disclosure.TOKENS:
            raise conflict(
                (*at, "noise"),
                "with disclosure = tokens no state is sent that noise could be added to: delete "
                "noise, or set disclosure = summary",
            )
        if noise.epsilon is not None and self.states_per_caption is None:
            raise conflict(
                (*at, "noise", "epsilon"),
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
        own = self.users.get(self.user if user is None else normal_user(user))
        return (
            self.limits if own is None else self.limits.model_copy(update=self._inherited(own)[0])
        )

    def for_user(self, user: str) -> Settings:
        """Return these settings for ``user``, with what ``users`` and ``presets`` give them.

        Raises :class:`UserNameRefused` for a name that is not a valid user name.
        """
        name = normal_user(user)
        own = self.users.get(name)
        given = {} if own is None else self._inherited(own)[1]
        return self.model_copy(update={**given, "user": name})

    def _inherited(self, own: UserSettings | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the caps and the other settings that a user or preset has, with those of the
        presets that it inherits."""
        chain = []
        while own is not None:
            chain.append(own)
            own = self.presets[plain_name(own.preset)] if own.preset else None
        caps, others = dict[str, Any](), dict[str, Any]()
        for given in reversed(chain):
            caps |= given.caps
            others |= given.others
        return caps, others

    @property
    def has_target(self) -> bool:
        """Whether a target decides in place of the expected gain."""
        return self.target_risk is not None or self.target_gain is not None

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
        if self.disclosure in {Disclosure.SUMMARY, Disclosure.DISTRIBUTIONS}:
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
        ``UGSD_`` variable is an error too if its name is a misspelling of a setting's, an unknown
        key of one of our tables, or an option that is no setting; any other is ignored.
        """
        check_variables(cls)
        text = path_text("config", path)
        file = None if text is None else SettingsFile.read(Path(text))

        class WithEnvironment(cls):  # type: ignore[valid-type,misc]
            _reads_environment = True
            _file = file

        loaded = WithEnvironment(**arguments)
        # Of this class, so that it equals the same settings from Python, and can be pickled.
        return cls.model_construct(loaded.model_fields_set, **dict(loaded))

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
        if not cls._reads_environment:
            return (init_settings,)
        values = {} if cls._file is None else dict(cls._file.values)
        return init_settings, env_settings, InitSettingsSource(settings_cls, values)
