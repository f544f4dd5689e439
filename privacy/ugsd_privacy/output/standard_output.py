"""Standard output for Python's own words alone.

Native libraries (audio decoders, ONNX Runtime, BLAS) print diagnostics by writing to file
descriptor 1, where a program that reads our JSON would find them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["reserved_stdout"]

_STDOUT, _STDERR = 1, 2


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """While it lasts, descriptor 1 leads to standard error (or nowhere, if there is none), and
    ``sys.stdout`` alone leads to where it led.

    For command lines. It does nothing where ``sys.stdout`` is not descriptor 1: it was closed, or
    replaced by a test or an embedding program.
    """
    own = sys.stdout
    if not isinstance(own, io.TextIOWrapper) or _descriptor(own) != _STDOUT:
        yield
        return
    own.flush()
    elsewhere = _stderr_or_nowhere()  # first: a copy must not take a closed standard error's number
    kept = os.dup(_STDOUT)
    sys.stdout = io.TextIOWrapper(
        os.fdopen(os.dup(kept), "wb"),
        encoding=own.encoding,
        errors=own.errors,
        line_buffering=own.line_buffering,
        write_through=own.write_through,
    )
    replacement = sys.stdout
    try:
        os.dup2(elsewhere, _STDOUT)
        yield
    finally:
        # C has a buffer of its own, which must not be emptied into the true standard output.
        _flush_native()
        try:
            with suppress(BrokenPipeError):  # click has seen to it
                replacement.close()
        finally:
            if sys.stdout is replacement:
                sys.stdout = own
            os.dup2(kept, _STDOUT)
            os.close(kept)
            os.close(elsewhere)


def _stderr_or_nowhere() -> int:
    try:
        return os.dup(_STDERR)
    except OSError:  # closed
        return os.open(os.devnull, os.O_WRONLY)


def _flush_native() -> None:
    import ctypes  # noqa: PLC0415  # only at the end of a command

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None) if os.name == "posix" else ctypes.CDLL("ucrtbase")
        library.fflush(None)


def _descriptor(stream: io.TextIOWrapper) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
