"""A drafter's folder: its location, its description and its checked files.

It contains ``model.json`` (:class:`DrafterDescription`), ``vocabulary.json`` (the list of pieces by
token id), ``slots.json`` (the slot of each token), the graphs that :mod:`~ugsd_sdk.drafter.onnx`
runs, and measurements of them. It may contain a network that interprets states
(:mod:`~ugsd_sdk.drafter.state_reading`) and its usual clauses (:mod:`~ugsd_sdk.drafter.proposals`).
A missing file is read from the folder ``audio_encoder`` beside it; its SHA-256 must match.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.output.near_names import choices
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, MAX_STATE_DIM
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_sdk.attributes.plan import PLAN_DIM
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.drafter.gender_phrases import GenderedPhrase
from ugsd_sdk.errors import ModelError

__all__ = [
    "AUDIO_ENCODER_FOLDER",
    "AUDIO_ENCODER_GRAPH",
    "BUNDLED",
    "DESCRIPTION_FILE",
    "GRAPHS",
    "PROPOSALS_FILE",
    "REJECTION_PREDICTOR_FILE",
    "SLOTS_FILE",
    "STARTER",
    "STATE_READING_FILE",
    "VOCABULARY_FILE",
    "VOICE_GRAPH",
    "DrafterBundle",
    "DrafterDescription",
    "parse_pieces",
]

STARTER = "starter"
"""Name of the default drafter."""
BUNDLED = (STARTER, "free")
"""Names of the bundled drafters."""
DESCRIPTION_FILE = "model.json"
VOCABULARY_FILE = "vocabulary.json"
SLOTS_FILE = "slots.json"
REJECTION_PREDICTOR_FILE = "gate.json"
STATE_READING_FILE = "state_reading.json"
PROPOSALS_FILE = "proposals.json"
"""The usual clauses (:mod:`~ugsd_sdk.drafter.proposals`). Without it captions are the same, slower.
"""
AUDIO_ENCODER_FOLDER = "audio_encoder"
AUDIO_ENCODER_GRAPH = "audio_encoder.onnx"
GRAPHS = (AUDIO_ENCODER_GRAPH, "reader.onnx", "decoder.onnx")
VOICE_GRAPH = "voice.onnx"
"""The graph that makes voice vectors. A drafter whose ``model.json`` does not list it has none."""
_PACKAGE = Path(__file__).parents[1]
_MAX_GRAPH_BYTES = 2 * 2**30
"""Limit of the ONNX format for one file."""
_MAX_PIECES, _MAX_FIELDS = 500_000, 10_000

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Size = Annotated[int, Field(ge=1)]


class DrafterDescription(StrictModel):
    """``model.json``: what the graphs are and what they were trained with."""

    format: Annotated[int, exactly(2)]
    name: str
    licence: str
    projection: _Sha256
    bos: Annotated[int, Field(ge=0)]
    eos: Annotated[int, Field(ge=0)]
    state_dim: Annotated[int, Field(ge=1, le=MAX_STATE_DIM)]
    emotion_dim: Annotated[int, exactly(len(EMOTIONS))]
    plan_dim: Annotated[int, exactly(PLAN_DIM)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)]
    sample_rate: _Size
    layers: _Size
    heads: _Size
    head_dim: _Size
    gendered: tuple[GenderedPhrase, ...] = ()
    """How neutral captions are worded for each gender; empty to stay neutral."""
    files: dict[_FileName, _Sha256]
    """SHA-256 of every file of the model, in hex."""


@dataclass(frozen=True)
class DrafterBundle:
    """The folder of one drafter. Methods that read raise :class:`ModelError` if it is missing or
    damaged; each call reads the files again."""

    folder: Path

    @classmethod
    def of(cls, drafter: str | os.PathLike[str]) -> DrafterBundle:
        """Return the bundle of a drafter, given by its name in ``BUNDLED`` or by its folder.

        Raises :class:`ModelError` for a name that is neither.
        """
        if drafter in BUNDLED:
            return cls(_PACKAGE / drafter)
        text = os.fspath(drafter)
        if not text or ("/" not in text and os.sep not in text and not _exists(text)):
            raise ModelError(
                f"no drafter is named {text!r}: give {choices(text, BUNDLED)}, or a folder with a "
                "drafter's files"
            )
        return cls(Path(text))

    @property
    def name(self) -> str:
        """The folder's name, which is the name of a bundled drafter."""
        return self.folder.name

    @property
    def rejection_predictor_file(self) -> Path:
        """The file of its rejection predictor, whether it exists or not."""
        return self.folder / REJECTION_PREDICTOR_FILE

    def find(self, name: str) -> Path:
        """Return the path of one of its files. Drafters with the same audio encoder share it in a
        folder beside their own."""
        own = self.folder / name
        return own if own.exists() else self.folder.parent / AUDIO_ENCODER_FOLDER / name

    def description(self) -> DrafterDescription:
        """Return the parsed ``model.json``."""
        path = self.folder / DESCRIPTION_FILE
        try:
            data = _read(path, MAX_TEXT_BYTES)
            description = read_json(DrafterDescription, data, max_items=_MAX_FIELDS)
        except ValueError as error:
            raise ModelError(f"{path}: {error}: export it again") from error
        missing = {VOCABULARY_FILE, SLOTS_FILE, *GRAPHS} - set(description.files)
        if missing:
            raise ModelError(f"{path} does not list {', '.join(sorted(missing))}: export it again")
        return description

    def files(self, description: DrafterDescription) -> dict[str, bytes]:
        """Return the contents of all files that ``description`` lists, checked against it."""
        return {
            name: _read_checked(self.find(name), digest)
            for name, digest in description.files.items()
        }

    def pieces(self) -> list[str]:
        """Return the text of each token."""
        digest = self.description().files[VOCABULARY_FILE]
        path = self.folder / VOCABULARY_FILE
        try:
            return parse_pieces(_read_checked(path, digest, MAX_TEXT_BYTES))
        except ValueError as error:
            raise ModelError(f"{path}: {error}: export it again") from error

    def listed_text(self, name: str) -> bytes | None:
        """Return the contents of one of its text files, checked against ``model.json``; ``None`` if
        that does not list the file."""
        digest = self.description().files.get(name)
        return None if digest is None else _read_checked(self.folder / name, digest, MAX_TEXT_BYTES)

    def weights(self) -> dict[str, str]:
        """Return the SHA-256, in hex, of each existing graph that makes captions and states."""
        paths = {name: self.find(name) for name in GRAPHS}
        return {
            name: hashlib.sha256(_read(path)).hexdigest()
            for name, path in paths.items()
            if path.is_file()
        }


def parse_pieces(data: bytes) -> list[str]:
    """Return the pieces in ``vocabulary.json``. Raises :class:`ValueError`."""
    return read_json(list[str], data, max_items=_MAX_PIECES)


def _read_checked(path: Path, digest: str, max_bytes: int = _MAX_GRAPH_BYTES) -> bytes:
    data = _read(path, max_bytes)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(f"{path}: its SHA-256 differs from {DESCRIPTION_FILE}: reinstall it")
    return data


def _read(path: Path, max_bytes: int = _MAX_GRAPH_BYTES) -> bytes:
    try:
        return read_regular(path, max_bytes)
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror}: give a folder with a drafter's files"
        ) from error


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # such as for a name that is too long
        return False
