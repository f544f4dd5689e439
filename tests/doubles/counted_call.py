"""A call that ends at its n-th check: every point where a caption can be cancelled, one by one."""

from __future__ import annotations

from collections.abc import Callable

from ugsd_sdk.calls.call import Call
from ugsd_sdk.errors import CallEnded, CaptionCancelled

__all__ = ["CountedCall"]


class CountedCall(Call):
    """Ends itself at check number ``ends_at``, counted from 1; never for ``None``."""

    def __init__(
        self, ends_at: int | None, error: Callable[[], CallEnded] = CaptionCancelled
    ) -> None:
        super().__init__()
        self.num_checks = 0
        self._ends_at = ends_at
        self._error = error

    def check(self) -> None:
        self.num_checks += 1
        if self.num_checks == self._ends_at:
            assert self.cancel(self._error)
        super().check()
