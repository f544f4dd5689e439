"""Settings of a verifier service, from arguments and, where they are loaded, the environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from ugsd_privacy.output.near_names import near_name
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.usage_faults import plain_fault
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS

from ugsd_server.errors import ConfigError
from ugsd_server.session import SessionLimits
from ugsd_server.verifier.acceptance import Acceptance, ContinuationRule, Greedy, Typical

__all__ = ["STARTER_FOLDER", "Settings"]

STARTER_FOLDER = Path(__file__).parent / "starter"
"""The packaged verifier."""

_PREFIX = "UGSD_SERVER_"
_OPTIONS = {"create_key", "host", "key_file", "model", "port", "threads"}
"""Settings that are options of the command as well."""
_logger = logging.getLogger(__name__)

_Probability = Annotated[float, Field(ge=0, le=1)]
_Threshold = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Settings of one server process. ``Settings(...)`` uses only its arguments; :meth:`load` reads
    the environment too, such as ``UGSD_SERVER_PORT`` for ``port``."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)
    _reads_environment: ClassVar[bool] = False

    host: str = "127.0.0.1"
    """Address or host name on which the server listens."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    """TCP port on which the server listens, 0 to 65535; with 0 the system chooses one."""
    key_file: Path
    """File of the current private key. Earlier keys are stored beside it, see
    :mod:`ugsd_server.keyring`; all of them are read again at each handshake."""
    create_key: bool = False
    """Whether ``key_file`` is created if it does not exist."""

    model: Path = STARTER_FOLDER
    """Folder with ``model.json`` and ``verifier.onnx``."""
    threads: _Count = 1
    """Number of threads of one forward pass, at least 1."""
    cache_mib: _Count = 256
    """Most memory in MiB, at least 1, for the model's caches of all captions together."""

    acceptance: Literal["typical", "greedy"] = "typical"
    """Rule by which a drafted token is accepted. ``typical``: its probability reaches a threshold
    that falls with the entropy of the verifier's distribution, so that synonyms pass. ``greedy``:
    it is the verifier's first choice."""
    question_acceptance: Literal["typical", "greedy"] = "greedy"
    """The same for the value of a slot that a device asks about, such as an emotion."""
    typical_epsilon: _Threshold = 0.3
    """With ``typical`` acceptance: the probability, above 0 and up to 1, that is always
    sufficient."""
    typical_delta: _Threshold = 0.5
    """With ``typical`` acceptance: the factor, above 0 and up to 1, of the threshold that
    falls with the entropy. A token's probability must reach
    ``min(epsilon, delta * exp(-entropy))``."""
    max_continuation: Annotated[int, Field(ge=0, le=MAX_CAPTION_TOKENS)] = 64
    """Most tokens that the verifier writes after a correction or an accepted block, if the device
    asks for it; 0 writes none."""
    after_acceptance: bool = True
    """Whether the verifier also continues after an accepted block; it does so only if a state was
    disclosed."""
    continue_above: _Probability = 0.0
    """Probability, 0 to 1, of the verifier's first choice below which a continuation ends."""

    max_connections: _Count = 256
    """Most connections that are open at the same time, at least 1."""
    max_captions: _Count = 8
    """Most captions that the server holds for one connection, at least 1."""
    max_pending: _Count = 64
    """Most blocks that wait for the model, at least 1, including the running one; further blocks
    are refused as overloaded."""
    handshake_timeout_s: _Seconds = 10
    """Longest wait for a connection's handshake in seconds, above 0."""
    idle_timeout_s: _Seconds = 300
    """Time without a frame in seconds, above 0, after which a connection is closed."""
    send_timeout_s: _Seconds = 10
    """Longest wait in seconds, above 0, until the device has taken an answer."""
    reply_after_ms: Annotated[float, Field(ge=0, le=10_000)] = 0
    """Pace in milliseconds, 0 to 10000, of answers to frames of the constant size: each is sent at
    the first multiple of this after its receipt at which it is ready; 0 sends them at once. For
    devices in constant shape choose more than nearly every block needs, including its wait for the
    model: begin with 400, and raise it if ``late_answers`` are not rare."""
    ping_interval_s: _Seconds = 20
    """Time between two pings of a connection in seconds, above 0."""
    ping_timeout_s: _Seconds = 20
    """Longest wait for the answer to a ping in seconds, above 0; then the connection is closed."""
    drain_timeout_s: _Seconds = 10
    """Longest time in seconds, above 0, for which a stopping server waits for pending blocks."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: object) -> object:
        """Refuse empty text: as a path it would be the current folder."""
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("empty", "is empty: give a value, or leave it out")
        return value

    def __init__(self, **arguments: Any) -> None:
        """Create settings from ``arguments`` only. Raises :class:`ConfigError` as :meth:`load`
        does."""
        try:
            super().__init__(**arguments)
        except ValidationError as error:
            raise ConfigError(_fault(error)) from None

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Load settings from ``arguments``, which win, and the environment.

        Raises :class:`ConfigError`, also for a variable whose name is a misspelling of a
        setting's. Other variables are ignored.
        """
        _check_variables()

        class WithEnvironment(cls):  # type: ignore[valid-type,misc]
            _reads_environment = True

        loaded = WithEnvironment(**arguments)
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
        """Use only the arguments as a source; :meth:`load` adds the environment."""
        return (init_settings, env_settings) if cls._reads_environment else (init_settings,)

    def acceptance_rule(self, name: Literal["typical", "greedy"]) -> Acceptance:
        """Return the rule of this name."""
        match name:
            case "typical":
                return Typical(epsilon=self.typical_epsilon, delta=self.typical_delta)
            case "greedy":
                return Greedy()

    def continuation(self) -> ContinuationRule:
        """Return how far the verifier continues after a correction or an accepted block."""
        return ContinuationRule(self.max_continuation, self.continue_above, self.after_acceptance)

    def session_limits(self) -> SessionLimits:
        """Return the limits of one connection."""
        return SessionLimits(max_captions=self.max_captions)


def _check_variables() -> None:
    """Raise :class:`ConfigError` for a variable that is a misspelt setting."""
    fields = [name.upper() for name in Settings.model_fields]
    for variable in sorted(os.environ):
        name = variable.upper()
        setting = name.removeprefix(_PREFIX)
        if not name.startswith("UGSD_") or setting in fields:
            continue
        if name.startswith(_PREFIX):
            near = near_name(setting, fields)
        else:
            near = near_name(name, [f"{_PREFIX}{field}" for field in fields])
        if near is not None:
            raise ConfigError(
                f"environment variable {variable}: no such setting: did you mean "
                f"{_PREFIX}{near.removeprefix(_PREFIX)}? Correct the name, or unset it"
            )
        if name.startswith(_PREFIX):
            _logger.info("%s is no setting of ugsd-server: ignored", plain_line(variable))


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    option, variable = f"--{name.replace('_', '-')}", f"{_PREFIX}{name.upper()}"
    setting = f"{option} (or {variable})" if name in _OPTIONS else f"{name} ({variable})"
    if first["type"] == "missing":
        return f"{setting} is required; create a key with `ugsd-server keygen --key-file FILE`"
    if first["type"] == "extra_forbidden":
        return f"{name}: no such setting"
    if str(first["input"]).startswith("tcp://"):
        return (
            f"{variable} is set by Kubernetes for a service of this name: give {option}, or set "
            "enableServiceLinks: false"
        )
    return f"{setting}: {plain_fault(first['msg'])}"
