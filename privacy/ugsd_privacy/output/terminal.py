"""The only place where command lines write to a terminal; it escapes all foreign text.

Paths, users, settings keys, messages of peers and contents of files may contain escape sequences or
markup. So commands do not print: they pass lines, documents and errors to this module, and tables
to a console of :mod:`ugsd_privacy.output.consoles`. A test of the source code enforces it.
"""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import typer

from ugsd_privacy.output.completion import prepare_completion
from ugsd_privacy.output.plain_text import ascii_json, encodable, plain_json, plain_line, plain_text
from ugsd_privacy.output.standard_output import StandardOutputFailed
from ugsd_privacy.output.usage_faults import plain_fault

__all__ = [
    "configure_logging",
    "confirm",
    "print_document",
    "print_error",
    "print_file",
    "print_json",
    "print_line",
    "run_app",
]

_MOST_OF_ERROR = 2000
_FAILED, _USAGE = 1, 2
_UsageFault: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""Base of all errors that typer itself reports. Its module differs between releases."""


def print_line(*lines: str, err: bool = False) -> None:
    """Write each of ``lines`` to standard output or error, as one line even if it contains line
    breaks."""
    _write("".join(f"{plain_line(line, most=len(line))}\n" for line in lines), err=err)


def print_error(program: str, error: BaseException | str) -> None:
    """Write the name of the ``program`` and ``error`` to standard error, as one line of bounded
    length."""
    _write(f"{program}: {plain_line(str(error), most=_MOST_OF_ERROR)}\n", err=True)


def print_json(text: str) -> None:
    """Write JSON with the same meaning, in which no character controls a terminal.

    It is UTF-8 whatever the encoding of standard output is: characters beyond ASCII are escaped if
    it is another one.
    """
    name = getattr(sys.stdout, "encoding", None) or "utf-8"
    is_utf8 = codecs.lookup(name).name == "utf-8"
    _write(f"{plain_json(text) if is_utf8 else ascii_json(text)}\n")


def print_file(text: str) -> None:
    """Write a part of a text file, whose format is UTF-8 and which holds no invisible characters
    but line ends: unchanged, unless a terminal shows it, in the terminal's own encoding."""
    write_bytes = getattr(sys.stdout, "write_bytes", None)
    if write_bytes is None or sys.stdout.isatty():
        _write(text)
    else:
        write_bytes(text.encode())


def print_document(text: str) -> None:
    """Write a document of many lines, without an added line end."""
    _write(plain_text(text))


def confirm(question: str) -> None:
    """Ask a question that the user must answer with yes; otherwise the command is aborted."""
    shown = plain_line(question, most=_MOST_OF_ERROR)
    typer.confirm(encodable(shown, getattr(sys.stdout, "encoding", None)), abort=True)


def run_app(app: Callable[..., Any], argv: Sequence[str] | None, program: str) -> int:
    """Run a typer application and return its exit code.

    Its usage errors are escaped too, because they quote arguments. Other errors propagate.
    """
    prepare_completion(program)
    try:
        code = app(
            args=None if argv is None else list(argv), prog_name=program, standalone_mode=False
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except StandardOutputFailed as fault:
        print_error(program, fault)
        return _FAILED
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else _FAILED
    except typer.Abort:
        print_line("Aborted!", err=True)
        return _FAILED
    except _UsageFault as fault:
        _write(plain_text(_shown(fault)), err=True)
        return int(getattr(fault, "exit_code", _USAGE))
    return code if isinstance(code, int) else 0


def _shown(fault: Any) -> str:
    """Return what typer prints for a usage error, with the message in plain words, escaped, on one
    line."""
    shown = io.StringIO()
    fault.show(shown)
    message = fault.format_message()
    return shown.getvalue().replace(
        f"Error: {message}", f"Error: {plain_line(plain_fault(message))}"
    )


def configure_logging(level: int, form: str) -> None:
    """Log to standard error in the format ``form``, with each message on one line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter(form))
    logging.basicConfig(level=level, handlers=[handler])


class _PlainFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = plain_line(record.message, most=_MOST_OF_ERROR)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return plain_text(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return plain_text(super().formatStack(stack_info))


def _write(text: str, *, err: bool = False) -> None:
    stream: TextIO = sys.stderr if err else sys.stdout
    stream.write(encodable(text, getattr(stream, "encoding", None)))
    stream.flush()
