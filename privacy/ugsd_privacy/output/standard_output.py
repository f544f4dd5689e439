"""Reserve standard output for what Python prints, and report that it cannot be written.

Native libraries (audio decoders, ONNX Runtime, BLAS) print diagnostics by writing to file
descriptor 1, where they would corrupt our JSON output.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["StandardOutputFailed", "reserved_stdout"]

_STDOUT, _STDERR = 1, 2


class StandardOutputFailed(Exception):
    """Standard output cannot be written, for example to a full disk.

    It is no ``OSError``, which commands report as a fault of a file that they name.
    """


class _Output(io.TextIOWrapper):
    """Standard output whose faults name it. A closed pipe is left to click."""

    def write(self, text: str, /) -> int:
        with _named_faults():
            return super().write(text)

    def flush(self) -> None:
        with _named_faults():
            super().flush()

    def write_bytes(self, data: bytes) -> None:
        """Write bytes after all text that was written before."""
        with _named_faults():
            super().flush()
            self.buffer.write(data)
            self.buffer.flush()


@contextmanager
def _named_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise StandardOutputFailed(
            f"cannot write to standard output: {error.strerror}: write it elsewhere"
        ) from error


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Redirect descriptor 1 to standard error, or to nowhere if that is closed; only ``sys.stdout``
    still writes to the original standard output.

    For command lines. A standard stream that was closed discards what is written to it. It does
    nothing else if ``sys.stdout`` is not descriptor 1, because it was closed, or replaced by a test
    or an embedding program. Writing to ``sys.stdout`` raises :class:`StandardOutputFailed`.
    """
    _open_missing_streams()
    own = sys.stdout
    if not isinstance(own, io.TextIOWrapper) or _descriptor(own) != _STDOUT:
        yield
        return
    own.flush()
    # This comes first: a copy must not take the number of a closed standard error.
    target = _stderr_or_devnull()
    original = os.dup(_STDOUT)
    sys.stdout = _Output(
        os.fdopen(os.dup(original), "wb"),
        encoding=own.encoding,
        errors=own.errors,
        line_buffering=own.line_buffering,
        write_through=own.write_through,
    )
    replacement = sys.stdout
    try:
        os.dup2(target, _STDOUT)
        yield
    finally:
        # C has its own buffer, which must not be flushed into the original standard output.
        _flush_native()
        try:
            with suppress(OSError, StandardOutputFailed):  # `run_app` has flushed and reported
                replacement.close()
        finally:
            if sys.stdout is replacement:
                sys.stdout = own
            os.dup2(original, _STDOUT)
            os.close(original)
            os.close(target)


def _open_missing_streams() -> None:
    """Replace standard streams that were closed, which Python sets to ``None``."""
    if sys.stdout is None:
        sys.stdout = _discarding()
    if sys.stderr is None:
        sys.stderr = _discarding()


def _discarding() -> Any:
    return Path(os.devnull).open("w", encoding="utf-8")


def _stderr_or_devnull() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # closed
        return os.open(os.devnull, os.O_WRONLY)


def _flush_native() -> None:
    import ctypes  # noqa: PLC0415  # needed only at the end of a command

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None) if os.name == "posix" else ctypes.CDLL("ucrtbase")
        library.fflush(None)


def _descriptor(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
