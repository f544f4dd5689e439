"""A device in a process of its own that watches itself and may kill itself. Run by a test.

Its argument is JSON: url, key, home, user, clip, captions, shape, and ``doubtful``: for each
caption in turn the position from which on blocks escalate, or null. And perhaps ``kill``: at which
point (``before_commit``, ``before_send``, ``after_send``) of which passage (1 is the hello). It
prints JSON: the captions' reasons for degradation, whom it connected to, and what it was stopped
from.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ugsd_privacy.ledger import Passage
from ugsd_privacy.wire import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.config import Settings, VerifierSettings
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.policy import BlockView, BudgetView, Commit, Escalate
from ugsd_sdk.transport.websocket import WebSocketTransport

_PROCESSES = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {  # event: which of its arguments are paths
    "os.chmod": 1,
    "os.chown": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "sqlite3.connect": 1,
}


class Guard:
    """An audit hook that stops, and remembers, whatever captioning has no business with."""

    def __init__(self, address: tuple[str, int], home: Path) -> None:
        self._address = address
        self._home = home
        self.connected: list[Any] = []
        self.stopped: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._allows(event, arguments):
            self.stopped.append(event)
            raise PermissionError(f"captioning has no business with {event}")
        if event == "socket.connect":
            self.connected.append(arguments[1])

    def _allows(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "socket.connect":
            return bool(arguments[1] == self._address)
        if event == "socket.getaddrinfo":
            return bool(arguments[0] == self._address[0])
        if event.startswith("socket."):
            return event == "socket.__new__"
        if event.startswith(_PROCESSES):
            return False
        if event == "open":
            path, _, flags = arguments
            return not flags & _WRITES or self._is_at_home(path)
        return all(map(self._is_at_home, arguments[: _CHANGES.get(event, 0)]))

    def _is_at_home(self, path: object) -> bool:
        if isinstance(path, int):  # a descriptor, whose opening was judged
            return True
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        place = Path(os.path.realpath(os.fsdecode(path)))
        return place == self._home or self._home in place.parents


def kill_at(point: str, passage: int) -> None:
    """Have this process die at ``point`` of its ``passage``-th passage through the door."""
    owner, name = (Passage, "record") if point == "before_commit" else (WebSocketTransport, "send")
    real: Callable[..., object] = getattr(owner, name)
    count = itertools.count(1)

    def fatal(*arguments: object, **named: object) -> object:
        due = next(count) == passage
        if due and point == "before_send":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **named)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


def try_what_is_forbidden(elsewhere: Path) -> None:
    """So that a test sees that the guard stands."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attempts: list[Callable[[], object]] = [
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        lambda: udp.sendto(b"", ("127.0.0.1", 9)),
        lambda: subprocess.run([sys.executable, "-V"], check=False),
        lambda: (elsewhere / "leak").write_bytes(b"voice"),
        (elsewhere / "leaks").mkdir,
    ]
    for attempt in attempts:
        try:
            attempt()
        except PermissionError:
            continue
    udp.close()


def main() -> None:
    task = json.loads(sys.argv[1])
    if task["kill"]:
        kill_at(*task["kill"])
    ladder, doubtful = itertools.cycle(Disclosure), itertools.cycle(task["doubtful"])
    doubted_from: int | None = None

    def policy(block: BlockView, budget: BudgetView) -> Commit | Escalate:
        nonlocal doubted_from
        if block.start == 0:
            doubted_from = next(doubtful)
        if doubted_from is None or block.start < doubted_from:
            return Commit()
        return Escalate(next(ladder))

    host, port = task["url"].removeprefix("ws://").split(":")
    home = Path(task["home"])
    guard = Guard((host, int(port)), home)
    captioner = Captioner(
        ScriptedDrafter(seed=3, vocabulary_size=400),
        verifier=task["url"],
        verifier_key=task["key"],
        home=home,
        user=task["user"],
        policy=policy,
        config=Settings.of(
            verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20),
            shape=task["shape"],
        ),
    )
    sys.addaudithook(guard)
    with captioner:
        captioner.connect(10)
        degraded = [captioner.caption(task["clip"]).degraded for _ in range(task["captions"])]
    stopped = list(guard.stopped)
    try_what_is_forbidden(home.parent)
    print(
        json.dumps(
            {
                "degraded": degraded,
                "connected": guard.connected,
                "stopped": stopped,
                "stopped_on_purpose": guard.stopped[len(stopped) :],
            }
        )
    )


if __name__ == "__main__":
    main()
