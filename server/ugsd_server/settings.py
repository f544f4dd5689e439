"""Settings of a verifier service: arguments, then ``UGSD_SERVER_*`` variables, then defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS

from ugsd_server.session import SessionLimits
from ugsd_server.verifier.acceptance import Acceptance, Continuation, Greedy, Rank, Typical

__all__ = ["STARTER_FOLDER", "Settings"]

STARTER_FOLDER = Path(__file__).parent / "starter"
"""The packaged verifier."""

_Probability = Annotated[float, Field(ge=0, le=1)]
_Threshold = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Settings of one server process."""

    model_config = SettingsConfigDict(env_prefix="UGSD_SERVER_", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    """0 lets the system choose."""
    key_file: Path
    """The current private key. Earlier ones lie beside it, see :mod:`ugsd_server.keyring`; all are
    looked up again at each handshake."""
    create_key: bool = False
    """Create ``key_file`` where it is missing."""

    model: Path = STARTER_FOLDER
    """Folder with ``model.json`` and ``verifier.onnx``."""
    threads: _Count = 1
    """Threads of one forward pass."""
    cache_mib: _Count = 256
    """Ceiling for the model's caches of all captions together."""

    acceptance: Literal["typical", "greedy", "rank"] = "typical"
    typical_epsilon: _Threshold = 0.3
    typical_delta: _Threshold = 0.5
    rank: _Count = 20
    max_continuation: Annotated[int, Field(ge=0, le=MAX_CAPTION_TOKENS)] = 64
    """Tokens that may follow a correction, or a block that passed."""
    after_acceptance: bool = True
    """Whether any follow a block that passed; only where a state was disclosed."""
    continue_above: _Probability = 0.0
    """The continuation ends where the verifier's first choice is less likely than this."""

    max_connections: _Count = 256
    max_captions: _Count = 8
    """Captions held per connection."""
    max_pending: _Count = 64
    """Blocks waiting for the model, the running one included; more are refused as overloaded."""
    handshake_timeout_s: _Seconds = 10
    idle_timeout_s: _Seconds = 300
    send_timeout_s: _Seconds = 10
    reply_after_ms: Annotated[float, Field(ge=0, le=10_000)] = 0
    """Answers to frames of the constant size, whatever they are, leave at the first multiple of
    this after receipt at which they are ready; 0 sends them at once. For devices in constant shape
    take more than nearly every block needs, its wait for the model included: begin with 400, and
    take more where ``late_answers`` are not rare."""
    ping_interval_s: _Seconds = 20
    ping_timeout_s: _Seconds = 20
    drain_timeout_s: _Seconds = 10
    """How long a stopping server waits for the blocks in hand."""

    def acceptance_rule(self) -> Acceptance:
        """Return the rule that ``acceptance`` names."""
        match self.acceptance:
            case "typical":
                return Typical(epsilon=self.typical_epsilon, delta=self.typical_delta)
            case "greedy":
                return Greedy()
            case "rank":
                return Rank(rank=self.rank)

    def continuation(self) -> Continuation:
        """Return the rule for continuations."""
        return Continuation(self.max_continuation, self.continue_above, self.after_acceptance)

    def session_limits(self) -> SessionLimits:
        """Return the limits of one connection."""
        return SessionLimits(max_captions=self.max_captions)
