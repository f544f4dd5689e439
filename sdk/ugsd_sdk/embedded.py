"""The bundled verifier as a child process on this machine: for trying out, tests and laptops.

The child listens on loopback only, keeps its key under the home folder, and ends with us: it stops
when its standard input closes, which the system does even where this process is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any

from ugsd_sdk.errors import ConfigError, Unreachable

__all__ = ["Announcement", "EmbeddedVerifier"]

_STOP_TIMEOUT_S = 2.0
_MAX_LINE_CHARS = 65_536
_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class Announcement:
    """Where the child listens and what to pin."""

    url: str
    public_key: str


class EmbeddedVerifier:
    """Starts the verifier on :meth:`start` and ends it on :meth:`close`."""

    def __init__(self, home: Path) -> None:
        """``home`` keeps the verifier's key and what it last wrote to its standard error."""
        self._home = home
        self._process: subprocess.Popen[str] | None = None

    def start(self, timeout_s: float) -> Announcement:
        """Spawn the child and wait until it listens.

        Raises :class:`Unreachable` where it does not within ``timeout_s``; it is then ended.
        """
        self.close()
        log = self._home / "embedded-verifier.log"
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(log, "w", encoding="utf-8", opener=_for_owner) as errors:
                log.chmod(_OWNER_ONLY)  # one that an earlier release made
                self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                    self._command(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    encoding="utf-8",
                )
        except OSError as error:
            raise ConfigError(f"{self._home} cannot be used as home: {error.strerror}") from error
        try:
            return _announced(self._process, timeout_s)
        except (ValueError, KeyError, TypeError, RecursionError, Empty) as error:
            self.close()
            raise Unreachable(f"the embedded verifier did not start: see {log}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child, kindly at first. May be called again."""
        process, self._process = self._process, None
        if process is None:
            return
        for stop in (_hang_up, subprocess.Popen.terminate, subprocess.Popen.kill):
            stop(process)
            try:
                process.wait(_STOP_TIMEOUT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.stdout is not None:
            process.stdout.close()

    def _command(self) -> list[str]:
        options = ["--port", "0", "--key-file", str(self._home / "verifier.key"), "--create-key"]
        options += ["--announce", "--exit-with-stdin"]
        # -P: a file in the working directory must not pass for the module.
        return [sys.executable, "-P", "-m", "ugsd_server", *options]


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)


def _hang_up(process: subprocess.Popen[Any]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _announced(process: subprocess.Popen[str], timeout_s: float) -> Announcement:
    """The child's first line. Raises ``Empty``, ``ValueError``, ``KeyError`` or ``TypeError``."""
    lines: SimpleQueue[str] = SimpleQueue()
    assert process.stdout is not None  # noqa: S101
    Thread(target=_read_line, args=(process.stdout, lines), daemon=True).start()
    fields = json.loads(lines.get(timeout=timeout_s))
    return Announcement(str(fields["url"]), str(fields["public_key"]))


def _read_line(stream: IO[str], lines: SimpleQueue[str]) -> None:
    try:
        lines.put(stream.readline(_MAX_LINE_CHARS))
    except (OSError, ValueError):
        lines.put("")
