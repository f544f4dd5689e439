"""Acts of a device's owner on its log: resetting budgets and erasing records of what was sent.

Neither sends anything. Each act is one plain record of the log, so that the log can be verified
without the owner's key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ugsd_privacy.audit.bodies import plain_body
from ugsd_privacy.audit.recording import record_of
from ugsd_privacy.audit.records import MAX_RANGES, SALT_BYTES, Leaf, Resettable
from ugsd_privacy.budget import DELTA
from ugsd_privacy.ledger import EgressTransaction, Ledger, Uptime, system_uptime
from ugsd_privacy.user_names import require_normal_user

__all__ = ["OwnerActs"]

_SECONDS_PER_HOUR = 3600


class OwnerActs:
    """The owner's acts on an open ``ledger``, recorded as ``user``'s.

    ``clip_norm`` and ``delta`` are those of the user's egress and are part of each record.
    ``clock`` returns Unix time in seconds, ``uptime`` how long the machine has been running, and
    ``entropy(n)`` n random bytes for salts.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        user: str = "",
        clip_norm: float = 1.0,
        delta: float = DELTA,
        clock: Callable[[], float] = time.time,
        uptime: Callable[[], Uptime | None] = system_uptime,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if user:
            require_normal_user(user)
        self._ledger = ledger
        self._user = user
        self._clip_norm = clip_norm
        self._delta = delta
        self._clock = clock
        self._uptime = uptime
        self._entropy = entropy

    def reset(self, windows: Sequence[Resettable]) -> int:
        """Reset windows of the user's budget; return the index of the leaf that records it.

        Raises :class:`LedgerUnavailable` or :class:`LedgerCorrupt`; then nothing was reset.
        """
        now_s, salt = self._clock(), self._entropy(SALT_BYTES)
        with self._transaction(now_s) as transaction:
            self._record(transaction, {"kind": "reset", "resets": tuple(windows)}, now_s, salt)
        return transaction.index

    def erase(
        self,
        *,
        before_s: float | None = None,
        user: str | None = None,
        caption: bytes | None = None,
    ) -> tuple[int, int]:
        """Erase record bodies, and delete the journal of why blocks were kept or sent.

        Erases what was charged to hours that ended by ``before_s``, to ``user`` and for
        ``caption``; each is optional. Returns how many bodies were erased, and the index of the
        leaf that records it, -1 if there were none. Charges and leaves are unchanged. Raises
        :class:`LedgerUnavailable` or :class:`LedgerCorrupt`: then no body was erased, or the error
        says that old bytes may still be in the files.
        """
        before_hour = None if before_s is None else int(before_s // _SECONDS_PER_HOUR)
        with self._ledger.as_owner() as owner:
            until_s = None if before_hour is None else before_hour * _SECONDS_PER_HOUR
            owner.delete_from_journal(before_s=until_s, user=user, caption=caption)
        chosen = {"before_hour": before_hour, "user": user, "caption": caption}
        count, leaf, has_more = self._erase_batch(**chosen)
        while has_more:  # not until none remain: another process may append forever
            more, leaf, has_more = self._erase_batch(**chosen)
            count += more
        self._ledger.truncate_write_ahead_log()  # also for an earlier one that a reader prevented
        return count, leaf

    def _erase_batch(self, **chosen: Any) -> tuple[int, int, bool]:
        """Erase as many bodies as one record can list. Return how many, the record's index, and
        whether there are more."""
        now_s, salt, leaf = self._clock(), self._entropy(SALT_BYTES), -1
        with self._transaction(now_s) as transaction:
            found = _ranges(transaction.sealed_leaves(**chosen))
            ranges = found[:MAX_RANGES]
            leaves = [number for start, stop in ranges for number in range(start, stop)]
            if leaves:
                transaction.erase(leaves)
                self._record(transaction, {"kind": "erase", "erased": ranges}, now_s, salt)
                leaf = transaction.index
        return len(leaves), leaf, len(found) > len(ranges)

    @contextmanager
    def _transaction(self, now_s: float) -> Iterator[EgressTransaction]:
        with self._ledger.begin_egress(
            user=self._user, caption=None, now_s=now_s, uptime=self._uptime()
        ) as transaction:
            yield transaction

    def _record(
        self, transaction: EgressTransaction, fields: Mapping[str, Any], now_s: float, salt: bytes
    ) -> None:
        record = record_of(
            transaction,
            fields,
            user=self._user,
            clip_norm=self._clip_norm,
            delta=self._delta,
            now_s=now_s,
        )
        body, charge = record.to_bytes(), record.charge
        content = Leaf.from_body(body, charge, salt).to_bytes()
        sealed = plain_body(salt, body)
        transaction.record(charge, content=content, sealed=sealed, resets=record.resets)


def _ranges(leaves: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Group ascending numbers into half-open ranges."""
    starts = [i for i, leaf in enumerate(leaves) if not i or leaves[i - 1] != leaf - 1]
    ends = [*starts[1:], len(leaves)][: len(starts)]
    return tuple(
        (leaves[start], leaves[end - 1] + 1) for start, end in zip(starts, ends, strict=True)
    )
