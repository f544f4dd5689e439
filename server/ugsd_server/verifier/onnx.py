"""A verifier's model on ONNX Runtime: the default, on CPU, without torch.

The folder contains ``model.json`` (:class:`ModelDescription`) and ``verifier.onnx``, a graph with

- inputs ``tokens`` int64 (N, T), ``states`` float32 (N, T, J * B) of the J projections that the
  verifier reads, ``has_state`` float32 (N, T) of 0 and 1, ``past`` float32 (L, 2, N, H, P, Dh);
- outputs ``logits`` float32 (N, T, V), ``present`` float32 (L, 2, N, H, P+T, Dh).
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from ugsd_privacy.bounded_json import read_json
from ugsd_privacy.files.bounded_files import MAX_TEXT_BYTES, read_regular
from ugsd_privacy.protocol.messages import (
    MAX_CAPTION_TOKENS,
    MAX_PROJECTIONS,
    MAX_STATE_DIM,
    MAX_VALUES,
    AskedSlot,
)
from ugsd_privacy.strict_models import StrictModel, exactly

from ugsd_server.errors import ModelDamaged, ModelError, ModelFailed, ModelMissing
from ugsd_server.verifier import Cache, VerifierInfo

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["DESCRIPTION_FILE", "GRAPH_FILE", "ModelDescription", "OnnxScorer"]

DESCRIPTION_FILE = "model.json"
GRAPH_FILE = "verifier.onnx"
_ORT_LOG_ERRORS = 3
_MAX_GRAPH_BYTES = 2 * 2**30
"""Limit of the ONNX format for one file."""
_MAX_ITEMS = 500_000

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
_Size = Annotated[int, Field(ge=1)]
_TokenId = Annotated[int, Field(ge=0)]

_logger = logging.getLogger(__name__)


class ModelDescription(StrictModel):
    """``model.json``: what the graph is and what it was trained with."""

    format: Annotated[int, exactly(2)]
    name: str
    licence: str
    vocabulary: _Sha256
    projections: Annotated[tuple[_Sha256, ...], Field(max_length=MAX_PROJECTIONS)]
    bos: _TokenId
    eos: _TokenId
    vocabulary_size: _Size
    state_dim: Annotated[int, Field(ge=0, le=MAX_STATE_DIM)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_CAPTION_TOKENS)]
    content_tokens: tuple[_TokenId, ...]
    slots: dict[
        Literal["emotion"],
        Annotated[dict[str, tuple[_TokenId, ...]], Field(min_length=2, max_length=MAX_VALUES)],
    ]
    """For each slot that may be asked about, the tokens that state each of its values."""
    layers: _Size
    heads: _Size
    head_dim: _Size
    files: dict[_FileName, _Sha256]
    """SHA-256 of every file of the model, in hex; ``verifier.onnx`` is one of them."""

    @model_validator(mode="after")
    def _check_tokens(self) -> Self:
        if max(self.bos, self.eos, *self.content_tokens) >= self.vocabulary_size:
            raise ValueError("a token id is not below vocabulary_size")
        if self.eos in self.content_tokens:
            raise ValueError("eos cannot be a content token")
        for values in self.slots.values():
            stating = [token for tokens in values.values() for token in tokens]
            if not all(values.values()):
                raise ValueError("a value of a slot has no token")
            if len(set(stating)) < len(stating):
                raise ValueError("two values of a slot share a token, or one lists it twice")
            if not set(stating) <= set(self.content_tokens):
                raise ValueError("a token that states a value is no content token")
        if GRAPH_FILE not in self.files:
            raise ValueError(f"files must list {GRAPH_FILE}")
        return self

    @property
    def info(self) -> VerifierInfo:
        """The description of the model for the verifier."""
        return VerifierInfo(
            name=self.name,
            licence=self.licence,
            vocabulary=bytes.fromhex(self.vocabulary),
            projections=tuple(map(bytes.fromhex, self.projections)),
            bos=self.bos,
            eos=self.eos,
            vocabulary_size=self.vocabulary_size,
            state_dim=self.state_dim,
            max_tokens=self.max_tokens,
            content_tokens=frozenset(self.content_tokens),
            values={
                AskedSlot[slot.upper()]: tuple(values.values())
                for slot, values in self.slots.items()
            },
        )


class _OnnxCache:
    """Attention keys and values of one caption, (L, 2, 1, H, P, Dh) float32."""

    def __init__(self, past: NDArray[np.float32]) -> None:
        self.past = past

    @property
    def length(self) -> int:
        return int(self.past.shape[4])

    @property
    def nbytes(self) -> int:
        return self.past.nbytes

    def crop(self, length: int) -> None:
        if length < self.length:
            self.past = np.ascontiguousarray(self.past[:, :, :, :, :length])


class OnnxScorer:
    """A :class:`~ugsd_server.verifier.CausalScorer` that reads its model from a folder."""

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self._folder = Path(folder)
        self._threads = threads
        self._session: onnxruntime.InferenceSession | None = None
        self._info: VerifierInfo | None = None
        self._empty_past = np.zeros((0, 2, 1, 0, 0, 0), dtype=np.float32)

    @property
    def info(self) -> VerifierInfo:
        if self._info is None:
            raise ModelError("the model is not loaded; call load() first")
        return self._info

    def load(self) -> None:
        """Read, check and warm up the model.

        Raises :class:`ModelMissing` or :class:`ModelDamaged`.
        """
        description = _read_description(self._folder)
        files = {
            name: _read_checked(self._folder / name, digest)
            for name, digest in description.files.items()
        }
        # Releases from 1.29 on report usage unless this is set before they are imported.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415  # after the line above

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ORT_LOG_ERRORS
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # Load the checked bytes, so that the file cannot be replaced after the check.
            self._session = onnxruntime.InferenceSession(
                files[GRAPH_FILE], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelDamaged(
                f"{self._folder / GRAPH_FILE}: ONNX Runtime cannot run this graph ({error}); "
                "export it again"
            ) from error
        d = description
        self._empty_past = np.zeros((d.layers, 2, 1, d.heads, 0, d.head_dim), dtype=np.float32)
        self._info = description.info
        self._check_graph()
        _logger.info("verifier model %s; licence: %s", description.name, description.licence)

    def close(self) -> None:
        self._session = None

    def new_cache(self) -> _OnnxCache:
        return _OnnxCache(self._empty_past)

    def extend(
        self,
        cache: Cache,
        tokens: NDArray[np.int64],
        states: NDArray[np.float32],
        has_state: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        if self._session is None or not isinstance(cache, _OnnxCache):
            raise ModelError(
                "the model is not loaded, or the cache is another model's; call load() first"
            )
        feeds = {
            "tokens": tokens[None],
            "states": states[None],
            "has_state": has_state[None],
            "past": cache.past,
        }
        try:
            logits, present = self._session.run(["logits", "present"], feeds)
        except Exception as error:
            raise ModelFailed("ONNX Runtime could not run the graph") from error
        length = cache.length + len(tokens)
        shape = (*cache.past.shape[:4], length, cache.past.shape[5])
        if present.shape != shape or logits.shape != (1, len(tokens), self.info.vocabulary_size):
            raise ModelFailed("the shapes of the graph's outputs do not match model.json")
        if not np.isfinite(logits).all():
            raise ModelFailed("the graph returned scores that are not finite")
        cache.past = present
        rows: NDArray[np.float32] = logits[0]
        return rows

    def _check_graph(self) -> None:
        """Run the start token once to check that the graph matches its description."""
        info = self.info
        states = np.zeros((1, info.input_dim), dtype=np.float32)
        has_state = np.zeros(1, dtype=np.float32)
        try:
            self.extend(self.new_cache(), np.array([info.bos], dtype=np.int64), states, has_state)
        except ModelFailed as error:
            raise ModelDamaged(
                f"{self._folder}: {GRAPH_FILE} does not match {DESCRIPTION_FILE}: {error}; "
                "export both together again"
            ) from error


def _read_description(folder: Path) -> ModelDescription:
    path = folder / DESCRIPTION_FILE
    try:
        data = _read(path, MAX_TEXT_BYTES)
        return read_json(ModelDescription, data, max_items=_MAX_ITEMS)
    except ValueError as error:
        raise ModelDamaged(f"{path}: {error}; export the model again") from error


def _read_checked(path: Path, digest: str) -> bytes:
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelDamaged(
            f"{path}: its SHA-256 differs from {DESCRIPTION_FILE}; copy the model again"
        )
    return data


def _read(path: Path, max_bytes: int = _MAX_GRAPH_BYTES) -> bytes:
    try:
        return read_regular(path, max_bytes)
    except OSError as error:
        raise ModelMissing(
            f"{path}: {error.strerror}; give a folder with {DESCRIPTION_FILE} and {GRAPH_FILE}"
        ) from error
