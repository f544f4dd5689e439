"""A drafter on ONNX Runtime: the default, on CPU, without torch.

The folder (:class:`~ugsd_sdk.drafter.bundle.DrafterBundle`) contains three graphs, and may contain
a fourth. The names of files, inputs and outputs are part of the model format:

- ``audio_encoder.onnx``, for a few windows of speech at once: ``frames`` float32 (N, F, 400), as
  :func:`~ugsd_sdk.speech.windows.encoder_frames` cuts them -> ``embedding`` (N, E), which are
  pooled to the unnormalised audio embedding;
- ``reader.onnx``, the conditioning network, once per clip: ``embedding``, ``profile`` (1, E), the
  speaker profile, ``profile_weight`` (1,), 0 to 1 -> ``emotion`` (1, C), calibrated
  log-probabilities, ``state`` (1, B), ``ood_score`` (1,), ``femininity`` (1,), the log-odds
  that the voice sounds female, and ``strength`` (1,), those that the emotion is strong, or 0;
- ``voice.onnx``, optional, once per clip, for the clip and its windows: ``embedding`` (N, E) ->
  ``voice`` (N, V), scaled so that two clips of one speaker are rarely farther apart than 1;
- ``decoder.onnx``, once per step: ``tokens`` int64 (1, T), ``emotion``, ``plan`` (1, P), the
  features of a :class:`~ugsd_sdk.attributes.plan.CaptionPlan`, ``past`` float32
  (L, 2, 1, H, P, Dh) -> ``logits`` (1, T, V), ``present``.

It may contain ``proposals.json`` (:mod:`~ugsd_sdk.drafter.proposals`), with which a caption takes
one or two steps instead of one per token.

The state is that of the clip, the same at every position.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from ugsd_privacy.forks import call_in_children, keep_for_good

from ugsd_sdk.attributes.plan import plan_for
from ugsd_sdk.attributes.slots import EMOTIONS
from ugsd_sdk.calls.core_slots import CORE_SLOTS
from ugsd_sdk.drafter import ConditionedClip, DrafterInfo
from ugsd_sdk.drafter.bundle import (
    AUDIO_ENCODER_GRAPH,
    GRAPHS,
    PROPOSALS_FILE,
    SLOTS_FILE,
    VOCABULARY_FILE,
    VOICE_GRAPH,
    DrafterBundle,
    parse_pieces,
)
from ugsd_sdk.drafter.caption_drafts import EMOTION_ALONE, CaptionDrafts
from ugsd_sdk.drafter.guided_session import GuidedDraftSession
from ugsd_sdk.drafter.proposals import parse_proposals
from ugsd_sdk.drafter.slot_table import parse_slots
from ugsd_sdk.errors import ModelError
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.profile.matching import ProfileMatch, match_profile
from ugsd_sdk.profile.speaker_profile import EMPTY_PROFILE, ClipVoice, SpeakerProfile
from ugsd_sdk.speech.windows import (
    embed_in_windows,
    embed_windows,
    encoder_windows,
    levelled,
    pooled,
)

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxDrafter"]

_logger = logging.getLogger(__name__)

_GIVEN = 0.99
"""Probability of an emotion that is given."""


class OnnxDrafter:
    """A :class:`~ugsd_sdk.drafter.Drafter` that reads its model from a folder."""

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        self.bundle = DrafterBundle(Path(folder))
        """The model's folder."""
        self._threads = threads
        self._loading = Lock()
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
        if self._loaded is not None:
            return
        with self._loading:
            if self._loaded is None:
                loaded = _Loaded(self.bundle, self._threads)
                _logger.info("drafter %s; licence: %s", loaded.info.name, loaded.info.licence)
                self._loaded, self._was_loaded = loaded, False

    def close(self) -> None:
        self._loaded, self._was_loaded = None, False

    def _forget_in_child(self) -> None:
        """Drop the sessions, which may wait for threads of the parent; the child loads its own."""
        self._loading = Lock()  # a thread of the parent may have held the other one
        loaded, self._loaded = self._loaded, None
        self._was_loaded = loaded is not None
        if loaded is not None:
            keep_for_good(loaded)

    def encode(
        self, speech: Iterable[NDArray[np.float32]], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        embeddings: list[NDArray[np.float32]] = []
        lengths: list[int] = []
        for piece in speech:
            with (holder := Lock()), CORE_SLOTS.held(holder):
                windows = encoder_windows(levelled(piece))
                embeddings += embed_windows(self._embed_frames, windows)
                lengths += map(len, windows)
        unnormalised = pooled(embeddings, lengths)
        voices = self._voices([unnormalised, *embeddings])
        voice = ClipVoice(
            unnormalised,
            duration_s=sum(lengths) / self.info.sample_rate,
            voice=None if voices is None else voices[0],
            windows=None if voices is None else voices[1:],
        )
        match = match_profile(voice, profile)
        used = profile if match is ProfileMatch.MATCHED else EMPTY_PROFILE
        clip = self.condition(unnormalised, used)
        if clip.voice is not None:
            voice = replace(voice, femininity=clip.voice.femininity)
        return replace(clip, voice=voice, profile_match=match)

    def embed(self, speech: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the audio embedding (E,) of one piece of speech (n,), n >= 400, whoever
        speaks."""
        return embed_in_windows(self._embed_frames, speech)

    def _embed_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._model().run(AUDIO_ENCODER_GRAPH, {"frames": frames})[0]

    def _voices(self, embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32] | None:
        """Return the voice vectors (N, V) of N embeddings; ``None`` if the drafter has none."""
        if not self._model().has_voices:
            return None
        return self._model().run(VOICE_GRAPH, {"embedding": np.stack(embeddings)})[0]

    def condition(
        self, unnormalised: NDArray[np.float32], profile: SpeakerProfile = EMPTY_PROFILE
    ) -> ConditionedClip:
        """Return what the drafter knows of a clip with the audio embedding ``unnormalised`` (E,),
        an earlier result of :meth:`embed`, if the clip belongs to ``profile``."""
        mean = profile.mean if profile.count else np.zeros_like(unnormalised)
        if mean.shape != unnormalised.shape:
            raise ModelError(
                "the speaker profile belongs to another audio encoder: delete the profile"
            )
        feeds = {
            "embedding": unnormalised[None],
            "profile": mean[None],
            "profile_weight": np.array([profile.weight], dtype=np.float32),
        }
        emotion, state, ood_score, femininity, strength = self._model().run("reader.onnx", feeds)
        if not (np.isfinite(emotion).all() and np.isfinite(strength).all()):
            raise ModelError("the drafter's emotion is not a number: reinstall its weights")
        likely = np.exp(emotion[0].astype(np.float64))
        return ConditionedClip(
            emotion[0],
            ood_score=float(ood_score[0]),
            state=state[0],
            voice=ClipVoice(unnormalised, femininity=float(femininity[0])),
            emotion=dict(zip(EMOTIONS, (likely / likely.sum()).tolist(), strict=True)),
            strong=None if strength[0] == 0 else float(1 / (1 + np.exp(-strength[0]))),
            profile_match=ProfileMatch.MATCHED if profile.count else ProfileMatch.NO_PROFILE,
        )

    def start(self, clip: ConditionedClip, *, emotion: str | None = None) -> GuidedDraftSession:
        if emotion is not None:
            clip = _given(clip, emotion)
        model = self._model()
        return model.drafts.start(clip, lambda feeds: model.run("decoder.onnx", feeds))

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(map(self.piece, tokens)).strip()

    def piece(self, token: int) -> str:
        pieces = self._model().pieces
        return pieces[token] if 0 <= token < len(pieces) else ""

    def _model(self) -> _Loaded:
        if self._was_loaded:
            self.load()
        loaded = self._loaded
        if loaded is None:
            raise ModelError("the drafter is not loaded: call load() first")
        return loaded


def _given(clip: ConditionedClip, emotion: str) -> ConditionedClip:
    """Return ``clip`` with ``emotion`` as good as certain for the decoder."""
    scores = np.full_like(clip.decoder_input, np.log((1 - _GIVEN) / (clip.decoder_input.size - 1)))
    scores[EMOTIONS.index(emotion)] = np.log(_GIVEN)
    plan = plan_for(clip.plan or EMOTION_ALONE, emotion)
    return replace(clip, decoder_input=scores, plan=plan)


class _Loaded:
    """The description, pieces and ONNX Runtime sessions of a loaded drafter."""

    def __init__(self, bundle: DrafterBundle, threads: int) -> None:
        self.description = bundle.description()
        files = bundle.files(self.description)
        try:
            self.pieces = parse_pieces(files[VOCABULARY_FILE])
            self.slot_table = parse_slots(files[SLOTS_FILE], num_tokens=len(self.pieces))
            proposals = (
                parse_proposals(files[PROPOSALS_FILE], num_tokens=len(self.pieces))
                if PROPOSALS_FILE in files
                else None
            )
            self.drafts = CaptionDrafts(self.description, self.pieces, self.slot_table, proposals)
            self._sessions: dict[str, onnxruntime.InferenceSession] = {
                name: onnx_session(files[name], threads=threads)
                for name in (*GRAPHS, VOICE_GRAPH)
                if name in files
            }
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run the drafter in {bundle.folder} ({error}): reinstall its "
                "files"
            ) from error
        d = self.description
        self.has_voices = VOICE_GRAPH in self._sessions
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
            voice_encoder=bytes.fromhex(d.files.get(VOICE_GRAPH, "")),
            gendered_phrases=d.gendered,
            slot_table=self.slot_table,
        )

    def run(self, graph: str, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        try:
            outputs: list[NDArray[np.float32]] = self._sessions[graph].run(None, feeds)
        except Exception as error:
            raise ModelError(f"{graph} failed: reinstall the drafter's files") from error
        return outputs
