"""Every error that the verifier service raises.

::

    ServerError
    ├── ModelError
    │   ├── ModelMissing      no model folder, or a file of it is not there
    │   ├── ModelDamaged      a file that is not what its description says
    │   └── ModelFailed       the model ran and gave no usable scores
    ├── BlockRefused          a well-formed block that cannot be verified; ``.code`` says why
    ├── ListenFailed          the address or port cannot be listened on
    └── SessionMisuse         the session's owner called its methods out of turn
"""

from __future__ import annotations

from ugsd_privacy.protocol.messages import RefusalCode

__all__ = [
    "BlockRefused",
    "ListenFailed",
    "ModelDamaged",
    "ModelError",
    "ModelFailed",
    "ModelMissing",
    "ServerError",
    "SessionMisuse",
]


class ServerError(Exception):
    """Base of the package's errors."""


class ModelError(ServerError):
    """Base of the errors about a verifier's model."""


class ModelMissing(ModelError):
    """There is no model folder, or a file of it is not there."""


class ModelDamaged(ModelError):
    """A file of the model is not what its description says."""


class ModelFailed(ModelError):
    """The model ran and gave no usable scores."""


class BlockRefused(ServerError):
    """A well-formed block that cannot be verified."""

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(code.value)
        self.code = code


class ListenFailed(ServerError):
    """The address or port cannot be listened on."""


class SessionMisuse(ServerError):
    """The session's owner called its methods out of turn."""
