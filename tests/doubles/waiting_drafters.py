"""Drafters that wait for others or until they are told to go on."""

from __future__ import annotations

import threading
from typing import Any

from ugsd_sdk.calls.call import current_call
from ugsd_sdk.drafter.scripted import ScriptedDrafter

__all__ = ["HeldDrafter", "LoadingDrafter", "MeetingDrafter"]

_WAIT_S = 30.0


class MeetingDrafter(ScriptedDrafter):
    """Encodes only while ``count`` threads do."""

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__(**options)
        self._all = threading.Barrier(count, timeout=10)

    def encode(self, *arguments: Any) -> Any:
        self._all.wait()
        return super().encode(*arguments)


class HeldDrafter(ScriptedDrafter):
    """Encodes until it is told to go on, and looks whether its call has ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.within, self.go_on = threading.Event(), threading.Event()
        self.errors: list[BaseException] = []

    def encode(self, *arguments: Any) -> Any:
        self.within.set()
        try:
            any(map(self.go_on.wait, current_call().slices(_WAIT_S)))
        except BaseException as error:
            self.errors.append(error)
            raise
        return super().encode(*arguments)


class LoadingDrafter(ScriptedDrafter):
    """Loads until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.go_on = threading.Event(), threading.Event()

    def load(self) -> None:
        self.within.set()
        self.go_on.wait(_WAIT_S)
