"""Devices that watch themselves and may kill themselves, each in its own process.

Reads tasks, JSON line by line, and answers each with a line. A task has url, key, home, user,
clips, captions, shape, drafter, and ``doubtful``: for each caption in turn the position from which
on blocks escalate, or null. It may have ``kill``: the step at which the device dies; it then
answers null. Otherwise it answers with the captions' texts and reasons for being unverified, the
addresses it connected to, the actions it was stopped from, and its steps.

A *step* is whatever leaves a trace on a disk or a wire: a statement to SQLite, a file opened for
writing, made, renamed or removed, the anchor's mark, and each write to a socket, which may also be
cut in the middle. Each is counted before it happens, so that dying at a step is dying after the one
before. Devices are forked from one process that has imported everything, so that a hundred deaths
take seconds.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ugsd_privacy.ledger.anchor import Anchor
from ugsd_privacy.protocol.messages import Disclosure
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.decoding.policy import BlockView, BudgetView, Escalate, KeepLocal
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.settings.config import Settings, VerifierSettings

_LOADED_LATE = (
    "cryptography.hazmat.backends.openssl.backend",
    "encodings.idna",
    "numpy.fft",
    "numpy.ma",
    "numpy.random",
    "onnxruntime",
    "ugsd_sdk.speech.voice_activity",
)
"""What captioning imports when it is used, which a forked device would do anew each time."""
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
    """An audit hook that stops, and records, whatever captioning must not use."""

    def __init__(self, address: tuple[str, int], home: Path) -> None:
        self._address = address
        self._home = home
        self.connected: list[Any] = []
        self.stopped: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._allows(event, arguments):
            self.stopped.append(event)
            raise PermissionError(f"captioning must not use {event}")
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
            return not flags & _WRITES or self._is_in_home(path)
        return all(map(self._is_in_home, arguments[: _CHANGES.get(event, 0)]))

    def _is_in_home(self, path: object) -> bool:
        if isinstance(path, int):  # a descriptor, whose opening was judged
            return True
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        place = Path(os.path.realpath(os.fsdecode(path)))
        return place == self._home or self._home in place.parents


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, kill: int | None) -> None:
        self.names: list[str] = []
        self._kill = kill

    def __call__(self, name: str) -> bool:
        """Return whether this is the last step; a caller that can do half of it does so, then
        dies."""
        self.names.append(name)
        return len(self.names) - 1 == self._kill

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def or_die(self, name: str) -> None:
        if self(name):
            self.die()

    def watch(self) -> None:
        """Start counting."""
        steps = self

        class Watched(sqlite3.Connection):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                if not statement.startswith(("SELECT", "PRAGMA")):
                    steps.or_die(f"sql {' '.join(statement.split()[:3])}")
                return super().execute(statement, *values)

            def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
                steps.or_die(f"sql {' '.join(statement.split()[:3])}")
                return super().executemany(statement, *values)

        sqlite3.connect = functools.partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]
        mark, send_now = Anchor.write, socket.socket.send

        def write(anchor: Anchor, *values: Any, **named: Any) -> None:
            steps.or_die("anchor")
            mark(anchor, *values, **named)

        def send(peer: socket.socket, data: bytes, *flags: int) -> int:
            if peer.family == socket.AF_UNIX:  # wakes a thread of ours, and leaves nothing
                return send_now(peer, data, *flags)
            steps.or_die("send")
            if steps("half a send"):
                send_now(peer, bytes(data)[: len(data) // 2])
                steps.die()
            return send_now(peer, data, *flags)

        Anchor.write, socket.socket.send = write, send  # type: ignore[method-assign, assignment]
        sys.addaudithook(self._on_event)

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & _WRITES:
            self.or_die(f"open {os.path.basename(str(arguments[0]))}")  # noqa: PTH119
        elif event in _CHANGES and event != "sqlite3.connect":
            self.or_die(f"{event} {os.path.basename(str(arguments[0]))}")  # noqa: PTH119


def attempt_forbidden_actions(elsewhere: Path) -> None:
    """Attempt forbidden actions, so that a test sees that the guard works."""
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


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run one device."""
    levels = [level for level in Disclosure if level is not Disclosure.DISTRIBUTIONS]
    ladder, doubtful = itertools.cycle(levels), itertools.cycle(task["doubtful"])
    doubted_from: int | None = None

    def policy(block: BlockView, budget: BudgetView) -> KeepLocal | Escalate:
        nonlocal doubted_from
        if block.start == 0:
            doubted_from = next(doubtful)
        if doubted_from is None or block.start < doubted_from:
            return KeepLocal()
        return Escalate(next(ladder))

    address = urlsplit(task["url"])
    home = Path(task["home"])
    guard = Guard((address.hostname or "", address.port or 0), home)
    steps = Steps(task["kill"])
    captioner = Captioner(
        task["drafter"] or ScriptedDrafter(seed=3, vocabulary_size=400),
        verifier=task["url"],
        verifier_key=task["key"],
        home=home,
        user=task["user"],
        policy=policy,
        config=Settings(
            verifier=VerifierSettings(deadline_s=10, caption_deadline_s=20),
            traffic_shape=task["shape"],
        ),
    )
    if task["drafter"]:
        captioner.load()  # its libraries open files that captioning must not
    steps.watch()
    sys.addaudithook(guard)
    with captioner:
        captioner.wait_until_connected(10)
        clips = itertools.cycle(task["clips"])
        captions = [captioner.caption(next(clips)) for _ in range(task["captions"])]
    stopped = list(guard.stopped)
    attempt_forbidden_actions(home.parent)
    return {
        "unverified_reason": [c.unverified_reason and c.unverified_reason.code for c in captions],
        "texts": [caption.text for caption in captions],
        "connected": guard.connected,
        "stopped": stopped,
        "stopped_on_purpose": guard.stopped[len(stopped) :],
        "steps": steps.names,
    }


def main() -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in _LOADED_LATE:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                answer = json.dumps(run(json.loads(line)))
                os.write(1, f"{answer}\n".encode())
            except BaseException as error:
                print(f"the device failed: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            os.write(1, b"null\n")
        elif status:
            os.write(1, b'"failed"\n')


if __name__ == "__main__":
    main()
