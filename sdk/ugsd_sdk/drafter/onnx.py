"""A drafter on ONNX Runtime: the embedded default, on CPU, without torch.

The folder holds ``model.json`` (:class:`DrafterDescription`), ``vocabulary.json`` (the list of
pieces by token id) and three graphs, each run where its work arises; what it lacks is looked for in
the folder ``ears`` beside it, and its SHA-256 decides:

- ``ears.onnx``, once per clip: ``samples`` float32 (1, n) -> ``evidence`` (1, E);
- ``reader.onnx``, once per clip: ``evidence``, ``habit`` (1, E), ``trust`` (1,), how far the habit
  is to be believed, 0 to 1 -> ``condition`` (1, D), ``state_base`` (1, B), ``novelty`` (1,) and
  ``femininity`` (1,), the log-odds that the voice sounds female;
- ``decoder.onnx``, once per step: ``tokens`` int64 (1, T), ``condition``, ``state_base``, ``past``
  float32 (L, 2, 1, H, P, Dh) -> ``logits`` (1, T, V), ``states`` (1, T, B), ``present``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from ugsd_privacy.bounded_json import check_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.protocol.messages import MAX_CAPTION_TOKENS, MAX_STATE_DIM
from ugsd_privacy.strict_models import StrictModel

from ugsd_sdk.concurrency.forks import call_in_children, keep_for_good
from ugsd_sdk.drafter import AudioEmbedding, DrafterInfo, Prediction
from ugsd_sdk.drafter.gender_phrases import Gender, GenderedPhrase
from ugsd_sdk.errors import ModelError
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "AUDIO_ENCODER_FOLDER",
    "AUDIO_ENCODER_GRAPH",
    "DESCRIPTION_FILE",
    "GRAPHS",
    "VOCABULARY_FILE",
    "DrafterDescription",
    "OnnxDrafter",
    "find_file",
    "pieces_of",
    "state_dim_of",
    "weights_of",
]

DESCRIPTION_FILE = "model.json"
VOCABULARY_FILE = "vocabulary.json"
AUDIO_ENCODER_FOLDER = "ears"
AUDIO_ENCODER_GRAPH = "ears.onnx"
GRAPHS = (AUDIO_ENCODER_GRAPH, "reader.onnx", "decoder.onnx")
_ORT_LOG_ERRORS = 3
_MAX_GRAPH_BYTES = 2 * 2**30
"""ONNX's own limit of a file."""
_MAX_PIECES, _MAX_FIELDS = 500_000, 10_000
_GENDER_THRESHOLD = log(4)
"""Log-odds from which a voice clearly sounds female or male: four to one."""

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Size = Annotated[int, Field(ge=1)]

_logger = logging.getLogger(__name__)


class DrafterDescription(StrictModel):
    """``model.json``: what the graphs are and what they were trained with."""

    format: Annotated[int, Field(ge=1, le=1)]
    name: str
    licence: str
    projection: _Sha256
    bos: Annotated[int, Field(ge=0)]
    eos: Annotated[int, Field(ge=0)]
    state_dim: Annotated[int, Field(ge=1, le=MAX_STATE_DIM)]
    condition_dim: _Size
    max_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)]
    sample_rate: _Size
    layers: _Size
    heads: _Size
    head_dim: _Size
    gendered: list[GenderedPhrase] = Field(default_factory=list)
    """How neutral captions are worded for each gender; none are left neutral."""
    files: dict[_FileName, _Sha256]
    """SHA-256 of every file of the model, in hex."""


class OnnxDrafter:
    """A :class:`~ugsd_sdk.drafter.Drafter` read from a folder; one thread unless told otherwise."""

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self._folder = Path(folder)
        self._threads = threads
        self._loaded: _Loaded | None = None
        self._was_loaded = False
        """In a forked process: whether the parent's was loaded."""
        call_in_children(self._forget_in_child)

    @property
    def info(self) -> DrafterInfo:
        return self._model().info

    def load(self) -> None:
        """Read and check the files. Raises :class:`ModelError` where they are missing or damaged.

        The weights' licence is named once in the log.
        """
        if self._loaded is None:
            self._loaded, self._was_loaded = _Loaded(self._folder, self._threads), False
            _logger.info("drafter %s; licence: %s", self.info.name, self.info.licence)

    def close(self) -> None:
        self._loaded, self._was_loaded = None, False

    def _forget_in_child(self) -> None:
        """The sessions may wait for locks and threads of the parent: a child has its own."""
        loaded, self._loaded = self._loaded, None
        self._was_loaded = loaded is not None
        if loaded is not None:
            keep_for_good(loaded)

    def encode(
        self, samples: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        (heard,) = self._model().run(AUDIO_ENCODER_GRAPH, {"samples": samples[None]})
        return self.condition(heard[0], profile)

    def condition(
        self, unnormalised: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        """What :meth:`encode` makes of ``heard`` (E,), which the ears heard before."""
        known = profile.mean if profile.count else np.zeros_like(unnormalised)
        if known.shape != unnormalised.shape:
            raise ModelError("the habit is of other ears than the drafter's: forget it")
        feeds = {
            "evidence": unnormalised[None],
            "habit": known[None],
            "trust": np.array([profile.weight], dtype=np.float32),
        }
        condition, base, ood_score, femininity = self._model().run("reader.onnx", feeds)
        return AudioEmbedding(
            np.concatenate([condition[0], base[0]]),
            ood_score=float(ood_score[0]),
            unnormalised=unnormalised,
            gender=_gender(float(femininity[0])),
        )

    def start(self, embedding: AudioEmbedding) -> OnnxDraftSession:
        return OnnxDraftSession(self._model(), embedding)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(map(self.piece, tokens)).strip()

    def piece(self, token: int) -> str:
        pieces = self._model().pieces
        return pieces[token] if 0 <= token < len(pieces) else ""

    def _model(self) -> _Loaded:
        if self._was_loaded:
            self.load()
        if self._loaded is None:
            raise ModelError("the drafter is not loaded: call load() first")
        return self._loaded


class OnnxDraftSession:
    """One caption's tokens and keys and values."""

    def __init__(self, model: _Loaded, embedding: AudioEmbedding) -> None:
        split = model.description.condition_dim
        self._model = model
        self._heard = {
            "condition": embedding.vector[None, :split],
            "state_base": embedding.vector[None, split:],
        }
        d = model.description
        self._past = np.zeros((d.layers, 2, 1, d.heads, 0, d.head_dim), dtype=np.float32)
        self._tokens: list[int] = []
        self._predictions: list[Prediction] = []
        self._run([d.bos])

    @property
    def tokens(self) -> Sequence[int]:
        return self._tokens

    def predict(self) -> Prediction:
        return self._predictions[-1]

    def append(self, tokens: Sequence[int]) -> None:
        if tokens:
            self._run(tokens)
            self._tokens.extend(tokens)

    def crop(self, length: int) -> None:
        inputs = length + 1  # the start token counts
        self._past = self._past[:, :, :, :, :inputs]
        del self._predictions[inputs:]
        del self._tokens[length:]

    def _run(self, tokens: Sequence[int]) -> None:
        feeds: dict[str, NDArray[Any]] = {
            "tokens": np.array([tokens], dtype=np.int64),
            "past": self._past,
            **self._heard,
        }
        logits, states, self._past = self._model.run("decoder.onnx", feeds)
        self._predictions += map(Prediction, logits[0], states[0])


class _Loaded:
    """Checked files and running sessions."""

    def __init__(self, folder: Path, threads: int) -> None:
        # Builds from 1.29 on report usage unless told not to before they are loaded; a host app
        # may bring one although our requirements do not.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415  # heavy

        self.description = _read_description(folder)
        files = {
            name: _read_checked(find_file(folder, name), digest)
            for name, digest in self.description.files.items()
        }
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ORT_LOG_ERRORS
        # One clip at a time: a small footprint matters more than a few milliseconds.
        options.enable_cpu_mem_arena = False
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        try:
            self.pieces = _pieces(files[VOCABULARY_FILE])
            self._sessions: dict[str, onnxruntime.InferenceSession] = {
                name: onnxruntime.InferenceSession(
                    files[name], options, providers=["CPUExecutionProvider"]
                )
                for name in GRAPHS
            }
        except Exception as error:
            raise ModelError(
                f"{folder} is no drafter that ONNX Runtime can run ({error}): reinstall its files"
            ) from error
        d = self.description
        self.info = DrafterInfo(
            name=d.name,
            licence=d.licence,
            vocabulary=bytes.fromhex(d.files[VOCABULARY_FILE]),
            projection=bytes.fromhex(d.projection),
            eos=d.eos,
            state_dim=d.state_dim,
            max_tokens=d.max_tokens,
            sample_rate=d.sample_rate,
            audio_encoder=bytes.fromhex(d.files[AUDIO_ENCODER_GRAPH]),
            gendered_phrases=tuple(d.gendered),
        )

    def run(self, graph: str, feeds: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        try:
            outputs: list[NDArray[np.float32]] = self._sessions[graph].run(None, feeds)
        except Exception as error:
            raise ModelError(f"{graph} failed: reinstall the drafter's files") from error
        return outputs


def _gender(score: float) -> Gender | None:
    if abs(score) < _GENDER_THRESHOLD:
        return None
    return "female" if score > 0 else "male"


def _pieces(data: bytes) -> list[str]:
    check_json(data, max_items=_MAX_PIECES)
    pieces = json.loads(data)
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        raise ValueError(f"{VOCABULARY_FILE} is no list of pieces")
    return pieces


def _read_description(folder: Path) -> DrafterDescription:
    path = folder / DESCRIPTION_FILE
    try:
        data = _read(path, MAX_TEXT_BYTES)
        check_json(data, max_items=_MAX_FIELDS)
        description = DrafterDescription.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where or 'file'}: {first['msg']}: export it again") from error
    except ValueError as error:
        raise ModelError(f"{path}: {error}: export it again") from error
    missing = {VOCABULARY_FILE, *GRAPHS} - set(description.files)
    if missing:
        raise ModelError(f"{path} does not list {', '.join(sorted(missing))}: export it again")
    return description


def find_file(folder: Path, name: str) -> Path:
    """Where a file of the drafter in ``folder`` is: drafters over the same ears share them in a
    folder beside their own."""
    own = folder / name
    return own if own.exists() else folder.parent / AUDIO_ENCODER_FOLDER / name


def state_dim_of(folder: Path) -> int:
    """How many numbers a state of the drafter in ``folder`` has. Raises :class:`ModelError`."""
    return _read_description(folder).state_dim


def pieces_of(folder: Path) -> list[str]:
    """The text of each token of the drafter in ``folder``. Raises :class:`ModelError`."""
    digest = _read_description(folder).files[VOCABULARY_FILE]
    path = folder / VOCABULARY_FILE
    try:
        return _pieces(_read_checked(path, digest, MAX_TEXT_BYTES))
    except ValueError as error:
        raise ModelError(f"{path}: {error}: export it again") from error


def weights_of(folder: Path) -> dict[str, str]:
    """SHA-256, in hex, of each graph of the drafter in ``folder`` that is there."""
    paths = {name: find_file(folder, name) for name in GRAPHS}
    return {name: hashlib.sha256(_read(p)).hexdigest() for name, p in paths.items() if p.is_file()}


def _read_checked(path: Path, digest: str, max_bytes: int = _MAX_GRAPH_BYTES) -> bytes:
    data = _read(path, max_bytes)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(f"{path}: its SHA-256 is not the one in {DESCRIPTION_FILE}: reinstall it")
    return data


def _read(path: Path, max_bytes: int = _MAX_GRAPH_BYTES) -> bytes:
    try:
        return read_regular(path, max_bytes)
    except OSError as error:
        raise ModelError(
            f"{path}: {error.strerror}: name a folder with a drafter's files"
        ) from error
