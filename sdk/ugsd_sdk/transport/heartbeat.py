"""The pings of one connection: when they are sent, and what their answers say.

A ping is sent when the connection opens and every :data:`PING_INTERVAL_S` from then on, whatever
else happens: its time and size depend on nothing but the time at which the connection opened. So an
observer learns nothing from pings about captions and questions. The payload is the ping's number in
the connection, in four bytes, since a pong repeats it.

Time is that of :func:`~ugsd_sdk.concurrency.uptime.uptime_s`, given by the caller. A connection is
lost if a ping has no answer for :data:`LOST_AFTER_S`, or if no ping could be sent for so long: then
the machine was asleep, and the peer may have gone without a sign.
"""

from __future__ import annotations

from ugsd_sdk.concurrency.smoothed_time import SmoothedTime

__all__ = ["LOST_AFTER_S", "PING_BYTES", "PING_INTERVAL_S", "Heartbeat"]

PING_INTERVAL_S = 5.0
LOST_AFTER_S = 10.0
"""How long a ping may be unanswered, in seconds, before the connection is given up."""
PING_BYTES = 4
"""Bytes of a ping's payload."""
_LEAST_LATE_S = 1.0
"""A pong is not late before this many seconds, however short the round trips were: a busy machine
or a mobile network may pause for less."""


class Heartbeat:
    """Pure: the caller sends the pings and reports the pongs."""

    def __init__(self, now_s: float) -> None:
        self.round_trip: SmoothedTime | None = None
        """The estimate from all pongs so far."""
        self._due_s = now_s
        self._number = 0
        self._unanswered: dict[bytes, float] = {}
        """When each unanswered ping was sent, in order."""

    @property
    def wakes_s(self) -> float:
        """When the caller has to look again."""
        oldest_s = next(iter(self._unanswered.values()), self._due_s)
        return min(self._due_s, oldest_s + LOST_AFTER_S)

    def ping(self, now_s: float) -> bytes | None:
        """Return the payload of the ping that is to be sent now, or ``None``."""
        if now_s < self._due_s:
            return None
        self._due_s += PING_INTERVAL_S
        if self._due_s <= now_s:
            self._due_s = now_s + PING_INTERVAL_S
        payload = self._number.to_bytes(PING_BYTES, "big")
        self._number = (self._number + 1) % 256**PING_BYTES
        self._unanswered[payload] = now_s
        return payload

    def pong(self, payload: bytes, now_s: float) -> None:
        """Record a pong. It answers earlier pings too (RFC 6455 §5.5.3); one that answers no ping
        is ignored."""
        sent_s = self._unanswered.get(payload)
        if sent_s is None:
            return
        while payload in self._unanswered:
            del self._unanswered[next(iter(self._unanswered))]
        sample_s = max(now_s - sent_s, 0.0)
        known = self.round_trip
        self.round_trip = SmoothedTime.first(sample_s) if known is None else known.after(sample_s)

    def is_late(self, now_s: float) -> bool:
        """Whether a pong is overdue, so that an answer to a question would be, too."""
        late_s = 0.0 if self.round_trip is None else self.round_trip.late_s
        return self._silent_s(now_s) > max(late_s, _LEAST_LATE_S)

    def is_lost(self, now_s: float) -> bool:
        """Whether the connection has to be given up."""
        return max(self._silent_s(now_s), now_s - self._due_s) > LOST_AFTER_S

    def _silent_s(self, now_s: float) -> float:
        return now_s - next(iter(self._unanswered.values()), now_s)
