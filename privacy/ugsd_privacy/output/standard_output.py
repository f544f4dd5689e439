"""Reserve standard output for what Python prints.

Native libraries (audio decoders, ONNX Runtime, BLAS) print diagnostics by writing to file
descriptor 1, where they would corrupt our JSON output.
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
    """Redirect descriptor 1 to standard error, or to nowhere if that is closed; only ``sys.stdout``
    still writes to the original standard output.

    For command lines. It does nothing if ``sys.stdout`` is not descriptor 1, because it was closed,
    or replaced by a test or an embedding program.
    """
    own = sys.stdout
    if not isinstance(own, io.TextIOWrapper) or _descriptor(own) != _STDOUT:
        yield
        return
    own.flush()
    # This comes first: a copy must not take the number of a closed standard error.
    target = _stderr_or_devnull()
    original = os.dup(_STDOUT)
    sys.stdout = io.TextIOWrapper(
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
            with suppress(BrokenPipeError):  # click has handled it
                replacement.close()
        finally:
            if sys.stdout is replacement:
                sys.stdout = own
            os.dup2(original, _STDOUT)
            os.close(original)
            os.close(target)


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
