"""Keys, a ledger, an egress and the verifier behind it, for the privacy tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from ugsd_privacy.audit.bodies import BodyReader
from ugsd_privacy.audit.checkpoints import Checkpoints
from ugsd_privacy.audit.owner_acts import OwnerActs
from ugsd_privacy.audit.receipts import Receipt
from ugsd_privacy.audit.records import EgressRecord
from ugsd_privacy.audit.verify import LogSummary, verify_log
from ugsd_privacy.budget import BudgetLimits, Usage
from ugsd_privacy.egress import CaptionHandle, Egress, Escalation
from ugsd_privacy.keys.log import LogKey
from ugsd_privacy.keys.owner import OwnerKey
from ugsd_privacy.keys.verifier import VerifierKey
from ugsd_privacy.ledger import Ledger, Uptime, UserBudget
from ugsd_privacy.protocol.channel import ClientChannel, ServerChannel
from ugsd_privacy.protocol.messages import Disclosure

settings.register_profile("privacy", deadline=None)  # a busy machine must not fail a test
settings.load_profile("privacy")

OWNER = OwnerKey.generate()
NOON_S = 20_000 * 86_400 + 43_200.0


class DeviceEgress(Egress):
    """An egress, with everything else that a device does with the same log and budget."""

    def __init__(self, *, log_key: LogKey, **given: Any) -> None:
        super().__init__(**given)
        limits = given["limits"]
        clocks = {name: given[name] for name in ("ledger", "user", "clock", "uptime")}
        acts = {name: given[name] for name in ("clip_norm", "entropy") if name in given}
        budget = UserBudget(limits=limits, **clocks)
        checkpoints = Checkpoints(ledger=given["ledger"], log_key=log_key)
        self.acts = OwnerActs(delta=limits.delta, **clocks, **acts)
        self.reset, self.erase = self.acts.reset, self.acts.erase
        self.limits, self.used, self.standing = budget.limits, budget.used, budget.standing
        self.checkpoint = checkpoints.checkpoint
        self._budget, self._checkpoints = budget, checkpoints

    def usage(self, caption: CaptionHandle, **given: Any) -> Usage:
        return self._budget.usage(caption.id, **given)

    def remaining(self, caption: CaptionHandle | None, **given: Any) -> Mapping[str, float]:
        return self._budget.remaining(None if caption is None else caption.id, **given)

    def receipts(self, caption: CaptionHandle, **given: Any) -> list[Receipt]:
        return self._checkpoints.receipts(caption.id, **given)


class World:
    """A device with an open ledger, and the verifier that it talks to."""

    def __init__(self, directory: Path, verifier: VerifierKey, log_key: LogKey) -> None:
        self.now_s = NOON_S
        self.uptime: Uptime | None = None
        self.verifier = verifier
        self.log_key = log_key
        self.owner = OWNER
        self.ledger = Ledger(directory, busy_timeout_s=0.2)
        self.channel = ClientChannel(verifier.public)
        self.server = ServerChannel(verifier)

    def egress(self, **changes: object) -> DeviceEgress:
        given = {
            "user": "",
            "owner": self.owner.public,
            "limits": BudgetLimits(),
            "clock": lambda: self.now_s,
            "uptime": lambda: self.uptime,
        } | changes
        return DeviceEgress(ledger=self.ledger, log_key=self.log_key, **given)

    def record(self, index: int) -> EgressRecord:
        """Return a record as the owner reads it."""
        with self.ledger.reading() as view:
            record = BodyReader(view, self.owner).record(list(view.rows())[index])
        assert isinstance(record, EgressRecord)
        return record

    def verified(self) -> LogSummary:
        """Verify as the owner, who can read everything."""
        return verify_log(self.ledger, self.log_key.public, owner=self.owner)

    def connect(self, egress: Egress) -> CaptionHandle:
        self.channel, self.server = (
            ClientChannel(self.verifier.public),
            ServerChannel(self.verifier),
        )
        hello = egress.seal_hello(self.channel)
        self.channel.receive_hello(self.server.receive_hello(hello.data, b"welcome"))
        return egress.begin_caption(self.channel)

    @staticmethod
    def escalation(tokens: int = 5, *, start: int = 0, dim: int = 16) -> Escalation:
        states = np.random.default_rng(tokens).normal(size=(tokens, dim)).astype(np.float32)
        return Escalation(
            disclosure=Disclosure.BLOCK_STATES,
            keep=start,
            prefix=(),
            tokens=tuple(range(7, 7 + tokens)),
            state_positions=tuple(range(start, start + tokens)),
            states=states,
        )


@pytest.fixture(scope="session")
def verifier_key() -> VerifierKey:
    return VerifierKey.generate()


@pytest.fixture(scope="session")
def log_key() -> LogKey:
    return LogKey.generate()


@pytest.fixture(scope="session")
def new_world(verifier_key: VerifierKey, log_key: LogKey) -> Callable[[Path], World]:
    return lambda directory: World(directory, verifier_key, log_key)


@pytest.fixture
def world(tmp_path: Path, new_world: Callable[[Path], World]) -> Iterator[World]:
    world = new_world(tmp_path / "ledger")
    with world.ledger:
        yield world
