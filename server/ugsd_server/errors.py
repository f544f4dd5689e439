"""Every error that the verifier service raises.

::

    UgsdError            of every package, in ``ugsd_privacy.errors``
    └── ServerError
        ├── ConfigError           a setting of the service is missing, unknown or out of range
        ├── ModelError
        │   ├── ModelMissing      the model folder or one of its files is missing
        │   ├── ModelDamaged      a file of the model does not match its description
        │   └── ModelFailed       the model returned no usable scores
        ├── BlockRefused          a well-formed block that cannot be verified; ``.code`` says why
        ├── ListenFailed          the server cannot listen on the address or port
        └── SessionMisuse         the caller called the session's methods in the wrong order
"""

from __future__ import annotations

from ugsd_privacy.errors import UgsdError
from ugsd_privacy.protocol.messages import RefusalCode

__all__ = [
    "BlockRefused",
    "ConfigError",
    "ListenFailed",
    "ModelDamaged",
    "ModelError",
    "ModelFailed",
    "ModelMissing",
    "ServerError",
    "SessionMisuse",
]


class ServerError(UgsdError):
    """Base of the package's errors."""


class ConfigError(ServerError):
    """A setting of the service is missing, unknown or out of range."""


class ModelError(ServerError):
    """Base of the errors about a verifier's model."""


class ModelMissing(ModelError):
    """The model folder or one of its files is missing."""


class ModelDamaged(ModelError):
    """A file of the model does not match its description."""


class ModelFailed(ModelError):
    """The model returned no usable scores."""


class BlockRefused(ServerError):
    """A well-formed block that cannot be verified."""

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(code.value)
        self.code = code


class ListenFailed(ServerError):
    """The server cannot listen on the address or port."""


class SessionMisuse(ServerError):
    """The caller called the session's methods in the wrong order."""
