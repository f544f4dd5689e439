"""The bundled verifier as a child process on this machine: for trials, tests and laptops.

The child listens only on loopback, stores its key in the home folder, and ends with this process:
it stops when its standard input closes, which the system does even if this process is killed. Only
arguments configure it: it inherits no environment variables.
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
"""Seconds that the child may take to end after its input closed, SIGTERM and SIGKILL."""
_MAX_LINE_BYTES = 65_536
_NEEDS = (
    *("ugsd_server", "ugsd_privacy"),
    *("cbor2", "cryptography", "numpy", "onnxruntime", "pydantic_settings", "typer", "websockets"),
)
"""Packages that the child imports."""
_MAX_LOG_BYTES = 2**20
_OWNER_ONLY = 0o600
_MAX_ITEMS = 100


class Announcement(StrictModel):
    """The child's address and the key to pin."""

    url: str
    public_key: str


class EmbeddedVerifier:
    """Starts and ends the verifier process, on any thread. After a fork, only the parent process
    has it and ends it."""

    def __init__(self, home: Path) -> None:
        """``home`` is the folder for the verifier's key and its standard error."""
        self._home = home
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        call_in_children(self._forget_in_child)

    @property
    def is_running(self) -> bool:
        """Whether the child was started and has not ended."""
        process = self._process
        return process is not None and process.poll() is None

    def start(self, timeout_s: float) -> Announcement:
        """Start the child and wait until it listens. One that is running is ended first.

        Raises :class:`VerifierUnreachable`, after ending the child, if it does not listen within
        ``timeout_s``.
        """
        self.close()
        log = self._home / "embedded-verifier.log"
        try:
            make_private_folder(self._home)
            # Append, since the verifier of another process may write to the same file.
            is_long = log.exists() and log.stat().st_size > _MAX_LOG_BYTES
            mode = "w" if is_long else "a"
            with open(log, mode, encoding="utf-8", opener=_for_owner) as errors:
                log.chmod(_OWNER_ONLY)  # an earlier release created it with another mode
                with self._lock:
                    process = self._process = subprocess.Popen(  # noqa: S603  # our own module
                        self._command(),
                        bufsize=0,  # a buffer has a lock that a thread may hold during a fork
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        env=self._environment(),
                    )
        except OSError as error:
            raise ConfigError(
                f"home folder {self._home} cannot be used ({error.strerror}): choose another"
            ) from error
        except KeyFileError as error:
            raise ConfigError(str(error)) from error
        try:
            return _read_announcement(process, timeout_s)
        except (ValueError, Empty) as error:
            self.close()
            raise VerifierUnreachable(
                f"the embedded verifier did not start: read {log} for the cause"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child within about two seconds, gently at first. May be called again."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        stops: tuple[Callable[[], None], ...] = (
            lambda: _close_input(process),
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
        """Close this process's ends of the pipes, so that the verifier can end with the parent. It
        is the parent's child: this process neither waits for it nor ends it."""
        self._lock = Lock()  # a thread of the parent may have held the other one
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.returncode = 0  # otherwise its destructor would wait for the process

    def _command(self) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", "0", "--threads", "1"]
        options += ["--key-file", str(self._home / "verifier.key"), "--create-key"]
        options += ["--announce", "--exit-with-stdin"]
        return module_command("ugsd_server", *options, needs=_NEEDS)

    def _environment(self) -> dict[str, str]:
        return child_environment()


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)


def _close_input(process: subprocess.Popen[Any]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _read_announcement(process: subprocess.Popen[bytes], timeout_s: float) -> Announcement:
    """Return the child's first line, parsed. Raises ``Empty`` or ``ValueError``."""
    lines: SimpleQueue[bytes] = SimpleQueue()
    assert process.stdout is not None  # noqa: S101
    Thread(target=_read, args=(process.stdout, lines), daemon=True, name="ugsd-embedded").start()
    return read_json(Announcement, lines.get(timeout=timeout_s), max_items=_MAX_ITEMS)


def _read(stream: IO[bytes], lines: SimpleQueue[bytes]) -> None:
    """Put the first line into ``lines`` and read until the stream ends, so that the child never
    blocks on its output. Only this thread closes the stream: closing waits for a running read."""
    line = b""
    with stream:
        while data := _read_some(stream):
            if b"\n" not in line and len(line) < _MAX_LINE_BYTES:
                line += data
                if b"\n" in line or len(line) >= _MAX_LINE_BYTES:
                    lines.put(line.partition(b"\n")[0])
    lines.put(line)  # empty or incomplete


def _read_some(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(_MAX_LINE_BYTES) or b""
    except (OSError, ValueError):
        return b""
