"""A drafter on ONNX Runtime: the default, on CPU, without torch.

The folder (:class:`~ugsd_sdk.drafter.bundle.DrafterBundle`) contains three graphs. The names of
files, inputs and outputs are part of the model format:

- ``ears.onnx``, the audio encoder, once per window of speech: ``samples`` float32 (1, m) ->
  ``evidence`` (1, E), which are pooled to the unnormalised audio embedding;
- ``reader.onnx``, the conditioning network, once per clip: ``evidence``, ``habit`` (1, E), the
  speaker profile, ``trust`` (1,), the profile's weight, 0 to 1 -> ``condition`` (1, D),
  ``state_base`` (1, B), ``novelty`` (1,), the OOD score, and ``femininity`` (1,), the log-odds that
  the voice sounds female;
- ``decoder.onnx``, once per step: ``tokens`` int64 (1, T), ``condition``, ``state_base``, ``past``
  float32 (L, 2, 1, H, P, Dh) -> ``logits`` (1, T, V), ``states`` (1, T, B), ``present``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.forks import call_in_children, keep_for_good

from ugsd_sdk.drafter import AudioEmbedding, DrafterInfo, Prediction
from ugsd_sdk.drafter.bundle import (
    AUDIO_ENCODER_GRAPH,
    GRAPHS,
    VOCABULARY_FILE,
    DrafterBundle,
    parse_pieces,
)
from ugsd_sdk.drafter.gender_phrases import Gender
from ugsd_sdk.errors import ModelError
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, SpeakerProfile
from ugsd_sdk.speech.windows import embed_in_windows, pooled

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxDrafter"]

_GENDER_THRESHOLD = log(4)
"""Least log-odds for a voice that clearly sounds female or male: four to one."""

_logger = logging.getLogger(__name__)


class OnnxDrafter:
    """A :class:`~ugsd_sdk.drafter.Drafter` that reads its model from a folder."""

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self._folder = Path(folder)
        self._threads = threads
        self._loaded: _Loaded | None = None
        self._was_loaded = False
        """Whether this is a forked process whose parent had loaded the drafter."""
        call_in_children(self._forget_in_child)

    @property
    def info(self) -> DrafterInfo:
        return self._model().info

    def load(self) -> None:
        """Read and check the files, and log the weights' licence once.

        Raises :class:`ModelError` if they are missing or damaged.
        """
        if self._loaded is None:
            self._loaded, self._was_loaded = _Loaded(self._folder, self._threads), False
            _logger.info("drafter %s; licence: %s", self.info.name, self.info.licence)

    def close(self) -> None:
        self._loaded, self._was_loaded = None, False

    def _forget_in_child(self) -> None:
        """Drop the sessions, which may wait for threads of the parent; the child loads its own."""
        loaded, self._loaded = self._loaded, None
        self._was_loaded = loaded is not None
        if loaded is not None:
            keep_for_good(loaded)

    def encode(
        self, speech: Iterable[NDArray[np.float32]], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        embeddings, samples = [], []
        for piece in speech:
            embeddings.append(self.embed(piece))
            samples.append(len(piece))
        return self.condition(pooled(embeddings, samples), profile)

    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the audio embedding (E,) of one piece of speech (n,), n >= 1, whoever speaks."""
        model = self._model()
        return embed_in_windows(
            lambda window: model.run(AUDIO_ENCODER_GRAPH, {"samples": window[None]})[0][0], speech
        )

    def condition(
        self, unnormalised: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> AudioEmbedding:
        """Return the embedding for ``unnormalised`` (E,), an earlier output of the encoder."""
        mean = profile.mean if profile.count else np.zeros_like(unnormalised)
        if mean.shape != unnormalised.shape:
            raise ModelError(
                "the speaker profile belongs to another audio encoder: delete the profile"
            )
        feeds = {
            "evidence": unnormalised[None],
            "habit": mean[None],
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
    """One caption's tokens with their attention keys and values."""

    def __init__(self, model: _Loaded, embedding: AudioEmbedding) -> None:
        split = model.description.condition_dim
        self._model = model
        self._conditioning = {
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
        inputs = length + 1  # includes the start token
        self._past = self._past[:, :, :, :, :inputs]
        del self._predictions[inputs:]
        del self._tokens[length:]

    def _run(self, tokens: Sequence[int]) -> None:
        feeds: dict[str, NDArray[Any]] = {
            "tokens": np.array([tokens], dtype=np.int64),
            "past": self._past,
            **self._conditioning,
        }
        logits, states, self._past = self._model.run("decoder.onnx", feeds)
        self._predictions += map(Prediction, logits[0], states[0])


class _Loaded:
    """The description, pieces and ONNX Runtime sessions of a loaded drafter."""

    def __init__(self, folder: Path, threads: int) -> None:
        bundle = DrafterBundle(folder)
        self.description = bundle.description()
        files = bundle.files(self.description)
        try:
            self.pieces = parse_pieces(files[VOCABULARY_FILE])
            self._sessions: dict[str, onnxruntime.InferenceSession] = {
                name: onnx_session(files[name], threads=threads) for name in GRAPHS
            }
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run the drafter in {folder} ({error}): reinstall its files"
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
