"""Where ``ugsd caption`` writes captions: standard output, one file, or a file for each clip."""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import typer
from ugsd_privacy.output.consoles import console
from ugsd_privacy.output.plain_text import encodable, plain_json
from ugsd_privacy.output.terminal import print_file, print_json

from ugsd_sdk.cli.formats import OutputFormat, format_of
from ugsd_sdk.cli.output_files import is_one_of
from ugsd_sdk.cli.partial_file import PartialFile

if TYPE_CHECKING:
    from ugsd_sdk.caption import Caption
    from ugsd_sdk.cli.clip_inputs import ClipInput
    from ugsd_sdk.errors import AudioError

__all__ = ["Output", "output_for"]

# Heavy imports are inside the functions, so that --help answers at once.
# ruff: noqa: PLC0415


_CONTINUED = (OutputFormat.JSONL, OutputFormat.CSV)
"""Formats of files that a later run can add to."""


class Output(ABC):
    """Takes captions one by one."""

    is_file = False
    """Whether captions are written to files."""
    remedy = ""
    """What continues an interrupted run; empty if nothing does."""

    def begin(self, clips: Sequence[ClipInput]) -> list[ClipInput]:
        """Prepare, and return the clips that are still to be captioned."""
        return list(clips)

    @abstractmethod
    def write(self, clip: ClipInput, caption: Caption) -> None:
        """Write a caption."""

    def fail(self, clip: ClipInput, error: AudioError) -> None:  # noqa: B027  # may do nothing
        """Write that a clip has no caption, if the format has a place for it."""

    def finish(self) -> None:  # noqa: B027  # may do nothing
        """Complete the output."""

    def close(self) -> None:  # noqa: B027  # may do nothing
        """Stop, also without :meth:`finish`."""


class _Text(Output):
    """Captions for people on standard output."""

    def __init__(self) -> None:
        from ugsd_sdk.cli.caption_output import stdout

        self._console = stdout()
        self._has_sent = False

    def write(self, clip: ClipInput, caption: Caption) -> None:
        from ugsd_sdk.cli.caption_output import print_caption

        self._has_sent |= caption.usage.num_blocks > 0
        print_caption(self._console, caption)

    def finish(self) -> None:
        from ugsd_sdk.cli.caption_output import legend

        if self._has_sent:
            self._console.print(legend(colour=self._console.is_terminal))


class _Standard(Output):
    """A file format on standard output."""

    def __init__(self, kind: OutputFormat, *, details: bool) -> None:
        self._kind = kind
        self._details = details

    def begin(self, clips: Sequence[ClipInput]) -> list[ClipInput]:
        if self._kind is OutputFormat.CSV:
            print_file(_header(self._kind))
        return list(clips)

    def write(self, clip: ClipInput, caption: Caption) -> None:
        if self._kind is OutputFormat.JSONL:
            print_json(caption.to_json(details=self._details))
        elif self._kind is OutputFormat.CSV:
            print_file(_row(caption))
        else:
            print_file(_whole_file(self._kind, caption, details=self._details))

    def fail(self, clip: ClipInput, error: AudioError) -> None:
        if self._kind is OutputFormat.JSONL:
            print_json(_failure(clip, error))


class _OneFile(Output):
    """All captions in one file, which can be continued."""

    is_file = True
    remedy = "run the same command with --resume"

    def __init__(
        self, path: Path, kind: OutputFormat, *, details: bool, resume: bool, force: bool
    ) -> None:
        self._file = PartialFile(path)
        if kind not in _CONTINUED:
            self.remedy = ""
        self._kind = kind
        self._details = details
        self._resume = resume
        self._force = force

    def begin(self, clips: Sequence[ClipInput]) -> list[ClipInput]:
        header = _header(self._kind)
        if not self._resume:
            self._file.begin(header, force=self._force)
            return list(clips)
        is_csv = self._kind is OutputFormat.CSV
        done = self._file.resume(header, _csv_key if is_csv else _json_key)
        return [clip for clip in clips if _key(clip.path, self._kind) not in done]

    def write(self, clip: ClipInput, caption: Caption) -> None:
        if self._kind is OutputFormat.JSONL:
            self._file.write(plain_json(caption.to_json(details=self._details)) + "\n")
        elif self._kind is OutputFormat.CSV:
            self._file.write(_row(caption))
        else:
            self._file.write(_whole_file(self._kind, caption, details=self._details))

    def fail(self, clip: ClipInput, error: AudioError) -> None:
        if self._kind is OutputFormat.JSONL:
            self._file.write(plain_json(_failure(clip, error)) + "\n")

    def finish(self) -> None:
        self._file.finish()

    def close(self) -> None:
        self._file.close()


class _Folder(Output):
    """A file for each clip, below a folder, as the clips are below the one that was given."""

    is_file = True
    remedy = "run the same command with --resume"

    def __init__(
        self, folder: Path, kind: OutputFormat, *, details: bool, resume: bool, force: bool
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._details = details
        self._resume = resume
        self._force = force
        self._names: dict[str, Path] = {}

    def begin(self, clips: Sequence[ClipInput]) -> list[ClipInput]:
        self._names = self._named(clips)
        inputs = {os.path.realpath(clip.path) for clip in clips if not clip.is_stdin}
        left = []
        for clip in clips:
            target = self._names[clip.path]
            if os.path.realpath(target) in inputs:
                raise typer.BadParameter(f"{target} is a clip itself: give another folder to --out")
            is_there = os.path.lexists(target)
            if is_there and not (self._resume or self._force):
                raise typer.BadParameter(
                    f"{target} exists: add --resume to keep it, or --force to replace it"
                )
            if self._force or not is_there:
                left.append(clip)
        return left

    def write(self, clip: ClipInput, caption: Caption) -> None:
        from ugsd_privacy.files.atomic_files import write_atomically

        text = _whole_file(self._kind, caption, details=self._details)
        write_atomically(self._names[clip.path], text.encode())

    def _named(self, clips: Sequence[ClipInput]) -> dict[str, Path]:
        """Return the file of each clip: its name with another ending, or with one more where two
        clips differ in their endings only. Raises :class:`typer.BadParameter` if two would have the
        same file."""
        short = Counter(_short(clip).casefold() for clip in clips)
        named: dict[str, Path] = {}
        taken: dict[str, str] = {}
        for clip in clips:
            name = _short(clip)
            if short[name.casefold()] > 1:
                name = clip.relative
            other = taken.setdefault(name.casefold(), clip.path)
            if other != clip.path:
                raise typer.BadParameter(
                    f"{other} and {clip.path} would be written to one file: give the folder that "
                    "both are in, or caption them by two commands"
                )
            named[clip.path] = self._folder / f"{name}{self._kind.suffix}"
        return named


def output_for(
    out: str | None,
    kind: OutputFormat | None,
    clips: Sequence[ClipInput],
    *,
    details: bool,
    resume: bool,
    force: bool,
) -> Output:
    """Return where captions go. ``kind`` is by default that of the file's ending, or text.

    Raises :class:`typer.BadParameter` for options that do not fit each other, and for a file that
    is one of the clips.
    """
    path = None if out is None else Path(out)
    is_folder = path is not None and (path.is_dir() or str(out)[-1:] in {"/", os.sep})
    if kind is None:
        kind = (
            OutputFormat.TEXT
            if path is None or is_folder
            else format_of(path, OutputFormat, otherwise=", or a / at its end for a folder")
        )
    if details and kind is not OutputFormat.JSONL:
        raise typer.BadParameter("--details prints JSON: add --json")
    if kind.is_of_one_clip and not is_folder and len(clips) > 1:
        raise typer.BadParameter(
            f"a file of {kind} is about one recording: give a folder to --out, with a / at its end"
        )
    if path is None:
        if resume or force:
            raise typer.BadParameter("--resume and --force go with --out")
        return _Text() if kind is OutputFormat.TEXT else _Standard(kind, details=details)
    if is_folder:
        return _Folder(path, kind, details=details, resume=resume, force=force)
    if resume and kind not in _CONTINUED:
        raise typer.BadParameter(
            "--resume continues a file of jsonl or csv, or a folder: give such a --format"
        )
    if is_one_of(path, (clip.path for clip in clips if not clip.is_stdin)):
        raise typer.BadParameter(f"{path} is one of the clips: give another file to --out")
    return _OneFile(path, kind, details=details, resume=resume, force=force)


def _short(clip: ClipInput) -> str:
    return str(PurePath(clip.relative).with_suffix(""))


def _whole_file(kind: OutputFormat, caption: Caption, *, details: bool) -> str:
    """Return the file of one clip. WebVTT and SubRip have one cue, from the first utterance to the
    end of the last, and none if nobody speaks."""
    if kind is OutputFormat.TEXT:
        from ugsd_sdk.cli.caption_output import print_caption

        text = io.StringIO()
        print_caption(console(file=text, soft_wrap=True, width=160), caption)
        return encodable(text.getvalue(), "utf-8")
    if kind is OutputFormat.JSONL:
        return plain_json(caption.to_json(details=details)) + "\n"
    from ugsd_sdk.exports import TimedCaption, caption_file_text

    is_silent = kind.is_of_one_clip and not caption.speech.spans
    cues = [] if is_silent else [TimedCaption.of_clip(caption)]
    return caption_file_text(cues, kind.value, source=caption.path)


def _header(kind: OutputFormat) -> str:
    from ugsd_sdk.exports import caption_formatter

    return caption_formatter("csv").header() if kind is OutputFormat.CSV else ""


def _row(caption: Caption) -> str:
    from ugsd_sdk.exports import TimedCaption, caption_formatter

    return caption_formatter("csv").cue(TimedCaption.of_clip(caption))


def _failure(clip: ClipInput, error: AudioError) -> str:
    from ugsd_sdk.caption import escaped_path

    fault = {"type": type(error).__name__, "message": str(error)}
    return json.dumps({"path": escaped_path(clip.path), "error": fault})


def _key(path: str, kind: OutputFormat) -> str:
    """Return how a file of this format names the clip."""
    from ugsd_sdk.caption import escaped_path
    from ugsd_sdk.exports.csv_rows import guarded

    shown = escaped_path(path)
    return guarded(shown) if kind is OutputFormat.CSV else shown


def _json_key(line: str) -> str | None:
    from pydantic_core import from_json

    found = from_json(line)  # a ValueError too where it is nested too deep
    if not (isinstance(found, dict) and isinstance(found.get("path"), str)):
        raise ValueError("not a caption of a clip")  # noqa: TRY004  # as the JSON's own
    return None if "error" in found else str(found["path"])


def _csv_key(line: str) -> str | None:
    columns = next(csv.reader([_header(OutputFormat.CSV)]))
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError("not a row") from error
    if len(cells) != len(columns):
        raise ValueError("not a caption of a clip")
    return cells[columns.index("source")]
