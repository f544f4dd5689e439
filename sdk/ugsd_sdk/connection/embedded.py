"""The bundled verifier as a child process on this machine: for trying out, tests and laptops.

The child listens on loopback only, keeps its key under the home folder, and ends with us: it stops
when its standard input closes, which the system does even where this process is killed. What it
does is said by its arguments alone: none of our environment reaches it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import IO, Any

from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.errors import KeyFileError
from ugsd_privacy.files.file_owners import make_private_folder
from ugsd_privacy.forks import call_in_children
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.connection.child_process import child_environment, module_command
from ugsd_sdk.errors import ConfigError, VerifierUnreachable

__all__ = ["Announcement", "EmbeddedVerifier"]

_STOP_TIMEOUTS_S = (1.7, 0.4, 0.3)
"""How long the child may take to end: after its standard input closed, SIGTERM, and SIGKILL."""
_MAX_LINE_BYTES = 65_536
_NEEDS = (
    *("ugsd_server", "ugsd_privacy"),
    *("cbor2", "cryptography", "numpy", "onnxruntime", "pydantic_settings", "typer", "websockets"),
)
"""Packages that the child must find."""
_MAX_LOG_BYTES = 2**20
_OWNER_ONLY = 0o600
_MAX_ITEMS = 100


class Announcement(StrictModel):
    """The address that the child listens on, and the key to pin."""

    url: str
    public_key: str


class EmbeddedVerifier:
    """Starts the verifier on :meth:`start` and ends it on :meth:`close`, on any thread. In a forked
    process there is none: it is the parent's, which ends it."""

    def __init__(self, home: Path) -> None:
        """``home`` keeps the verifier's key and what it last wrote to its standard error."""
        self._home = home
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        call_in_children(self._forget_in_child)

    def start(self, timeout_s: float) -> Announcement:
        """Spawn the child and wait until it listens.

        Raises :class:`VerifierUnreachable` where it does not within ``timeout_s``; it is then
        ended.
        """
        self.close()
        log = self._home / "embedded-verifier.log"
        try:
            make_private_folder(self._home)
            # Appended to, since another process' verifier may be writing there too.
            is_long = log.exists() and log.stat().st_size > _MAX_LOG_BYTES
            mode = "w" if is_long else "a"
            with open(log, mode, encoding="utf-8", opener=_for_owner) as errors:
                log.chmod(_OWNER_ONLY)  # one that an earlier release made
                with self._lock:
                    process = self._process = subprocess.Popen(  # noqa: S603  # our own module
                        self._command(),
                        bufsize=0,  # a buffer has a lock, which a thread may hold at a fork
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        env=self._environment(),
                    )
        except OSError as error:
            raise ConfigError(f"{self._home} cannot be used as home: {error.strerror}") from error
        except KeyFileError as error:
            raise ConfigError(str(error)) from error
        try:
            return _announced(process, timeout_s)
        except (ValueError, Empty) as error:
            self.close()
            raise VerifierUnreachable(f"the embedded verifier did not start: see {log}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child, kindly at first; within about two seconds. May be called again."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        stops: tuple[Callable[[], None], ...] = (
            lambda: _hang_up(process),
            process.terminate,
            process.kill,
        )
        for stop, timeout_s in zip(stops, _STOP_TIMEOUTS_S, strict=True):
            stop()
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                continue

    def _forget_in_child(self) -> None:
        """Close our own ends of its pipes, or it would outlive our parent. It is no child of ours:
        we neither wait for it nor end it."""
        self._lock = Lock()  # a thread of the parent may have held the other one
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.returncode = 0  # else freeing it would look for the process

    def _command(self) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", "0", "--threads", "1"]
        options += ["--key-file", str(self._home / "verifier.key"), "--create-key"]
        options += ["--announce", "--exit-with-stdin"]
        return module_command("ugsd_server", *options, needs=_NEEDS)

    def _environment(self) -> dict[str, str]:
        return child_environment()


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)


def _hang_up(process: subprocess.Popen[Any]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _announced(process: subprocess.Popen[bytes], timeout_s: float) -> Announcement:
    """The child's first line. Raises ``Empty`` or ``ValueError``."""
    lines: SimpleQueue[bytes] = SimpleQueue()
    assert process.stdout is not None  # noqa: S101
    Thread(target=_read, args=(process.stdout, lines), daemon=True, name="ugsd-embedded").start()
    return read_json(Announcement, lines.get(timeout=timeout_s), max_items=_MAX_ITEMS)


def _read(stream: IO[bytes], lines: SimpleQueue[bytes]) -> None:
    """Pass the first line on and read on until the stream ends, so that the child never waits for
    us; nobody else may close it, for that would wait for this."""
    line = b""
    with stream:
        while data := _some(stream):
            if b"\n" not in line and len(line) < _MAX_LINE_BYTES:
                line += data
                if b"\n" in line or len(line) >= _MAX_LINE_BYTES:
                    lines.put(line.partition(b"\n")[0])
    lines.put(line)  # none, or not whole


def _some(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(_MAX_LINE_BYTES) or b""
    except (OSError, ValueError):
        return b""
